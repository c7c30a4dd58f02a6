// A plotly figure in the page's colours. With a slider, a film shows the first passes, up to the
// slider's value; in any other figure the vertical lines move to the slider's value. The plotly
// library is loaded once per page, from the library model that all plots refer to.

const PAINT_MS = 50; // to show the numbers first: running plotly's code takes most of a second

async function other(model, name) {
  const reference = model.get(name);
  return reference && (await model.widget_manager.get_model(reference.replace("IPY_MODEL_", "")));
}

async function load(model) {
  const library = await other(model, "library");
  const fetched = library.get("address"); // on the page's server
  if (fetched) {
    await new Promise((done) => {
      setTimeout(done, PAINT_MS);
    });
    return (await import(new URL(fetched, location.href).href)).default;
  }
  const zipped = new Blob([library.get("source")]).stream();
  const source = await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).text();
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const plotly = await import(address);
  URL.revokeObjectURL(address);
  return plotly.default;
}

// Okabe and Ito's colours, as in figures/style.py, and the page's CSS variables for them.
const COLOURS = { "#0072B2": "--sq-accent", "#D55E00": "--sq-warn", "#009E73": "--sq-sure" };
const CONFIG = { displayModeBar: false, responsive: true };
const ARRAYS = {
  f4: Float32Array,
  f8: Float64Array,
  i4: Int32Array,
  i2: Int16Array,
  i1: Int8Array,
  u1: Uint8Array,
};

function unpacked(_key, value) {
  if (!value?.bdata) return value;
  const bytes = Uint8Array.from(atob(value.bdata), (letter) => letter.charCodeAt(0));
  const array = new ARRAYS[value.dtype](bytes.buffer);
  return value.width ? { array, width: value.width } : array;
}

function themed(figure, element) {
  const style = getComputedStyle(element);
  const value = (name) => style.getPropertyValue(name).trim();
  let text = JSON.stringify(figure);
  for (const [colour, name] of Object.entries(COLOURS)) text = text.replaceAll(colour, value(name));
  const { data, layout, film } = JSON.parse(text, unpacked);
  const line = value("--sq-line");
  const axis = (own) => ({
    ...own,
    gridcolor: line,
    linecolor: line,
    zerolinecolor: line,
    automargin: true,
  });
  const look = {
    autosize: true,
    font: { family: style.fontFamily, size: 12, color: value("--sq-ink") },
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
  };
  return { data, layout: { ...layout, ...look }, film };
}

// Return the traces after the first t passes, as Film.at in figures/film.py does in Python.
function cut({ data, film }, t, chosen) {
  if (!film) return data;
  const passes = Math.max(1, Math.min(film.passes, t));
  const shown = data.map((trace, index) => {
    const now = { ...trace };
    if (index in film.growing) {
      for (const key of ["x", "y", "z", "customdata"]) {
        now[key] = now[key]?.slice(0, Math.max(0, passes - film.growing[index]));
      }
    }
    for (const [key, { array, width }] of Object.entries(film.frames[index] ?? {})) {
      now[key] = array.slice((passes - 1) * width, passes * width);
    }
    return now;
  });
  if (film.pick) {
    const [source, mark] = film.pick;
    for (const key of ["x", "y", "z"]) {
      if (shown[source][key])
        shown[mark][key] = chosen < passes ? shown[source][key].slice(chosen, chosen + 1) : [];
    }
  }
  return shown;
}

function save(Plotly, area, el, name, format) {
  const background = getComputedStyle(el).getPropertyValue("--sq-card").trim();
  const figure = { data: area.data, layout: { ...area.layout, paper_bgcolor: background } };
  Plotly.downloadImage(figure, { format, filename: name, width: 900, height: 600, scale: 2 });
}

async function render({ model, el }) {
  el.classList.add("serfiq-plot");
  const area = document.createElement("div");
  area.setAttribute("role", "img");
  area.setAttribute("aria-label", model.get("label"));
  const bar = document.createElement("div");
  bar.className = "serfiq-save";
  el.append(area, bar);
  globalThis.serfiqPlotly ??= load(model); // shared by all plots of a page
  const Plotly = await globalThis.serfiqPlotly;
  const clock = await other(model, "clock");

  let look = null;
  let frame = 0;
  const draw = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    if (!model.get("figure").data) {
      if (area.data) Plotly.purge(area);
      return;
    }
    if (!el.offsetParent) return;
    look ??= themed(model.get("figure"), el);
    const data = cut(look, clock ? clock.get("value") : Infinity, model.get("chosen"));
    const fresh = !area.data;
    Plotly.react(area, data, { ...look.layout, shapes: lines() }, CONFIG);
    if (fresh) area.on("plotly_click", ({ points }) => choose(points[0]));
  };
  const lines = () => {
    const shapes = look.layout.shapes ?? [];
    const x = clock?.get("value");
    return clock && !look.film ? shapes.map((shape) => ({ ...shape, x0: x, x1: x })) : shapes;
  };
  const soon = () => {
    frame ||= requestAnimationFrame(draw);
  };
  const anew = () => {
    look = null;
    soon();
  };

  const put = (chosen) => {
    model.set("chosen", chosen);
    model.save_changes();
  };
  const choose = ({ curveNumber, pointNumber }) => {
    const pick = look.film?.pick;
    if (!pick?.includes(curveNumber)) return;
    put(curveNumber === pick[1] || pointNumber === model.get("chosen") ? -1 : pointNumber);
  };
  if (model.get("choosable")) {
    el.tabIndex = 0;
    el.setAttribute("role", "group");
    el.setAttribute(
      "aria-label",
      `${model.get("label")}: the arrow keys choose a dot, Escape lets it go`,
    );
    el.addEventListener("keydown", ({ key, target }) => {
      const passes = clock ? clock.get("value") : look.film.passes;
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (target !== el) return;
      if (step) put((model.get("chosen") + step + passes) % passes);
      if (key === "Escape") put(-1);
    });
  }
  for (const format of ["png", "svg"]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = format.toUpperCase();
    button.setAttribute(
      "aria-label",
      `Save this picture as ${button.textContent}: ${model.get("label")}`,
    );
    button.addEventListener("click", () => save(Plotly, area, el, model.get("name"), format));
    bar.append(button);
  }

  model.on("change:figure", anew);
  model.on("change:chosen", soon);
  // Draw in the same frame, because browsers send one slider move per frame; but only after the
  // move has been sent to Python, which works at the same time.
  const move = () => {
    if (!look || look.film || !area.data) return draw();
    const places = lines().flatMap(({ x0, x1 }, i) => [
      [`shapes[${i}].x0`, x0],
      [`shapes[${i}].x1`, x1],
    ]);
    if (places.length) Plotly.relayout(area, Object.fromEntries(places));
  };
  const follow = () => queueMicrotask(move);
  clock?.on("change:value", follow);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", anew);
  const theme = new MutationObserver(anew);
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  const size = new ResizeObserver(() => {
    if (area.data && el.offsetParent) Plotly.Plots.resize(area);
    soon();
  });
  size.observe(el);
  soon();
  return () => {
    model.off("change:figure", anew);
    model.off("change:chosen", soon);
    clock?.off("change:value", follow);
    cancelAnimationFrame(frame);
    dark.removeEventListener("change", anew);
    theme.disconnect();
    size.disconnect();
    Plotly.purge(area);
  };
}

export default { render };

// A plotly figure, drawn in the page's own colours. Plotly itself is unpacked once per page, out of
// the library model that all plots point to.

async function unpack(model) {
  const id = model.get("library").replace("IPY_MODEL_", "");
  const library = await model.widget_manager.get_model(id);
  const zipped = new Blob([library.get("source")]).stream();
  const source = await new Response(zipped.pipeThrough(new DecompressionStream("gzip"))).text();
  // As a CommonJS module, so that a loader on the page (RequireJS) does not swallow it.
  const module = { exports: {} };
  new Function("module", "exports", "define", source)(module, module.exports, undefined);
  return module.exports;
}

// Okabe and Ito's colours, as figures.py writes them, and the page's variables that stand for them.
const COLOURS = { "#0072B2": "--sq-accent", "#D55E00": "--sq-warn", "#009E73": "--sq-sure" };

function themed(figure, element) {
  const style = getComputedStyle(element);
  const value = (name) => style.getPropertyValue(name).trim();
  let text = JSON.stringify(figure);
  for (const [colour, name] of Object.entries(COLOURS)) text = text.replaceAll(colour, value(name));
  const { data, layout } = JSON.parse(text);
  const line = value("--sq-line");
  const axis = (own) => ({ ...own, gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true });
  return [
    data,
    {
      ...layout,
      autosize: true,
      font: { family: style.fontFamily, size: 12, color: value("--sq-ink") },
      xaxis: axis(layout.xaxis),
      yaxis: axis(layout.yaxis),
    },
  ];
}

async function render({ model, el }) {
  el.classList.add("serfiq-plot");
  el.setAttribute("role", "img");
  el.setAttribute("aria-label", model.get("label"));
  const area = document.createElement("div");
  el.append(area);
  const Plotly = await (globalThis.serfiqPlotly ??= unpack(model));
  const draw = () => {
    const figure = model.get("figure");
    if (!figure.data || !el.isConnected) return;
    Plotly.react(area, ...themed(figure, el), { displayModeBar: false, responsive: true });
  };
  model.on("change:figure", draw);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);
  const theme = new MutationObserver(draw);
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  const size = new ResizeObserver(() => area.data ? Plotly.Plots.resize(area) : draw());
  size.observe(el);
  draw();
  return () => {
    model.off("change:figure", draw);
    dark.removeEventListener("change", draw);
    theme.disconnect();
    size.disconnect();
    Plotly.purge(area);
  };
}

export default { render };

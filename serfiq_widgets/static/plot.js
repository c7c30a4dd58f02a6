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

function themed(layout, element) {
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue("--sq-ink").trim() || "#333";
  const line = style.getPropertyValue("--sq-line").trim() || "#ddd";
  const axis = (own) => ({ ...own, gridcolor: line, linecolor: line, automargin: true });
  return {
    ...layout,
    autosize: true,
    font: { family: style.fontFamily, size: 13, color: ink },
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
  };
}

async function render({ model, el }) {
  el.classList.add("serfiq-plot");
  el.setAttribute("role", "img");
  el.setAttribute("aria-label", model.get("label"));
  const area = document.createElement("div");
  el.append(area);
  const Plotly = await (globalThis.serfiqPlotly ??= unpack(model));
  const draw = () => {
    const { data, layout } = model.get("figure");
    if (data && el.isConnected) {
      Plotly.react(area, data, themed(layout, el), { displayModeBar: false, responsive: true });
    }
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

// Lecture mode: F begins and ends it, arrows or Page keys lead through the scenes, N opens the
// speaker's notes in a window of their own. A double click shows any panel alone.

const OFF = -1;
const [WIDTH, HEIGHT] = [810, 455]; // of the page in large type: 12 px become 28 on a full HD screen
const FORWARD = new Set(["ArrowRight", "ArrowDown", "PageDown"]);
const BACK = new Set(["ArrowLeft", "ArrowUp", "PageUp"]);
const PANELS = ".serfiq-stage, .serfiq-chapter, .serfiq-predict, .serfiq-compare";

function render({ model, el }) {
  const root = document.documentElement;
  el.classList.add("serfiq-limits");
  const title = document.createElement("h2");
  title.textContent = "What the number does not say";
  const list = document.createElement("ul");
  for (const text of model.get("limits")) {
    const item = document.createElement("li");
    item.textContent = text;
    list.append(item);
  }
  el.append(title, list);
  let notes = null;

  const go = (scene) => {
    model.set("scene", scene);
    model.save_changes();
    show();
  };
  const only = (panel) => {
    for (const shown of document.querySelectorAll(".serfiq-shown")) {
      shown.classList.remove("serfiq-shown");
    }
    root.classList.toggle("serfiq-lecture", panel !== null);
    const zoom = Math.max(1, Math.min(innerWidth / WIDTH, innerHeight / HEIGHT));
    if (panel) root.style.setProperty("--sq-zoom", zoom);
    else root.style.removeProperty("--sq-zoom");
    for (let part = panel; part && part !== document.body; part = part.parentElement) {
      part.classList.add("serfiq-shown");
    }
    scrollTo({ top: 0 });
    dispatchEvent(new Event("resize")); // for plots
  };
  const show = () => {
    const scene = model.get("scene");
    only(scene === OFF ? null : document.querySelector(model.get("panels")[scene]));
    if (!notes || notes.closed) return;
    const of = `${scene + 1} of ${model.get("notes").length}`;
    notes.document.title = `Notes ${scene === OFF ? "" : of}`;
    notes.document.body.textContent = scene === OFF ? "" : `${of}. ${model.get("notes")[scene]}`;
  };
  const begin = () => {
    root.requestFullscreen?.().catch(() => {}); // not without a gesture
    go(0);
  };
  const end = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    go(OFF);
  };
  const speak = () => {
    notes = open("", "serfiq-notes", "width=640,height=400");
    if (!notes) return;
    notes.document.body.style.cssText = "font: 24px/1.5 system-ui, sans-serif; padding: 1em";
    show();
  };
  const press = (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.closest?.("input, select, textarea, [role=tab], [contenteditable]")) return;
    const [scene, last] = [model.get("scene"), model.get("panels").length - 1];
    const alone = root.classList.contains("serfiq-lecture");
    if (key === "f" || key === "F") return alone ? end() : begin();
    if (!alone) return;
    if (key === "Escape") return end();
    if (key === "n" || key === "N") return speak();
    const step = FORWARD.has(key) ? 1 : BACK.has(key) ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    go(Math.max(0, Math.min(last, scene + step)));
  };
  const enlarge = (event) => {
    const panel = event.target.closest?.(PANELS);
    if (!panel || event.target.closest("input, select, button, summary, .serfiq-plot")) return;
    if (model.get("scene") !== OFF) return; // a scene is left by its keys
    if (root.classList.contains("serfiq-lecture")) return end();
    only(panel);
  };
  const place = document.body.dataset.voila ? document : null; // a notebook's keys are its own
  place?.addEventListener("keydown", press);
  place?.addEventListener("dblclick", enlarge);
  if (place && model.get("begins")) go(0);
  return () => {
    place?.removeEventListener("keydown", press);
    place?.removeEventListener("dblclick", enlarge);
    if (place) only(null);
  };
}

export default { render };

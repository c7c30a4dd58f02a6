// The aligned face with an overlay. While it is movable, a drag, a click or the arrow keys place
// something on it.

const SIDE = 112;
const STEPS = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] };

function render({ model, el }) {
  el.classList.add("serfiq-faceview");
  const face = document.createElement("img");
  face.alt = "what the network sees";
  face.draggable = false;
  const overlay = document.createElement("img");
  overlay.className = "serfiq-overlay";
  overlay.alt = "";
  overlay.draggable = false;
  el.append(face, overlay);

  const show = () => {
    if (model.get("face")) face.src = model.get("face");
    overlay.hidden = !model.get("overlay");
    if (model.get("overlay")) overlay.src = model.get("overlay");
    overlay.style.opacity = model.get("strength");
    const movable = model.get("movable");
    el.classList.toggle("serfiq-movable", movable);
    if (movable) {
      el.tabIndex = 0;
      el.setAttribute("role", "group");
      el.setAttribute(
        "aria-label",
        "The square lies here: drag it, or move it with the arrow keys",
      );
    } else {
      el.removeAttribute("tabindex");
      el.removeAttribute("role");
      el.removeAttribute("aria-label");
    }
  };
  const put = (x, y) => {
    model.set(
      "place",
      [x, y].map((value) => Math.min(SIDE, Math.max(0, Math.round(value)))),
    );
    model.save_changes();
  };
  const point = (event) => {
    const box = face.getBoundingClientRect();
    put(
      ((event.clientX - box.left) / box.width) * SIDE,
      ((event.clientY - box.top) / box.height) * SIDE,
    );
  };
  el.addEventListener("pointerdown", (event) => {
    if (!model.get("movable")) return;
    event.preventDefault();
    el.focus();
    el.setPointerCapture(event.pointerId);
    point(event);
  });
  el.addEventListener("pointermove", (event) => {
    if (model.get("movable") && el.hasPointerCapture(event.pointerId)) point(event);
  });
  el.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !model.get("movable")) return;
    event.preventDefault();
    const [x, y] = model.get("place");
    put(x + step[0], y + step[1]);
  });
  for (const name of ["face", "overlay", "strength", "movable"]) model.on(`change:${name}`, show);
  show();
  return () => {
    for (const name of ["face", "overlay", "strength", "movable"])
      model.off(`change:${name}`, show);
  };
}

export default { render };

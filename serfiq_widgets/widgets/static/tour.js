// A tour of a few steps, each a note beside a part of the page; Escape or Skip ends it. The note is
// a popover: it is in the browser's top layer, above the whole page, wherever it is created.

function render({ model, el }) {
  el.classList.add("serfiq-tour");
  const start = document.createElement("button");
  start.type = "button";
  start.textContent = "Take the tour";
  el.append(start);
  const note = document.createElement("div");
  note.className = "serfiq-note";
  note.popover = "manual"; // a click outside does not end the tour
  note.setAttribute("role", "dialog");
  note.setAttribute("aria-label", "Tour");
  const isOpen = () => note.matches(":popover-open");
  const text = document.createElement("p");
  const row = document.createElement("div");
  const count = document.createElement("small");
  const back = document.createElement("button");
  const next = document.createElement("button");
  const skip = document.createElement("button");
  back.textContent = "Back";
  skip.textContent = "Skip";
  for (const button of [back, next, skip]) button.type = "button";
  row.append(count, skip, back, next);
  note.append(text, row);
  el.append(note);

  let step = 0;
  let lit = null;
  const sizes = new ResizeObserver(() => put()); // layout or orientation may still change
  const unlight = () => lit?.classList.remove("serfiq-lit");
  const place = () => {
    const steps = model.get("steps");
    const [selector, words] = steps[step];
    unlight();
    lit = (el.closest(".serfiq") ?? document).querySelector(selector);
    lit?.classList.add("serfiq-lit");
    lit?.scrollIntoView({ block: "nearest" });
    text.textContent = words;
    count.textContent = `${step + 1} of ${steps.length}`;
    back.disabled = step === 0;
    next.textContent = step === steps.length - 1 ? "Done" : "Next";
    if (!isOpen()) note.showPopover();
    sizes.disconnect();
    for (const part of [document.body, lit]) if (part) sizes.observe(part);
    put();
    if (hides()) {
      lit.scrollIntoView({ block: "start" }); // more room below
      put();
    }
    next.focus();
  };
  const hides = () => {
    if (!lit) return false;
    const [a, b] = [lit.getBoundingClientRect(), note.getBoundingClientRect()];
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  };
  const put = () => {
    if (!isOpen()) return;
    const target = lit?.getBoundingClientRect() ?? { left: 20, bottom: 20, top: 20, right: 20 };
    const { width, height } = note.getBoundingClientRect();
    const below = target.bottom + 12 + height < innerHeight;
    const beside = target.right + 12 + width < innerWidth;
    const top = below ? target.bottom + 12 : beside ? target.top : innerHeight - height - 12;
    const left = below || !beside ? target.left : target.right + 12;
    const zoom = note.currentCSSZoom ?? 1; // a kiosk zooms; CSS lengths are before zoom
    note.style.top = `${Math.max(12, Math.min(top, innerHeight - height - 12)) / zoom}px`;
    note.style.left = `${Math.max(12, Math.min(left, innerWidth - width - 12)) / zoom}px`;
  };
  const end = () => {
    sizes.disconnect();
    unlight();
    note.hidePopover();
    start.focus();
  };
  start.addEventListener("click", () => {
    model.send({ started: true });
    step = 0;
    place();
  });
  back.addEventListener("click", () => {
    step -= 1;
    place();
  });
  next.addEventListener("click", () => {
    if (step === model.get("steps").length - 1) return end();
    step += 1;
    place();
  });
  skip.addEventListener("click", end);
  note.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end();
  });
  return () => {
    sizes.disconnect();
    unlight();
  };
}

export default { render };

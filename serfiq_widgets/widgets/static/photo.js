// A photo with the faces that were found in it. If there are several, a click chooses one.

function render({ model, el }) {
  el.classList.add("serfiq-photo");
  const show = () => {
    el.replaceChildren();
    if (!model.get("src")) return;
    const image = document.createElement("img");
    image.src = model.get("src");
    image.alt = "the photo";
    const frame = document.createElement("div");
    frame.append(image);
    const boxes = model.get("boxes");
    boxes.forEach(([left, top, width, height], index) => {
      const box = document.createElement(boxes.length > 1 ? "button" : "div");
      box.className = "serfiq-box";
      Object.assign(box.style, {
        left: `${100 * left}%`,
        top: `${100 * top}%`,
        width: `${100 * width}%`,
        height: `${100 * height}%`,
      });
      if (boxes.length > 1) {
        box.type = "button";
        box.setAttribute("aria-label", `Face ${index + 1} of ${boxes.length}`);
        box.setAttribute("aria-pressed", index === model.get("chosen"));
        box.addEventListener("click", () => {
          model.set("chosen", index);
          model.save_changes();
        });
      }
      frame.append(box);
    });
    for (const [x, y] of model.get("landmarks")) {
      const dot = document.createElement("i");
      Object.assign(dot.style, { left: `${100 * x}%`, top: `${100 * y}%` });
      frame.append(dot);
    }
    el.append(frame);
  };
  const traits = ["src", "boxes", "landmarks", "chosen"];
  for (const name of traits) model.on(`change:${name}`, show);
  show();
  return () => {
    for (const name of traits) model.off(`change:${name}`, show);
  };
}

export default { render };

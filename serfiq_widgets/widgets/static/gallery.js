// A row of thumbnails, each a button.

function render({ model, el }) {
  el.classList.add("serfiq-gallery");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Photos to choose from");
  const mark = () => {
    [...el.children].forEach((button, index) => {
      button.setAttribute("aria-pressed", index === model.get("chosen"));
    });
    const chosen = el.children[model.get("chosen")]?.getBoundingClientRect();
    if (chosen) {
      const row = el.getBoundingClientRect();
      el.scrollLeft += Math.max(0, chosen.right - row.right) - Math.max(0, row.left - chosen.left);
    }
  };
  const fill = () => {
    el.replaceChildren(
      ...model.get("items").map(({ label, src }, index) => {
        const button = document.createElement("button");
        button.className = "serfiq-sample";
        button.type = "button";
        const image = document.createElement("img");
        image.src = src;
        image.alt = "";
        const text = document.createElement("span");
        text.textContent = label;
        button.append(image, text);
        button.addEventListener("click", () => {
          model.set("chosen", index);
          model.save_changes();
        });
        return button;
      }),
    );
    mark();
  };
  model.on("change:items", fill);
  model.on("change:chosen", mark);
  fill();
  return () => {
    model.off("change:items", fill);
    model.off("change:chosen", mark);
  };
}

export default { render };

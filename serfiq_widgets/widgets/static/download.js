// Buttons that request a file from Python and save it, from a list of [kind, label].

function render({ model, el }) {
  el.classList.add("serfiq-download");
  for (const [kind, label] of model.get("offers")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => model.send({ kind }));
    el.append(button);
  }
  const take = ({ name, type }, [content]) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  model.on("msg:custom", take);
  return () => model.off("msg:custom", take);
}

export default { render };

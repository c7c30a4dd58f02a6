// The notice before the user's own photos, on pages served by Voila; CSS hides upload and camera.

function render({ model, el }) {
  el.classList.add("serfiq-consent");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Before you use your own photo");
  const text = document.createElement("p");
  text.innerHTML = model.get("text");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "I agree";
  button.addEventListener("click", () => {
    model.set("given", true);
    model.save_changes();
    el.parentElement.querySelector(".serfiq-takers button")?.focus();
  });
  el.append(text, button);
  const show = () => {
    el.hidden = !document.body.dataset.voila || model.get("given");
  };
  model.on("change:given", show);
  show();
  return () => model.off("change:given", show);
}

export default { render };

// The notice before the user's own photos, on pages served by Voila. It opens when the first photo
// is brought, and what was begun goes on once the user has agreed.

function render({ model, el }) {
  el.style.display = "contents"; // the notice lies above the page
  const dialog = document.createElement("dialog");
  dialog.className = "serfiq-consent";
  dialog.setAttribute("aria-label", "Before you use your own photo");
  const text = document.createElement("p");
  text.innerHTML = model.get("text");
  const agree = document.createElement("button");
  agree.type = "button";
  agree.textContent = "I agree";
  const leave = document.createElement("input");
  leave.type = "button";
  leave.value = "Not now";
  dialog.append(text, agree, leave);

  let begun = null;
  const ask = (event) => {
    if (!document.body.dataset.voila || model.get("given")) return;
    if (!el.parentElement?.contains(event.target)) return; // it belongs to another notice
    event.preventDefault();
    begun = event.detail;
    el.append(dialog);
    if (!dialog.open) dialog.showModal();
  };
  agree.addEventListener("click", () => {
    model.set("given", true);
    model.save_changes();
    dialog.close();
    begun();
  });
  leave.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.addEventListener("serfiq-own", ask);
  return () => document.removeEventListener("serfiq-own", ask);
}

export default { render };

// The page's address with settings after the #, which browsers never send to a server. Settings in
// the page's address, or kept from a session that ended, are sent to Python once.

function render({ model, el }) {
  el.classList.add("serfiq-link");
  const box = document.createElement("input");
  box.readOnly = true;
  box.setAttribute("aria-label", "A link to this page with these settings");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy the link";
  button.addEventListener("click", async () => {
    box.select();
    await navigator.clipboard?.writeText(box.value);
    button.textContent = "Copied";
    setTimeout(() => {
      button.textContent = "Copy the link";
    }, 1500);
  });
  el.append(box, button);
  const show = () => {
    const { origin, pathname, search } = location;
    box.value = `${origin}${pathname}${search}#${model.get("settings")}`;
  };
  model.on("change:settings", show);
  show();
  const given = document.body.dataset.kept || location.hash.slice(1); // see session.js
  if (document.body.dataset.voila && given && !model.get("opened")) {
    model.set("opened", given);
    model.save_changes();
  }
  return () => model.off("change:settings", show);
}

export default { render };

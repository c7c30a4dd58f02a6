// The page's address with settings after the #, which browsers never send to a server. Settings in
// the page's address, or kept from a session that ended, are sent to Python once. A page that Voila
// serves has its settings in its address as they change, so that a reload and Back keep them.

const PAUSE_MS = 300; // browsers refuse addresses that change too often

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
  let initial = model.get("settings"); // of a page that nobody has changed
  let timer = 0;
  const follow = () => {
    show();
    initial ||= model.get("settings");
    clearTimeout(timer);
    timer = setTimeout(() => {
      const changed = location.hash || model.get("settings") !== initial;
      if (changed && el.isConnected) history.replaceState(null, "", box.value);
    }, PAUSE_MS);
  };
  const change = document.body.dataset.voila ? follow : show;
  model.on("change:settings", change);
  show();
  const given = document.body.dataset.kept || location.hash.slice(1); // see session.js
  if (document.body.dataset.voila && given && !model.get("opened")) {
    model.set("opened", given);
    model.save_changes();
  }
  return () => {
    clearTimeout(timer);
    model.off("change:settings", change);
  };
}

export default { render };

// Text whose numbers follow a slider, without asking Python.

async function render({ model, el }) {
  el.setAttribute("aria-live", "polite");
  const reference = model.get("clock").replace("IPY_MODEL_", "");
  const clock = await model.widget_manager.get_model(reference);
  const show = () => {
    const numbers = model.get("numbers");
    const now = clock.get("value") - clock.get("min");
    if (!Object.keys(numbers).length) return;
    el.innerHTML = model.get("template").replace(/\{(\w+)\}/g, (_, name) => numbers[name][now]);
  };
  const follow = () => queueMicrotask(show); // after the move has been sent to Python
  model.on("change:numbers", show);
  clock.on("change:value", follow);
  show();
  return () => {
    model.off("change:numbers", show);
    clock.off("change:value", follow);
  };
}

export default { render };

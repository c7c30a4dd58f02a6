// A labelled slider with a number box; if it is playable, also with play and step buttons.

const TICK_MS = 90;
const PLAY = "\u25B6\uFE0E Play";
const PAUSE = "\u275A\u275A Pause";

function input(type, label) {
  const element = document.createElement("input");
  element.type = type;
  element.setAttribute("aria-label", label);
  return element;
}

function button(text, label, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  element.setAttribute("aria-label", label);
  element.addEventListener("click", act);
  return element;
}

function render({ model, el }) {
  el.classList.add("serfiq-slider");
  const title = document.createElement("span");
  title.textContent = model.get("label");
  const range = input("range", model.get("label"));
  const number = input("number", `${model.get("label")}, as a number`);
  el.append(title, range, number);

  const show = () => {
    for (const element of [range, number]) {
      for (const name of ["min", "max", "step"]) element[name] = model.get(name);
      if (element !== document.activeElement || element === range)
        element.value = model.get("value");
    }
    el.style.setProperty("--sq-done", (range.value - range.min) / (range.max - range.min));
  };
  const put = (value) => {
    if (!Number.isFinite(value)) return show();
    model.set("value", Math.min(model.get("max"), Math.max(model.get("min"), value)));
    model.save_changes();
  };
  range.addEventListener("input", () => put(range.valueAsNumber));
  number.addEventListener("input", () => {
    if (number.validity.valid) put(number.valueAsNumber);
  });
  number.addEventListener("change", () => {
    put(number.valueAsNumber);
    number.value = model.get("value");
  });

  let timer = 0;
  if (model.get("playable")) {
    const step = () => put(model.get("value") + 1);
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = PLAY;
      play.setAttribute("aria-label", "Play the passes one by one");
    };
    const tick = () => (model.get("value") < model.get("max") && el.isConnected ? step() : stop());
    const play = button(PLAY, "Play the passes one by one", () => {
      if (timer) return stop();
      if (model.get("value") >= model.get("max")) put(model.get("min"));
      play.textContent = PAUSE;
      play.setAttribute("aria-label", "Pause");
      timer = setInterval(tick, TICK_MS);
    });
    play.className = "serfiq-play";
    const next = button("Step", "One pass more", () => {
      stop();
      step();
    });
    next.className = "serfiq-step";
    el.append(play, next);
    el.classList.add("serfiq-playable");
  }
  const traits = ["value", "min", "max", "step"];
  for (const name of traits) model.on(`change:${name}`, show);
  show();
  return () => {
    clearInterval(timer);
    for (const name of traits) model.off(`change:${name}`, show);
  };
}

export default { render };

// @ts-check
// The stage: a face, its cloud of passes, its number between them, and what ruins it below.

import { createCloud } from "./cloud.js";
import { createControls } from "./controls.js";
import { html } from "./dom.js";
import { createNumbers } from "./numbers.js";
import { createPasses } from "./passes.js";
import { followTheme } from "./theme.js";

/**
 * What this code needs of a widget's model.
 * @typedef {object} Model
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 */

/**
 * @param {{ model: Model, el: HTMLElement }} where
 * @returns {() => void} ends it
 */
function render({ model, el }) {
  /** @type {Record<string, string>} */
  const words = model.get("words");
  /** @param {string} name @param {unknown} value */
  const put = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const face = html("img", "serfiq-face", { alt: words.face, draggable: false });
  const cloud = createCloud(words);
  const numbers = createNumbers(words);
  const controls = createControls(
    model.get("controls"),
    words,
    (change) => put("ruin", { ...model.get("ruin"), ...change }),
    () => put("ruin", model.get("undamaged")),
  );
  const passes = createPasses(model.get("limits"), words, (value) => put("passes", value));
  const bar = html("div", "sq-bar", {}, passes.element, controls.undo);
  const below = html("div", "serfiq-controls", {}, controls.main, bar, controls.more);
  const message = html("p", "serfiq-message", { role: "alert" });
  const scene = html("div", "sq-scene", {}, face, numbers.element, cloud.element, below);
  el.classList.add("serfiq-stage");
  el.append(scene);

  const show = {
    face: () => {
      face.hidden = !model.get("face");
      if (!face.hidden) face.src = model.get("face");
    },
    cloud: () => {
      if (model.get("cloud").dots) cloud.draw(model.get("cloud"));
      cloud.reveal(model.get("passes"));
    },
    numbers: () => numbers.show(model.get("numbers"), model.get("passes")),
    advice: () => numbers.advise(model.get("advice")),
    ruin: () => controls.show(model.get("ruin")),
    passes: () => {
      passes.show(model.get("passes"));
      cloud.reveal(model.get("passes"));
      show.numbers();
    },
    message: () => {
      message.textContent = model.get("message");
      if (message.textContent) el.prepend(message);
      else message.remove();
    },
  };
  for (const [name, follow] of Object.entries(show)) {
    model.on(`change:${name}`, follow);
    follow();
  }
  const endTheme = followTheme(el);
  const size = new ResizeObserver(([{ contentRect }]) => cloud.resize(contentRect.width));
  size.observe(cloud.element);
  return () => {
    for (const [name, follow] of Object.entries(show)) model.off(`change:${name}`, follow);
    passes.stop();
    endTheme();
    size.disconnect();
  };
}

export default { render };

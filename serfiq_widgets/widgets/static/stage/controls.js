// @ts-check
// What ruins the face: sliders and choices, the main ones in sight and the others folded away.

import { html } from "./dom.js";

/**
 * One control, as widgets/stage.py describes it: a slider, or a choice if it has options.
 * @typedef {object} Control
 * @property {string} name
 * @property {string} label
 * @property {string} unit
 * @property {boolean} main
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {number} [neutral] the value that changes nothing
 * @property {[string, string][]} [options]
 */

/** @typedef {Record<string, number | string>} Ruin */

/**
 * A number as it stands beside a slider, with as many decimal places as its step.
 * @param {number} value
 * @param {number} step
 * @param {string} unit
 */
export function written(value, step, unit) {
  const places = Number.isInteger(step) ? 0 : `${step}`.split(".")[1].length;
  const number = value.toFixed(places).replace("-", "\u2212");
  return `${number}${unit === "°" ? "" : " "}${unit}`.trim();
}

/**
 * Colour the track of a slider between two values.
 * @param {HTMLInputElement} range
 * @param {number} from
 * @param {number} to
 */
export function fill(range, from, to) {
  const [least, most] = [Number(range.min), Number(range.max)];
  const share = (/** @type {number} */ value) => `${(value - least) / (most - least)}`;
  range.style.setProperty("--sq-from", share(Math.min(from, to)));
  range.style.setProperty("--sq-to", share(Math.max(from, to)));
}

/**
 * @param {Control} control
 * @param {(value: number | string) => void} put
 */
function createSlider({ name, label, unit, min = 0, max = 1, step = 1, neutral = min }, put) {
  const range = html("input", "", { type: "range", name });
  Object.assign(range, { min: `${min}`, max: `${max}`, step: `${step}` });
  const number = html("output", "");
  range.addEventListener("input", () => {
    show(range.valueAsNumber);
    put(range.valueAsNumber);
  });
  /** @param {number | string} value */
  function show(value) {
    range.value = `${value}`;
    number.textContent = written(Number(value), step, unit);
    range.setAttribute("aria-valuetext", number.textContent);
    fill(range, neutral, Number(value));
  }
  return { element: html("label", "sq-control", {}, label, number, range), show };
}

/**
 * @param {Control} control
 * @param {(value: number | string) => void} put
 */
function createChoice({ name, label, options = [] }, put) {
  const choices = options.map(([value, text]) => html("option", "", { value }, text));
  const select = html("select", "", { name }, ...choices);
  select.addEventListener("input", () => put(select.value));
  /** @param {number | string} value */
  function show(value) {
    select.value = `${value}`;
  }
  return { element: html("label", "sq-control", {}, label, select), show };
}

/**
 * @param {Control[]} controls
 * @param {Record<string, string>} words
 * @param {(change: Ruin) => void} change gets what is to be different
 * @param {() => void} reset
 */
export function createControls(controls, words, change, reset) {
  const made = controls.map((control) => {
    const create = control.options ? createChoice : createSlider;
    const put = (/** @type {number | string} */ value) => change({ [control.name]: value });
    return { ...control, ...create(control, put) };
  });
  /** @param {boolean} main */
  const elements = (main) => made.filter((one) => one.main === main).map((one) => one.element);
  const undo = html("button", "sq-undo", { type: "button" }, words.reset);
  undo.addEventListener("click", reset);
  const more = html("details", "sq-more", {}, html("summary", "", {}, words.more));
  more.append(html("div", "sq-ruins", {}, ...elements(false)));
  const main = html("div", "sq-ruins", {}, ...elements(true));

  /** @param {Ruin} ruin */
  function show(ruin) {
    for (const one of made) one.show(ruin[one.name]);
  }

  return { main, more, undo, show };
}

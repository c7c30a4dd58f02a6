// @ts-check
// The number of passes: a slider that can play them one by one.

import { fill } from "./controls.js";
import { html } from "./dom.js";

const TICK_MS = 90;

/**
 * @param {{ least: number, most: number }} range
 * @param {Record<string, string>} words
 * @param {(passes: number) => void} put
 */
export function createPasses({ least, most }, words, put) {
  const range = html("input", "", { type: "range", name: "passes", step: "1" });
  Object.assign(range, { min: `${least}`, max: `${most}` });
  const number = html("output", "");
  const label = html("label", "sq-control", {}, words.passes, number, range);
  const play = html("button", "sq-play", { type: "button" });
  const element = html("div", "sq-passes", {}, play, label);
  let timer = 0;

  function stop() {
    clearInterval(timer);
    timer = 0;
    play.textContent = words.play;
    play.setAttribute("aria-pressed", "false");
  }
  function step() {
    if (range.valueAsNumber >= most || !element.isConnected) return stop();
    move(range.valueAsNumber + 1);
  }
  /** @param {number} passes */
  function move(passes) {
    show(passes);
    put(passes);
  }
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (range.valueAsNumber >= most) move(least);
    play.textContent = words.pause;
    play.setAttribute("aria-pressed", "true");
    timer = window.setInterval(step, TICK_MS);
  });
  range.addEventListener("input", () => {
    stop();
    move(range.valueAsNumber);
  });

  /** @param {number} passes */
  function show(passes) {
    range.value = `${passes}`;
    number.textContent = `${passes}`;
    fill(range, least, passes);
  }
  stop();
  return { element, show, stop };
}

// @ts-check
// The quality with its interval, and in words, after any number of passes.

import { html } from "./dom.js";

const FIRST = 2; // passes that the first of the texts belong to

/**
 * @param {Record<string, string>} words
 */
export function createNumbers(words) {
  const parts = {
    quality: html("span", "serfiq-quality"),
    margin: html("span", "serfiq-margin"),
    verdict: html("p", "serfiq-verdict"),
    change: html("p", "sq-change"),
    match: html("p", "serfiq-match"),
  };
  const scale = html("span", "sq-scale", {}, words.scale);
  const value = html("p", "sq-value", {}, parts.quality, parts.margin, scale);
  const { verdict, change, match } = parts;
  const caption = html("p", "sq-caption", {}, words.caption);
  const advice = html("p", "serfiq-advice");
  const costs = html("div", "sq-costs", {}, advice, match);
  const said = html("div", "sq-said", {}, change, verdict, costs);
  said.setAttribute("aria-live", "polite");
  const element = html("div", "serfiq-numbers", {}, value, said, caption);

  /**
   * @param {Record<string, string[]>} numbers
   * @param {number} passes
   */
  function show(numbers, passes) {
    for (const [name, part] of Object.entries(parts)) {
      const text = numbers[name]?.[passes - FIRST] ?? "";
      if (part.textContent !== text) part.textContent = text;
    }
  }

  /** @param {string} text */
  function advise(text) {
    advice.textContent = text;
  }

  return { element, show, advise };
}

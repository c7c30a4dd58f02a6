// @ts-check
// The picture of the passes: one dot each, on a disc of radius 1 that figures/stage.py has laid out.

import { svg } from "./dom.js";

const SIDE = 2.06; // of the view: the disc and its outline
const LABEL_GAP = 0.03;
const [DOT, GHOST] = [0.017, 0.014];

/**
 * What Python sends; see `cloud` in figures/stage.py.
 * @typedef {object} Picture
 * @property {[number, number][]} dots
 * @property {[number, number][]} ghosts
 * @property {number} size
 * @property {number | null} before
 * @property {number | null} ring
 * @property {number | null} decision
 * @property {[number, number] | null} strangers
 * @property {number} inner
 * @property {string} label
 */

/**
 * @param {string} name
 * @param {number} radius
 * @param {number} [x]
 * @param {number} [y]
 */
function circle(name, radius, x = 0, y = 0) {
  return svg("circle", { class: name, cx: x, cy: -y, r: radius });
}

/**
 * @param {string} name
 * @param {string} text
 * @param {number} y
 */
function label(name, text, y) {
  const element = svg("text", { class: name, x: 0, y: -y });
  element.textContent = text;
  return element;
}

/**
 * An empty picture. `draw` shows a face's passes, `reveal` the first of them.
 * @param {Record<string, string>} words
 */
export function createCloud(words) {
  const element = svg("svg", {
    class: "serfiq-cloud",
    viewBox: `${-SIDE / 2} ${-SIDE / 2} ${SIDE} ${SIDE}`,
    role: "img",
  });
  /** @type {SVGElement[][]} */
  let clouds = [];

  /** @param {Picture} picture */
  function draw(picture) {
    element.setAttribute("aria-label", picture.label);
    const { before, ring, decision, strangers } = picture;
    const shapes = [circle("sq-far", 1), circle("sq-near", picture.inner)];
    const labels = [];
    if (strangers) {
      const middle = (strangers[0] + strangers[1]) / 2;
      const band = circle("sq-strangers", middle);
      band.setAttribute("stroke-width", `${strangers[1] - strangers[0]}`);
      shapes.push(band);
      labels.push(label("sq-edge-label", words.strangers, middle));
    }
    if (decision !== null) {
      shapes.push(circle("sq-decision", decision));
      labels.push(label("sq-edge-label", words.decision, -decision));
    }
    const ghosts = picture.ghosts.map(([x, y]) => circle("sq-ghost", GHOST, x, y));
    const dots = picture.dots.map(([x, y]) => circle("sq-dot", DOT, x, y));
    shapes.push(circle("sq-size", picture.size), ...ghosts, ...dots);
    if (before !== null) {
      shapes.push(circle("sq-before", before));
      labels.push(label("sq-before-label", words.before, before + LABEL_GAP));
    }
    if (ring !== null) {
      shapes.push(circle("sq-ring", ring));
      labels.push(label("sq-ring-label", words.ring, -ring - LABEL_GAP));
    }
    element.replaceChildren(...shapes, ...labels);
    clouds = [dots, ghosts];
  }

  /** @param {number} passes */
  function reveal(passes) {
    for (const cloud of clouds) {
      for (const [index, dot] of cloud.entries()) {
        dot.classList.toggle("sq-hidden", index >= passes);
      }
    }
    for (const [index, dot] of (clouds[0] ?? []).entries()) {
      dot.classList.toggle("sq-newest", index === passes - 1);
    }
  }

  /**
   * Keep the sizes of dots and letters in pixels, whatever the size of the picture.
   * @param {number} width
   */
  function resize(width) {
    if (width > 0) element.style.setProperty("--sq-px", `${SIDE / width}`);
  }

  return { element, draw, reveal, resize };
}

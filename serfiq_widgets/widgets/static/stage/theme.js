// @ts-check
// Whether the page around an element is dark. Notebooks differ in how they say so; all paint it.

const DARK = 0.4; // the luminance below which letters on a background must be light

/**
 * How light a computed colour is, 0 to 1, and its opacity; null for what is no colour.
 * @param {string} colour
 * @returns {[number, number] | null}
 */
function lightness(colour) {
  const [, space, inside] = colour.match(/^(\w+)\((?:[a-z][\w-]* )?(.*)\)$/) ?? [];
  const [first, second, third, alpha = 1] = (inside?.match(/[\d.]+/g) ?? []).map(Number);
  if (third === undefined) return null;
  if (space.startsWith("ok")) return [first, alpha];
  if (space.startsWith("l")) return [first / 100, alpha];
  const sum = 0.2126 * first + 0.7152 * second + 0.0722 * third;
  return [space === "color" ? sum : sum / 255, alpha];
}

/**
 * Whether a computed background colour is dark; null if it lets what is behind shine through.
 * @param {string} colour
 * @returns {boolean | null}
 */
export function isDark(colour) {
  const [light, alpha] = lightness(colour) ?? [0, 0];
  return alpha < 0.5 ? null : light < DARK;
}

/**
 * Whether the first painted background behind an element is dark; an unpainted page is light.
 * @param {Element} element
 */
export function isOnDark(element) {
  /** @type {Node | null} */
  let node = element.parentNode;
  while (node) {
    const dark = node instanceof Element ? isDark(getComputedStyle(node).backgroundColor) : null;
    if (dark !== null) return dark;
    node = node instanceof ShadowRoot ? node.host : node.parentNode;
  }
  return false;
}

/**
 * Keep the class `sq-dark` of an element in step with its page.
 * @param {Element} element
 * @returns {() => void} ends it
 */
export function followTheme(element) {
  const follow = () => element.classList.toggle("sq-dark", isOnDark(element));
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", follow);
  const page = new MutationObserver(follow);
  for (const node of [document.documentElement, document.body]) {
    page.observe(node, { attributes: true });
  }
  const frame = requestAnimationFrame(follow); // the element joins the page after it is rendered
  return () => {
    scheme.removeEventListener("change", follow);
    page.disconnect();
    cancelAnimationFrame(frame);
  };
}

// @ts-check
// Whether the page around an element is dark. Notebooks differ in how they say so; all paint it.

const DARK = 0.4; // the luminance below which letters on a background must be light

/**
 * Whether a computed background colour is dark; null if it lets what is behind shine through.
 * @param {string} colour
 * @returns {boolean | null}
 */
export function isDark(colour) {
  const [red, green, blue, alpha = 1] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  if (blue === undefined || alpha < 0.5) return null;
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255 < DARK;
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

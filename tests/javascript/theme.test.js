import { afterEach, expect, test } from "vitest";
import { followTheme, isDark, isOnDark } from "../../serfiq_widgets/widgets/static/stage/theme.js";

afterEach(() => document.body.removeAttribute("style"));

test.each([
  ["rgb(255, 255, 255)", false],
  ["rgb(246, 248, 250)", false],
  ["rgb(13, 17, 23)", true],
  ["rgb(17, 17, 17)", true],
  ["rgba(0, 0, 0, 0)", null],
  ["rgba(255, 255, 255, 0.9)", false],
  ["color(srgb 0.98 0.98 1)", false],
  ["color(srgb 0.05 0.05 0.1)", true],
  ["color(display-p3 0.1 0.1 0.1)", true],
  ["oklch(0.985 0.002 247.8)", false],
  ["oklab(0.2 0 0 / 0.9)", true],
  ["lab(100 0 0)", false],
  ["lab(9.2 0.6 -1.1)", true],
  ["lab(9.2 0.6 -1.1 / 0)", null],
  ["", null],
])("%s is dark: %s", (colour, dark) => {
  expect(isDark(colour)).toBe(dark);
});

function place(...styles) {
  let parent = document.body;
  for (const style of styles) {
    const child = document.createElement("div");
    child.style.backgroundColor = style;
    parent.append(child);
    parent = child;
  }
  return parent;
}

test("the nearest painted background counts", () => {
  document.body.style.backgroundColor = "rgb(13, 17, 23)";
  expect(isOnDark(place("transparent", "transparent"))).toBe(true);
  expect(isOnDark(place("rgb(250, 250, 250)", "transparent"))).toBe(false);
});

test("a page without colours is light", () => {
  expect(isOnDark(place("transparent"))).toBe(false);
});

test("the page is seen from within a shadow root", () => {
  document.body.style.backgroundColor = "rgb(13, 17, 23)";
  const inside = document.createElement("div");
  place("transparent").attachShadow({ mode: "open" }).append(inside);
  expect(isOnDark(inside)).toBe(true);
});

test("the class follows the page, until that is ended", async () => {
  const element = place("transparent");
  const settled = () => new Promise((done) => setTimeout(done, 50));
  const end = followTheme(element);
  document.body.style.backgroundColor = "rgb(13, 17, 23)";
  await settled();
  expect(element.classList.contains("sq-dark")).toBe(true);
  end();
  document.body.style.backgroundColor = "rgb(255, 255, 255)";
  await settled();
  expect(element.classList.contains("sq-dark")).toBe(true);
});

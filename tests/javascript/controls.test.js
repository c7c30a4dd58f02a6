import { expect, test } from "vitest";
import { createControls, written } from "../../serfiq_widgets/widgets/static/stage/controls.js";
import { enter, WORDS } from "./page.js";

const BLUR = { name: "blur", label: "Blur", unit: "px", main: true, min: 0, max: 8, step: 0.1 };
const COVER = {
  name: "cover",
  label: "Cover",
  main: true,
  options: [
    ["none", "nothing"],
    ["mask", "a mask"],
  ],
};
const NOISE = { name: "noise", label: "Noise", unit: "", main: false, min: 0, max: 100, step: 1 };

function create() {
  const changes = [];
  const controls = createControls(
    [BLUR, COVER, NOISE],
    WORDS,
    (change) => changes.push(change),
    () => changes.push("reset"),
  );
  return { ...controls, changes };
}

test.each([
  [1.5, 0.1, "px", "1.5 px"],
  [-20, 1, "°", "\u221220°"],
  [0.35, 0.05, "×", "0.35 ×"],
  [100, 1, "", "100"],
])("%d by steps of %d %s is written %s", (value, step, unit, text) => {
  expect(written(value, step, unit)).toBe(text);
});

test("a slider and a choice say what they change, and nothing else", () => {
  const { main, changes } = create();
  enter(main.querySelector("[name=blur]"), "2.5");
  enter(main.querySelector("[name=cover]"), "mask");
  expect(changes).toEqual([{ blur: 2.5 }, { cover: "mask" }]);
});

test("the others are folded away", () => {
  const { main, more } = create();
  expect(main.querySelector("[name=noise]")).toBeNull();
  expect(more.querySelector("[name=noise]")).not.toBeNull();
  expect(more.open).toBe(false);
});

test("the controls follow Python, without an answer", () => {
  const { main, more, show, changes } = create();
  show({ blur: 3, cover: "mask", noise: 40 });
  expect(main.querySelector("[name=blur]").value).toBe("3");
  expect(main.querySelector("output").textContent).toBe("3.0 px");
  expect(main.querySelector("[name=cover]").value).toBe("mask");
  expect(more.querySelector("[name=noise]").value).toBe("40");
  expect(changes).toEqual([]);
});

test("one button undoes all", () => {
  const { undo, changes } = create();
  undo.click();
  expect(changes).toEqual(["reset"]);
});

test("a track is coloured from where nothing is changed", () => {
  const light = { name: "brightness", label: "Light", unit: "stops", main: true };
  const range = { min: -5, max: 3, step: 0.1, neutral: 0 };
  const { main, show } = createControls([{ ...light, ...range }], WORDS);
  const ends = () => {
    const { style } = main.querySelector("input");
    return ["--sq-from", "--sq-to"].map((name) => Number(style.getPropertyValue(name)));
  };
  show({ brightness: -4 });
  expect(ends()).toEqual([0.125, 0.625]);
  show({ brightness: 2 });
  expect(ends()).toEqual([0.625, 0.875]);
});

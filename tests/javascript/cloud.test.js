import { expect, test } from "vitest";
import { createCloud } from "../../serfiq_widgets/widgets/static/stage/cloud.js";
import { WORDS } from "./page.js";

const PICTURE = {
  dots: [
    [0.1, 0.2],
    [-0.3, 0],
    [0, -0.4],
  ],
  ghosts: [],
  size: 0.3,
  before: null,
  ring: 0.38,
  decision: null,
  strangers: null,
  inner: 0.7,
  label: "three passes",
};

const drawn = (picture, passes = 3) => {
  const cloud = createCloud(WORDS);
  cloud.draw(picture);
  cloud.reveal(passes);
  return cloud.element;
};
const shown = (element, name) => [...element.querySelectorAll(`.${name}:not(.sq-hidden)`)];

test("every dot lies where Python has put it, y upwards", () => {
  const places = shown(drawn(PICTURE), "sq-dot").map((dot) => [
    Number(dot.getAttribute("cx")),
    0 - Number(dot.getAttribute("cy")),
  ]);
  expect(places).toEqual(PICTURE.dots);
});

test("only the first passes are shown, and the newest of them is marked", () => {
  const element = drawn(PICTURE, 2);
  expect(shown(element, "sq-dot")).toHaveLength(2);
  const [newest] = shown(element, "sq-newest");
  expect(newest.getAttribute("cx")).toBe("-0.3");
});

test("the circles have the radii that they stand for", () => {
  const element = drawn({ ...PICTURE, before: 0.2, decision: 0.86, ghosts: [[0.2, 0]] });
  const radius = (name) => Number(element.querySelector(`.${name}`).getAttribute("r"));
  expect(radius("sq-size")).toBe(0.3);
  expect(radius("sq-before")).toBe(0.2);
  expect(radius("sq-ring")).toBe(0.38);
  expect(radius("sq-decision")).toBe(0.86);
  expect(shown(element, "sq-ghost")).toHaveLength(1);
});

test("the strangers' band lies between its two radii", () => {
  const band = drawn({ ...PICTURE, strangers: [0.9, 0.98] }).querySelector(".sq-strangers");
  const [middle, width] = [band.getAttribute("r"), band.getAttribute("stroke-width")].map(Number);
  expect(middle - width / 2).toBeCloseTo(0.9);
  expect(middle + width / 2).toBeCloseTo(0.98);
});

test("what there is not is not drawn, and the next face leaves nothing of the last", () => {
  const cloud = createCloud(WORDS);
  cloud.draw({ ...PICTURE, before: 0.2, decision: 0.86, strangers: [0.9, 0.98] });
  cloud.draw({ ...PICTURE, ring: null });
  for (const name of ["before", "decision", "strangers", "ring"]) {
    expect(cloud.element.querySelector(`.serfiq-${name}`)).toBeNull();
  }
  expect(cloud.element.querySelectorAll("text")).toHaveLength(0);
  expect(cloud.element.querySelectorAll(".sq-dot")).toHaveLength(3);
});

test("the picture has a name for those who do not see it", () => {
  expect(drawn(PICTURE).getAttribute("aria-label")).toBe("three passes");
});

test("a pixel keeps its size in a larger picture", () => {
  const { element, resize } = createCloud(WORDS);
  resize(206);
  expect(Number(element.style.getPropertyValue("--sq-px"))).toBeCloseTo(0.01);
});

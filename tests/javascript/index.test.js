import { expect, test } from "vitest";
import stage from "../../serfiq_widgets/widgets/static/stage/index.js";
import { createModel, enter, WORDS } from "./page.js";

const CONTROLS = [
  { name: "blur", label: "Blur", unit: "px", main: true, min: 0, max: 8, step: 0.1 },
  { name: "noise", label: "Noise", unit: "", main: false, min: 0, max: 100, step: 1 },
];
const PICTURE = {
  dots: [
    [0.1, 0],
    [0.2, 0],
    [0.3, 0],
  ],
  ghosts: [],
  size: 0.2,
  before: null,
  ring: null,
  decision: null,
  strangers: null,
  inner: 0.7,
  label: "",
};
const NUMBERS = {
  quality: ["83", "84"],
  margin: ["", "± 1.2"],
  verdict: ["Very good", "Very good: better than 71 % of LFW faces"],
};

function open(values = {}) {
  const model = createModel({
    words: WORDS,
    controls: CONTROLS,
    undamaged: { blur: 0, noise: 0 },
    limits: { least: 2, most: 3 },
    face: "data:image/png;base64,AAAA",
    cloud: PICTURE,
    numbers: NUMBERS,
    ruin: { blur: 0, noise: 7 },
    passes: 3,
    advice: "",
    message: "",
    ...values,
  });
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  const close = stage.render({ model, el });
  const text = (name) => el.querySelector(`.serfiq-${name}`).textContent;
  const input = (name) => el.querySelector(`[name=${name}]`);
  const dots = () => el.querySelectorAll(".sq-dot:not(.sq-hidden)").length;
  return { model, el, close, text, input, dots };
}

test("face, cloud, number and words are there", () => {
  const { el, text, dots } = open();
  expect(el.querySelector("img").src).toContain("data:image/png");
  expect(dots()).toBe(3);
  expect(text("quality")).toBe("84");
  expect(text("margin")).toBe("± 1.2");
  expect(text("verdict")).toContain("better than 71 %");
});

test("cloud and number follow the passes at once, without Python", () => {
  const { model, input, text, dots } = open();
  enter(input("passes"), "2");
  expect(dots()).toBe(2);
  expect(text("quality")).toBe("83");
  expect(model.saved.at(-1).passes).toBe(2);
});

test("a control changes its own degradation and leaves the others", () => {
  const { model, input } = open();
  enter(input("blur"), "4");
  expect(model.saved.at(-1).ruin).toEqual({ blur: 4, noise: 7 });
});

test("undo asks for the undamaged face", () => {
  const { model, el, input } = open({ ruin: { blur: 4, noise: 7 } });
  el.querySelector(".sq-undo").click();
  expect(model.saved.at(-1).ruin).toEqual({ blur: 0, noise: 0 });
  expect(input("blur").value).toBe("0");
});

test("a new face keeps the number of passes that is shown", () => {
  const { model, input, dots } = open();
  enter(input("passes"), "2");
  model.set("cloud", { ...PICTURE, size: 0.4 });
  expect(dots()).toBe(2);
});

test("without a face there is no broken picture", () => {
  const { model, el } = open({ face: "", cloud: {}, numbers: {} });
  expect(el.querySelector("img").hidden).toBe(true);
  model.set("face", "data:image/png;base64,AAAA");
  expect(el.querySelector("img").hidden).toBe(false);
});

test("what each degradation costs is said when Python has found out", () => {
  const { model, text } = open();
  expect(text("advice")).toBe("");
  model.set("advice", "Undoing blur gains 31 points, light 4.");
  expect(text("advice")).toBe("Undoing blur gains 31 points, light 4.");
});

test("an error is said, as text, and goes again", () => {
  const { model, el, text } = open();
  expect(el.querySelector(".serfiq-message")).toBe(null);
  model.set("message", "No <b>face</b> was found.");
  expect(text("message")).toBe("No <b>face</b> was found.");
  model.set("message", "");
  expect(el.querySelector(".serfiq-message")).toBe(null);
});

test("a closed view listens no longer", () => {
  const { model, close } = open();
  close();
  expect(model.listeners()).toBe(0);
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPasses } from "../../serfiq_widgets/widgets/static/stage/passes.js";
import { enter, WORDS } from "./page.js";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function create(now) {
  const moves = [];
  const passes = createPasses({ least: 2, most: 200 }, WORDS, (value) => moves.push(value));
  document.body.replaceChildren(passes.element);
  passes.show(now);
  const play = passes.element.querySelector("button");
  return { ...passes, moves, play, range: passes.element.querySelector("input") };
}

test("a move of the slider is told once", () => {
  const { range, moves, element } = create(100);
  enter(range, "57");
  expect(moves).toEqual([57]);
  expect(element.querySelector("output").textContent).toBe("57");
});

test("playing goes on one by one until it is paused", () => {
  const { play, moves } = create(10);
  play.click();
  expect(play.getAttribute("aria-pressed")).toBe("true");
  vi.advanceTimersByTime(300);
  play.click();
  expect(moves).toEqual([11, 12, 13]);
  vi.advanceTimersByTime(1000);
  expect(moves).toHaveLength(3);
});

test("at the end, playing begins anew, and ends at the last pass", () => {
  const { play, moves } = create(200);
  play.click();
  vi.advanceTimersByTime(60_000);
  expect(moves[0]).toBe(2);
  expect(moves.at(-1)).toBe(200);
  expect(moves).toHaveLength(199);
  expect(play.getAttribute("aria-pressed")).toBe("false");
});

test("a hand on the slider, or a page that closes, ends the playing", () => {
  const { play, range, moves, element } = create(10);
  play.click();
  enter(range, "50");
  vi.advanceTimersByTime(1000);
  expect(moves).toEqual([50]);
  play.click();
  element.remove();
  vi.advanceTimersByTime(1000);
  expect(moves).toEqual([50]);
});

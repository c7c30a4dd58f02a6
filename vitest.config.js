// The tests of the stage's JavaScript, in an imitation of a page; no test needs a browser or a kernel.

export default {
  test: { environment: "happy-dom", include: ["tests/javascript/*.test.js"] },
};

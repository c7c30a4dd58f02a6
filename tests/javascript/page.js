// What the tests need of a page and of a widget's model.

export const WORDS = new Proxy({}, { get: (_, name) => `(${String(name)})` });

/** A model as a kernel's, without the kernel; `saved` lists what the page has sent. */
export function createModel(values) {
  const callbacks = {};
  const model = {
    saved: [],
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      for (const callback of callbacks[`change:${name}`] ?? []) callback();
    },
    save_changes: () => model.saved.push({ ...values }),
    on: (event, callback) => {
      callbacks[event] = [...(callbacks[event] ?? []), callback];
    },
    off: (event, callback) => {
      callbacks[event] = callbacks[event].filter((one) => one !== callback);
    },
    listeners: () => Object.values(callbacks).flat().length,
  };
  return model;
}

/** Move a slider or choose an option as a user does. */
export function enter(element, value) {
  element.value = value;
  element.dispatchEvent(new Event("input", { bubbles: true }));
}

// A button for photos, which can also be dropped anywhere on the page, or pasted. Files are sent in
// pieces that every server accepts.

import { withConsent } from "./own.js";

const PIECE = 2 ** 20;

async function send(model, file) {
  const name = file.name;
  if (file.size > model.get("limit")) {
    model.send({ name, too_large: true });
    return;
  }
  for (let start = 0; start === 0 || start < file.size; start += PIECE) {
    const piece = await file.slice(start, start + PIECE).arrayBuffer();
    const ends = { first: start === 0, last: start + PIECE >= file.size };
    model.send({ name, ...ends }, undefined, [piece]);
  }
}

function render({ model, el }) {
  el.classList.add("serfiq-upload");
  const input = document.createElement("input");
  input.type = "file";
  input.accept = "image/jpeg,image/png,image/webp,image/avif,image/heic,image/heif";
  input.multiple = true;
  input.hidden = true;
  const button = document.createElement("button");
  button.type = "button";
  const icon =
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 16V5m0 0-5 5m5-5 5 5M4 17v3h16v-3"/></svg>';
  button.innerHTML = icon;
  button.append(model.get("label"));
  button.addEventListener("click", () => withConsent(el, () => input.click()));
  const take = async (files) => {
    button.disabled = true;
    for (const file of files) await send(model, file);
    button.disabled = false;
    input.value = "";
  };
  input.addEventListener("change", () => take([...input.files]));
  const hint = document.createElement("small");
  hint.textContent = "or drop or paste them";
  el.append(button, input, hint);

  const bring = (event, { files }) => {
    if (!files.length || event.defaultPrevented) return;
    event.preventDefault(); // else the browser leaves the page for the photo
    const brought = [...files]; // which the event forgets
    withConsent(el, () => take(brought));
  };
  const listeners = {
    dragover: (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      el.classList.add("serfiq-hover");
    },
    dragleave: (event) => {
      if (!event.relatedTarget) el.classList.remove("serfiq-hover");
    },
    drop: (event) => {
      el.classList.remove("serfiq-hover");
      bring(event, event.dataTransfer);
    },
    paste: (event) => bring(event, event.clipboardData),
  };
  // A notebook has other uses of its page.
  const place = document.body.dataset.voila ? document : el;
  for (const [kind, listen] of Object.entries(listeners)) place.addEventListener(kind, listen);
  return () => {
    for (const [kind, listen] of Object.entries(listeners)) place.removeEventListener(kind, listen);
  };
}

export default { render };

// A button and drop target for photos. Files are sent in pieces that every server accepts.

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
  button.addEventListener("click", () => input.click());
  const take = async (files) => {
    button.disabled = true;
    for (const file of files) await send(model, file);
    button.disabled = false;
    input.value = "";
  };
  input.addEventListener("change", () => take([...input.files]));
  const hover = (on) => (event) => {
    event.preventDefault();
    el.classList.toggle("serfiq-hover", on);
  };
  el.addEventListener("dragover", hover(true));
  el.addEventListener("dragleave", hover(false));
  el.addEventListener("drop", (event) => {
    hover(false)(event);
    take([...event.dataTransfer.files]);
  });
  const hint = document.createElement("small");
  hint.textContent = "or drop them here";
  el.append(button, input, hint);
}

export default { render };

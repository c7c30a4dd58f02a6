// A table. A click on a heading sorts it; a click on a row's button chooses the row.

const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

function render({ model, el }) {
  el.classList.add("serfiq-table");
  let column = -1;
  let rising = true;
  const show = () => {
    const rows = model.get("rows").map((cells, index) => ({ cells, index }));
    if (column >= 0)
      rows.sort((a, b) => (rising ? 1 : -1) * compare(a.cells[column], b.cells[column]));
    const table = document.createElement("table");
    const caption = table.createCaption();
    caption.textContent = model.get("caption");
    const head = table.createTHead().insertRow();
    model.get("columns").forEach((title, index) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (typeof rows[0]?.cells[index] === "number") cell.className = "serfiq-number";
      if (index === column) cell.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = title;
      button.addEventListener("click", () => {
        rising = index === column ? !rising : true;
        column = index;
        show();
        el.querySelectorAll("th button")[index].focus();
      });
      cell.append(button);
      head.append(cell);
    });
    if (model.get("action")) {
      const cell = document.createElement("td");
      head.append(cell);
    }
    const body = table.createTBody();
    for (const { cells, index } of rows) {
      const row = body.insertRow();
      cells.forEach((value, column) => {
        const cell = row.insertCell();
        const places = model.get("places")[column];
        const whole = Number.isInteger(value) && places === undefined;
        cell.textContent = typeof value === "number" && !whole ? value.toFixed(places ?? 4) : value;
        if (typeof value === "number") cell.className = "serfiq-number";
      });
      if (model.get("action")) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = model.get("action");
        button.setAttribute("aria-label", `${model.get("action")} ${cells[0]}`);
        button.addEventListener("click", () => model.send({ row: index }));
        row.insertCell().append(button);
      }
    }
    el.replaceChildren(table);
  };
  const traits = ["rows", "columns", "places", "caption", "action"];
  for (const name of traits) model.on(`change:${name}`, show);
  show();
  return () => {
    for (const name of traits) model.off(`change:${name}`, show);
  };
}

export default { render };

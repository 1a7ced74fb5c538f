// A table sorts by the header that is clicked: up, down, then as it was written. What has no value comes last.
const words = new Intl.Collator(undefined, { numeric: true });
const next = { none: "ascending", ascending: "descending", descending: "none" };

function sorted(rows, column, order) {
  const number = (row) => parseFloat(row.cells[column].dataset.value);
  const text = (row) => (row.cells[column].querySelector(".name") ?? row.cells[column]).textContent.trim();
  const isNumeric = rows.some((row) => !isNaN(number(row)));
  const known = isNumeric ? rows.filter((row) => !isNaN(number(row))) : [...rows];
  const sign = order === "ascending" ? 1 : -1;
  known.sort((a, b) => sign * (isNumeric ? number(a) - number(b) : words.compare(text(a), text(b))));
  return [...known, ...rows.filter((row) => !known.includes(row))];
}

for (const table of document.querySelectorAll("table.sorts")) {
  const written = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  const sortable = heads.filter((head) => !head.classList.contains("fixed"));
  for (const head of sortable) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const order = next[head.getAttribute("aria-sort")];
      sortable.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
      const rows = order === "none" ? written : sorted(written, heads.indexOf(head), order);
      table.tBodies[0].append(...rows);
    });
  }
}

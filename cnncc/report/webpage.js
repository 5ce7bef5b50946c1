// Tables of class `sortable` are sorted and filtered where they lie; without this script they are plain tables.
// A link to a row shows the row, whatever was filtered.
"use strict";
const filters = new Map();
const FEW = 6; // rows of a table that nobody has to search

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent;

  const sort = (column, falling) => {
    heads.forEach((head, i) => {
      if (i === column) head.ariaSort = falling ? "descending" : "ascending";
      else head.removeAttribute("aria-sort");
    });
    const ordered = column < 0 ? rows : [...rows].sort((a, b) => {
      const [left, right] = falling ? [key(b, column), key(a, column)] : [key(a, column), key(b, column)];
      return left - right || left.localeCompare(right, undefined, { numeric: true });
    });
    body.append(...ordered);
  };

  const filter = (text) => {
    const words = text.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  };

  const order = document.createElement("select");
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const falling = head.ariaSort ? head.ariaSort === "ascending" : "number" in head.dataset;
      sort(i, falling);
      order.value = String(i);
    });
    head.replaceChildren(button);
  });

  if (rows.length < FEW) continue;
  const bar = document.createElement("div"), search = document.createElement("input");
  bar.className = "tools";
  search.type = "search";
  search.placeholder = "filter";
  search.ariaLabel = `filter: ${table.dataset.what}`;
  search.addEventListener("input", () => filter(search.value));
  order.ariaLabel = `order: ${table.dataset.what}`;
  order.add(new Option("in order", "-1"));
  heads.forEach((head, i) => order.add(new Option(`by ${head.textContent}`, String(i))));
  order.addEventListener("change", () => sort(Number(order.value), "number" in (heads[order.value]?.dataset ?? {})));
  bar.append(search, order);
  table.before(bar);
  filters.set(table, () => { search.value = ""; filter(""); });
}

function showTarget() {
  const row = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!row) return;
  if (row.hidden) filters.get(row.closest("table"))?.();
  row.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", showTarget);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => setTimeout(showTarget));
showTarget();

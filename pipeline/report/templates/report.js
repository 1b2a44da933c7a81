// Sorting by a click on a column's head; a pinned line stays on top.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim();
  table.querySelectorAll("thead th button").forEach((button) => {
    const head = button.closest("th");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (a, b) => {
        const [x, y] = [value(a, head.cellIndex), value(b, head.cellIndex)];
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is not known comes last
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      };
      const rows = [...body.rows];
      const pinned = rows.filter((row) => row.classList.contains("pinned"));
      body.append(...pinned, ...rows.filter((row) => !pinned.includes(row)).sort(compare));
    });
  });
}

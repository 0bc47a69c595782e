// The page's own script. Everything it needs stands on the page already, and all of it can be read without.
"use strict";
document.documentElement.classList.add("scripted");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// What a mark says, beside it.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
const said = new WeakMap();
for (const title of all("svg a > title, svg g > title, svg rect > title")) {
  said.set(title.parentNode, title.textContent);
  title.parentNode.setAttribute("aria-label", title.textContent);
  title.remove();
}
function show(event) {
  let node = event.target;
  while (node && node !== document && !said.has(node)) node = node.parentNode;
  tip.hidden = !(node && said.has(node));
  if (tip.hidden) return;
  tip.textContent = said.get(node);
  const box = event.type === "focusin" ? node.getBoundingClientRect() : { left: event.clientX, bottom: event.clientY };
  const left = Math.min(box.left + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${box.bottom + 14 + scrollY}px`;
}
addEventListener("pointermove", show);
addEventListener("focusin", show);
addEventListener("pointerleave", () => { tip.hidden = true; });

// A table is sorted by the column whose title is pressed, and filtered by what is typed.
const number = (cell) => (cell && cell.dataset.value ? Number(cell.dataset.value) : NaN);
function figure(cell) {
  const own = number(cell);
  if (!Number.isNaN(own)) return own;
  const found = /^[<>]?\s*([\u2212+-]?[\d.]+)\s*([GMk]?)/.exec(cell ? cell.textContent.trim() : "");
  return found ? Number(found[1].replace("\u2212", "-")) * { G: 1e9, M: 1e6, k: 1e3, "": 1 }[found[2]] : NaN;
}
function sort(table, column, button) {
  const down = button.getAttribute("aria-sort") === "ascending";
  const rows = all("tbody > tr:not(.family):not(.notes)", table);
  const notes = new Map(rows.map((row) => [row, row.nextElementSibling?.matches(".notes") ? row.nextElementSibling : null]));
  const key = (row) => figure(row.cells[column]);
  const words = (row) => row.cells[column]?.textContent.trim() ?? "";
  rows.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (Number.isNaN(a) && Number.isNaN(b)) return (down ? -1 : 1) * words(one).localeCompare(words(other), "en", { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
    return down ? b - a : a - b;
  });
  all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
  button.setAttribute("aria-sort", down ? "descending" : "ascending");
  all("tr.family", table).forEach((row) => { row.hidden = true; });
  const body = table.tBodies[0];
  for (const row of rows) {
    row.classList.remove("member");
    const name = row.querySelector("[data-full]");
    if (name) name.textContent = name.dataset.full;
    body.append(row);
    if (notes.get(row)) body.append(notes.get(row));
  }
}
for (const table of all("table")) {
  if (all("tbody > tr", table).length < 3) continue;
  all("thead th", table).forEach((title, column) => {
    title.tabIndex = 0;
    title.classList.add("sortable");
    const press = () => sort(table, column, title);
    title.addEventListener("click", press);
    title.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); }
    });
  });
}
for (const form of all("[data-filters]")) {
  const table = document.getElementById(form.dataset.filters);
  const [text, use] = [form.querySelector("[type=search]"), form.querySelector("[type=checkbox]")];
  const filter = () => {
    for (const row of all("tbody > tr:not(.family):not(.notes)", table)) {
      const name = (row.querySelector("[data-full]")?.dataset.full ?? row.textContent).toLowerCase();
      row.hidden = !name.includes(text.value.trim().toLowerCase()) || (use.checked && !("use" in row.dataset));
      if (row.nextElementSibling?.matches(".notes")) row.nextElementSibling.hidden = row.hidden;
    }
    for (const body of table.tBodies) {
      const head = body.querySelector(".family");
      if (head && !table.querySelector("[aria-sort]")) head.hidden = all("tr:not(.family)", body).every((row) => row.hidden);
    }
  };
  form.addEventListener("input", filter);
  form.hidden = false;
}

// Dense and chosen case on one picture, with a line between them that is moved.
for (const slider of all("[data-slider]")) {
  const shots = all(".shot", document.getElementById(slider.dataset.slider));
  const [range, choice, under, over, says] = ["[type=range]", "select", ".under", ".over", ".says"].map((one) => slider.querySelector(one));
  if (shots.length < 2) continue;
  const drawing = (shot) => shot.querySelector("svg").cloneNode(true);
  under.replaceChildren(drawing(shots[0]));
  const choose = () => {
    over.replaceChildren(drawing(shots[Number(choice.value)]));
    says.textContent = shots[Number(choice.value)].querySelector("figcaption").innerText.split("\n").slice(1).join(" \u00b7 ");
  };
  const move = () => {
    over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
    slider.style.setProperty("--at", `${range.value}%`);
  };
  choice.addEventListener("change", choose);
  range.addEventListener("input", move);
  choose();
  move();
  slider.hidden = false;
}

// What is to be typed is copied.
for (const line of all(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    const code = line.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
    }
  });
  line.append(button);
}

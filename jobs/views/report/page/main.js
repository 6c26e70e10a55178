"use strict";

/* Puts the page together: its pictures, the tools that choose among them, the grid and the card. */
const data = JSON.parse(document.getElementById("data").textContent);
const pictures = new Pictures(data, (appended) => refresh(appended));
const card = new Card(document.getElementById("card"), pictures);
const grid = new Grid(document.getElementById("grid"), pictures, (index) => card.open(index));
card.dialog.addEventListener("close", () => grid.focus(card.index));

function refresh(appended) {
  const { chosen, all } = pictures;
  const loading = all.length < data.total ? `, ${Words.number(data.total - all.length)} still loading` : "";
  const shown = chosen.length === all.length ? `${Words.number(all.length)} pictures` : `${Words.number(chosen.length)} of ${Words.number(all.length)}`;
  document.getElementById("count").textContent = shown + loading;
  document.getElementById("nothing").hidden = chosen.length > 0 || all.length === 0;
  if (appended) grid.draw();
  else grid.reset();
}

/* Chooses from the start of the list: what was in sight may be gone. */
function choose(wanted) {
  grid.active = 0;
  pictures.choose(wanted);
  const top = document.getElementById("pictures").getBoundingClientRect().top;
  if (top < 0) scrollBy(0, top);
}

const search = document.getElementById("search");
search.addEventListener("input", () => choose({ search: search.value }));
document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());

const selects = ["finding", "folder", "change", "sort"].map((id) => document.getElementById(id)).filter(Boolean);
for (const select of selects) {
  select.addEventListener("change", () => {
    choose({ [select.id]: select.id === "change" ? Number(select.value) : select.value });
  });
}

const statuses = [...document.querySelectorAll("[data-status]")];
for (const button of statuses) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    const pressed = statuses.filter((other) => other.getAttribute("aria-pressed") === "true");
    choose({ statuses: new Set(pressed.map((other) => other.dataset.status)) });
  });
}

document.getElementById("reset").addEventListener("click", () => {
  search.value = "";
  for (const select of selects) select.selectedIndex = 0;
  for (const button of statuses) button.setAttribute("aria-pressed", "false");
  choose({ statuses: new Set(), finding: "", folder: "", change: 0, search: "", sort: "risk" });
  search.focus();
});

addEventListener("keydown", (event) => {
  if (event.key === "/" && !card.dialog.open && event.target !== search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && event.target === search && search.value) {
    search.value = "";
    choose({ search: "" });
  }
});

/* Loads the page's data, a file after the other: browsers let a page read no files but scripts. */
function load([name, ...others]) {
  if (!name) return;
  const script = document.createElement("script");
  script.src = name;
  script.addEventListener("load", () => load(others));
  script.addEventListener("error", () => {
    document.getElementById("count").textContent = `${name} is missing: copy the whole folder of this page`;
  });
  document.head.append(script);
}
load(data.chunks);

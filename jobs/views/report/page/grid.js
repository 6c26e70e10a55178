"use strict";

/* The chosen pictures as tiles, of which only those in sight exist. */
class Grid {
  static TILE = 208;
  static GAP = 16;
  static TEXT = 64;
  static AROUND = 2; // rows above and below those in sight

  constructor(list, pictures, onOpen) {
    this.list = list;
    this.pictures = pictures;
    this.onOpen = onOpen;
    this.active = 0;
    this.tiles = new Map();
    this.waiting = false;
    addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.soon()).observe(list);
    list.addEventListener("keydown", (event) => this.move(event));
    list.addEventListener("click", (event) => {
      const tile = event.target.closest("li");
      if (tile) this.open(Number(tile.dataset.index));
    });
  }

  /* Begin anew, after other pictures were chosen. */
  reset() {
    this.active = Math.min(this.active, Math.max(0, this.pictures.chosen.length - 1));
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.draw();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const width = this.list.clientWidth;
    const columns = Math.max(2, Math.floor((width + Grid.GAP) / (Grid.TILE + Grid.GAP)));
    const side = (width - Grid.GAP * (columns - 1)) / columns;
    const height = Math.round(side * 0.75) + Grid.TEXT + Grid.GAP;
    const count = this.pictures.chosen.length;
    const rows = Math.ceil(count / columns);
    Object.assign(this, { columns, height, side });
    this.list.style.height = `${Math.max(0, rows * height - Grid.GAP)}px`;
    const top = -this.list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - Grid.AROUND) * columns;
    const last = Math.min(count, (Math.ceil((top + innerHeight) / height) + Grid.AROUND) * columns);
    const kept = new Set(count ? [this.active] : []);
    for (let index = first; index < last; index += 1) kept.add(index);
    for (const [index, tile] of this.tiles) {
      if (!kept.has(index)) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (const index of [...kept].sort((a, b) => a - b)) this.lay(index);
  }

  /* Put a tile at its place, and make it if it does not exist; tiles lie in the order of the pictures. */
  lay(index) {
    let tile = this.tiles.get(index);
    if (!tile) {
      tile = this.tile(index);
      this.tiles.set(index, tile);
      const after = [...this.list.children].find((other) => Number(other.dataset.index) > index);
      this.list.insertBefore(tile, after || null);
    }
    const { columns, height, side } = this;
    const left = (index % columns) * (side + Grid.GAP);
    tile.style.width = `${side}px`;
    tile.style.transform = `translate(${left}px, ${Math.floor(index / columns) * height}px)`;
    tile.setAttribute("aria-setsize", this.pictures.chosen.length);
    tile.firstChild.tabIndex = index === this.active ? 0 : -1;
  }

  tile(index) {
    const row = this.pictures.chosen[index];
    const { preview, whole, why } = this.pictures.files(row, "after");
    const frame = Words.element("span", "frame");
    if (preview || whole) {
      const image = Words.element("img");
      image.alt = "";
      image.decoding = "async";
      image.src = preview || whole;
      image.addEventListener("error", () => image.replaceWith(Words.element("span", "lack", "no picture")));
      frame.append(image);
    } else {
      frame.append(Words.element("span", "lack", row.code || why || "no preview"));
    }
    const found = (row.found || []).map(({ what, action }) => (action === "corrected" ? what : `${what} ${action}`));
    const line = Words.element("span", "line", Words.element("i", row.status), found.join(", ") || row.status);
    const button = Words.element("button", "", frame, Words.element("span", "name", Words.name(Grid.ending(row.key))), line);
    button.type = "button";
    button.setAttribute("aria-label", `${Words.plain(row.key)}: ${row.status}${found.length ? `, ${found.join(", ")}` : ""}`);
    button.title = Words.plain(row.key);
    const tile = Words.element("li", "", button);
    tile.dataset.index = index;
    tile.setAttribute("aria-posinset", index + 1);
    return tile;
  }

  static ending(key) {
    return key.slice(key.lastIndexOf("/") + 1);
  }

  move(event) {
    const page = Math.max(1, Math.floor(innerHeight / this.height) - 1) * this.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity,
    };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.focus(this.active + steps[event.key]);
  }

  /* Bring a picture into sight, and the focus to it. */
  focus(index) {
    const last = this.pictures.chosen.length - 1;
    if (last < 0) return;
    this.active = Math.max(0, Math.min(last, index));
    const place = Math.floor(this.active / this.columns) * this.height;
    const top = this.list.getBoundingClientRect().top + place;
    const bar = document.querySelector(".tools").offsetHeight + Grid.GAP;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight);
    this.draw();
    this.tiles.get(this.active).firstChild.focus({ preventScroll: true });
  }

  open(index) {
    this.active = index;
    this.draw();
    this.onOpen(index);
  }
}

"use strict";

/* Shows one picture before and after: with a border to slide, in turns, or their difference; whole or by its pixels. */
class Stage {
  static LEVELS = [1, 2, 4, 8]; // screen pixels for a pixel

  constructor(root) {
    this.root = root;
    this.layers = root.querySelector(".layers");
    this.sides = { before: root.querySelector(".layer.before"), after: root.querySelector(".layer.after") };
    this.boxes = root.querySelector(".boxes");
    this.handle = root.querySelector(".split");
    this.empty = root.querySelector(".empty");
    this.view = "slide";
    this.split = 50;
    this.zoom = 0; // 0 is the whole picture
    this.turn = 0;
    this.showsPlaces = true;
    this.onChange = () => {};
    new ResizeObserver(() => this.lay()).observe(root);
    this.handle.addEventListener("keydown", (event) => this.slideByKey(event));
    root.addEventListener("pointerdown", (event) => this.drag(event));
    root.addEventListener("dblclick", () => this.zoomTo(this.zoom ? 0 : 1));
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.step(event.deltaY < 0 ? 1 : -1, event);
    }, { passive: false });
  }

  /* Show a picture: its size, its files on both sides, its boxes, and whether it has two sides. */
  show({ size, before, after, boxes, pair }) {
    this.turn += 1;
    this.size = size || [4, 3];
    this.pair = pair;
    this.center = [0.5, 0.5];
    this.zoom = 0;
    this.held = false;
    const lacks = !(after.preview || after.whole);
    this.empty.hidden = !lacks;
    this.layers.hidden = this.boxes.hidden = lacks;
    this.empty.textContent = lacks ? after.why || "There is no picture to show." : "";
    this.load("after", after);
    this.load("before", pair ? before : after);
    this.boxes.setAttribute("viewBox", `0 0 ${this.size[0]} ${this.size[1]}`);
    this.boxes.replaceChildren(...boxes.map(Stage.box));
    this.lay();
  }

  /* Show the preview at once, and the file itself as soon as it is there. */
  load(side, { preview, whole }) {
    const image = this.sides[side].firstChild;
    const { turn } = this;
    image.removeAttribute("src");
    image.onerror = () => {
      this.empty.hidden = false;
      this.empty.textContent = `The file ${side} cannot be shown: it may have been moved.`;
    };
    if (preview || whole) image.src = preview || whole;
    if (!preview || !whole) return;
    const file = new Image();
    file.addEventListener("load", () => {
      if (turn === this.turn) image.src = whole;
    });
    file.src = whole;
  }

  static box([left, top, right, bottom]) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const values = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
    return made;
  }

  look(view) {
    this.view = view;
    this.lay();
  }

  /* Show the picture before for as long as it is held. */
  hold(held) {
    if (this.held === held) return;
    this.held = held;
    this.lay();
  }

  slide(percent) {
    this.split = Math.max(0, Math.min(100, percent));
    this.lay();
  }

  slideByKey(event) {
    const step = event.shiftKey ? 10 : 2;
    const places = {
      ArrowLeft: this.split - step, ArrowDown: this.split - step,
      ArrowRight: this.split + step, ArrowUp: this.split + step, Home: 0, End: 100,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    event.stopPropagation();
    this.slide(places[event.key]);
  }

  /* Drag the border, or the picture where it is larger than the stage. */
  drag(event) {
    const bounds = this.root.getBoundingClientRect();
    const border = bounds.left + (bounds.width * this.split) / 100;
    const slides = this.pair && this.view === "slide" && (!this.zoom || Math.abs(event.clientX - border) < 24);
    if (event.button !== 0 || (!slides && !this.zoom)) return;
    this.root.setPointerCapture(event.pointerId);
    let last = event;
    const move = (now) => {
      if (slides) this.slide((100 * (now.clientX - bounds.left)) / bounds.width);
      else this.pan(last.clientX - now.clientX, last.clientY - now.clientY);
      last = now;
    };
    if (slides) move(event);
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("lostpointercapture", () => this.root.removeEventListener("pointermove", move), { once: true });
  }

  pan(across, down) {
    const scale = this.scale();
    this.center = [this.center[0] + across / (scale * this.size[0]), this.center[1] + down / (scale * this.size[1])];
    this.lay();
  }

  step(direction, event) {
    const levels = [0, ...Stage.LEVELS];
    const next = levels[Math.max(0, Math.min(levels.length - 1, levels.indexOf(this.zoom) + direction))];
    this.zoomTo(next, event);
  }

  /* Zoom to a level; what is under the pointer stays there. */
  zoomTo(level, event) {
    const bounds = this.root.getBoundingClientRect();
    const off = event
      ? [event.clientX - bounds.left - bounds.width / 2, event.clientY - bounds.top - bounds.height / 2]
      : [0, 0];
    const place = off.map((pixels, axis) => this.center[axis] + pixels / (this.scale() * this.size[axis]));
    this.zoom = level;
    this.center = place.map((at, axis) => at - off[axis] / (this.scale() * this.size[axis]));
    this.lay();
  }

  /* CSS pixels for a pixel of the picture. */
  scale() {
    const [width, height] = this.size;
    if (this.zoom) return this.zoom / devicePixelRatio;
    return Math.min(this.root.clientWidth / width, this.root.clientHeight / height, Stage.LEVELS.at(-1));
  }

  lay() {
    if (!this.size || !this.root.clientWidth) return;
    const scale = this.scale();
    const room = [this.root.clientWidth, this.root.clientHeight];
    const extent = this.size.map((pixels) => pixels * scale);
    this.center = this.center.map((at, axis) => {
      const half = Math.min(0.5, room[axis] / extent[axis] / 2);
      return Math.max(half, Math.min(1 - half, at));
    });
    const [left, top] = extent.map((pixels, axis) => room[axis] / 2 - this.center[axis] * pixels);
    const images = [this.sides.before.firstChild, this.sides.after.firstChild];
    for (const element of [...images, this.boxes]) {
      Object.assign(element.style, {
        left: `${left}px`, top: `${top}px`, width: `${extent[0]}px`, height: `${extent[1]}px`,
      });
    }
    const slides = this.pair && this.view === "slide" && !this.held;
    const one = this.held ? "before" : this.view;
    this.layers.classList.toggle("difference", this.pair && one === "difference");
    this.layers.classList.toggle("pixels", scale * devicePixelRatio >= 2);
    this.sides.before.hidden = this.pair && one === "after";
    this.sides.after.hidden = !this.pair || one === "before";
    if (!this.pair) this.sides.before.hidden = false;
    this.sides.after.style.clipPath = slides ? `inset(0 0 0 ${this.split}%)` : "none";
    this.sides.before.style.clipPath = slides ? `inset(0 ${100 - this.split}% 0 0)` : "none";
    this.handle.hidden = !slides || !this.empty.hidden;
    this.handle.style.left = `${this.split}%`;
    this.handle.setAttribute("aria-valuenow", Math.round(this.split));
    this.handle.setAttribute("aria-valuetext", `${Math.round(this.split)} % before`);
    this.boxes.classList.toggle("off", !this.showsPlaces);
    const [before, after] = this.root.querySelectorAll(".tag");
    before.hidden = !this.pair || !(slides || one === "before");
    after.hidden = !this.pair || !(slides || one === "after");
    this.onChange();
  }
}

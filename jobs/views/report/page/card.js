"use strict";

/* The card of one picture: the stage, what was found in words, and its files. */
class Card {
  constructor(dialog, pictures) {
    this.dialog = dialog;
    this.pictures = pictures;
    this.stage = new Stage(dialog.querySelector("#stage"));
    this.stage.onChange = () => this.mark();
    this.index = 0;
    const on = (id, action) => dialog.querySelector(id).addEventListener("click", action);
    on("#previous", () => this.go(-1));
    on("#next", () => this.go(1));
    on("#close", () => dialog.close());
    on("#in", () => this.stage.step(1));
    on("#out", () => this.stage.step(-1));
    on("#zoom", () => this.stage.zoomTo(this.stage.zoom ? 0 : 1));
    on("#places", () => this.togglePlaces());
    this.views = [...dialog.querySelectorAll("[data-view]")];
    for (const button of this.views) button.addEventListener("click", () => this.stage.look(button.dataset.view));
    dialog.querySelector(".views").addEventListener("keydown", (event) => this.turnView(event));
    dialog.addEventListener("keydown", (event) => this.press(event));
    dialog.addEventListener("keyup", (event) => {
      if (event.key.toLowerCase() === "b") this.stage.hold(false);
    });
  }

  open(index) {
    if (!this.dialog.open) this.dialog.showModal();
    this.show(index);
    this.dialog.querySelector("h2").focus();
  }

  go(step) {
    const last = this.pictures.chosen.length - 1;
    const index = Math.max(0, Math.min(last, this.index + step));
    if (index !== this.index) this.show(index);
  }

  show(index) {
    this.index = index;
    const row = this.pictures.chosen[index];
    const pair = row.status === "restored";
    const files = { before: this.pictures.files(row, "before"), after: this.pictures.files(row, "after") };
    const both = pair && Boolean(files.before.preview || files.before.whole);
    const boxes = (row.found || []).flatMap((found) => found.boxes || []);
    const first = this.dialog.querySelector("h2");
    first.replaceChildren(Words.name(row.key));
    this.dialog.querySelector("#card-place").textContent = `${Words.number(index + 1)} of ${Words.number(this.pictures.chosen.length)}`;
    this.dialog.querySelector("#previous").disabled = index === 0;
    this.dialog.querySelector("#next").disabled = index === this.pictures.chosen.length - 1;
    this.dialog.querySelector(".views").hidden = !both;
    this.dialog.querySelector("#places").hidden = !boxes.length;
    this.dialog.querySelector("#about").replaceChildren(...this.words(row, files, pair && !both));
    this.stage.show({ size: row.size, pair: both, boxes, ...files });
  }

  words(row, files, lacksBefore) {
    const { element } = Words;
    const found = (row.found || []).map((one) => {
      const term = element("a", "", one.what);
      term.href = `glossary.html#${one.what.replaceAll(" ", "-")}`;
      return element("li", one.action, term, one.words.slice(one.what.length));
    });
    const facts = [
      ["status", element("a", "", row.status)],
      ["size", row.size && `${Words.number(row.size[0])} × ${Words.number(row.size[1])} px`],
      ["change", row.change && `${row.change} of 255, at coarse scale`],
      ["moved", row.moved && `${(100 * row.moved).toPrecision(3)} % of the pixels`],
      ["took", `${row.seconds} s`],
    ];
    facts[0][1].href = `glossary.html#${row.status}`;
    const links = Object.entries({ "before: the source": files.before.file, "after: what is stored": files.after.file })
      .filter(([, file]) => file)
      .map(([name, file]) => {
        const link = element("a", "", name);
        link.href = file;
        return element("li", "", link);
      });
    const code = row.code && element("a", "", row.code);
    if (code) code.href = `glossary.html#${row.code}`;
    return [
      found.length ? element("ul", "found", ...found) : element("p", "", row.code ? "It failed." : "Nothing was found."),
      row.why ? element("p", "why", ...(code ? [code, ": "] : []), row.why) : "",
      lacksBefore ? element("p", "why", `No picture before: ${files.before.why || "its source is in another store, and it has no preview"}.`) : "",
      element("dl", "", ...facts.filter(([, value]) => value).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value)))),
      links.length ? element("ul", "links", ...links) : "",
    ];
  }

  mark() {
    const { stage } = this;
    for (const button of this.views) {
      const chosen = button.dataset.view === stage.view;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    this.dialog.querySelector("#zoom").textContent = stage.zoom ? `${stage.zoom} : 1` : "Fit";
  }

  togglePlaces() {
    this.stage.showsPlaces = !this.stage.showsPlaces;
    this.dialog.querySelector("#places").setAttribute("aria-pressed", this.stage.showsPlaces);
    this.stage.lay();
  }

  turnView(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const now = this.views.findIndex((button) => button.dataset.view === this.stage.view);
    const next = this.views[(now + step + this.views.length) % this.views.length];
    this.stage.look(next.dataset.view);
    next.focus();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => this.go(-1),
      ArrowRight: () => this.go(1),
      k: () => this.go(-1),
      j: () => this.go(1),
      b: () => this.stage.hold(true),
      z: () => this.stage.zoomTo(this.stage.zoom ? 0 : 1),
      "+": () => this.stage.step(1),
      "=": () => this.stage.step(1),
      "-": () => this.stage.step(-1),
      m: () => this.togglePlaces(),
    };
    this.views.forEach((button, number) => {
      actions[number + 1] = () => this.stage.look(button.dataset.view);
    });
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

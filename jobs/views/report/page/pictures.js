"use strict";

/* The pictures of the page: all, in the order of their risk, and those that are chosen, in the order chosen. */
class Pictures {
  constructor(data, onChange) {
    this.data = data;
    this.all = [];
    this.chosen = [];
    this.wanted = { statuses: new Set(), finding: "", folder: "", change: 0, search: "", sort: "risk" };
    this.onChange = onChange;
  }

  /* Take rows of the page's data; each of its files calls this. */
  add(rows) {
    for (const row of rows) {
      row.text = row.key.normalize("NFKC").toLowerCase();
      row.sure = row.found ? Math.min(...row.found.map((found) => found.sure)) : 1;
      this.all.push(row);
    }
    this.choose({}, this.wanted.sort === "risk");
  }

  /* Choose by statuses, finding, folder, change and search, and order by `sort`; what is left out stays.
     Whoever listens is told whether the pictures chosen before are still the first. */
  choose(wanted, appended = false) {
    Object.assign(this.wanted, wanted);
    const { statuses, finding, folder, change, search, sort } = this.wanted;
    const [action, what] = finding.split("/");
    const words = search.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean);
    const inside = folder && `${folder}/`;
    this.chosen = this.all.filter(
      (row) =>
        (!statuses.size || statuses.has(row.status)) &&
        (!finding || (row.found || []).some((found) => found.what === what && found.action === action)) &&
        (!inside || row.key.startsWith(inside)) &&
        (!change || row.change > change) &&
        words.every((word) => row.text.includes(word)),
    );
    const order = Pictures.ORDERS[sort];
    if (order) this.chosen.sort(order);
    this.onChange(appended);
  }

  static ORDERS = {
    change: (a, b) => (b.change || 0) - (a.change || 0),
    sure: (a, b) => a.sure - b.sure,
    seconds: (a, b) => b.seconds - a.seconds,
    key: (a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0),
  };

  /* Addresses of a picture on one side: of the file, of what a browser can show of it, and of its preview. */
  files(row, side) {
    const { data } = this;
    const same = side === "before" && !row.before && row.status !== "restored";
    const own = same ? "after" : side;
    const key = own === "after" ? row.out || row.key : row.key;
    let file = null;
    if (row.status !== "failed" || own === "before") {
      if (own === "after") file = data.after === null ? null : data.after + Words.address(key);
      else if (row.source === "key") file = data.before + Words.address(key);
      else file = row.source || null;
    }
    const shown = data.shown.some((ending) => key.toLowerCase().endsWith(ending));
    return {
      file,
      whole: shown ? file : null,
      preview: row[own] ? `pictures/${row[own]}.webp` : null,
      why: row[`no_${own}`],
    };
  }
}

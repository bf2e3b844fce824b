/* The table of all images and settings: sorted by its headers, filtered, one row chosen. Rows are
   made once, as there may be thousands. */

class ImageTable {
  /* entries: of the data. choose: called with an entry and whether a row of it was used. */
  constructor(entries, choose) {
    this.entries = entries;
    this.choose = choose;
    this.columns = columnsFor(entries);
    // The worst gain or the largest change first.
    const first = this.columns.find(({ id }) => id === "gain" || id === "change");
    this.sorted = first || this.columns[0];
    this.ascending = this.sorted.id !== "change";
    this.chosen = null;
    this.body = byId("images").tBodies[0];
    this.rows = new Map(entries.map((entry) => [entry, this.makeRow(entry)]));
    this.makeHeaders();
    this.makeFilters();
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.choose(this.order[row.sectionRowIndex], true);
    });
    this.arrange();
  }

  makeHeaders() {
    const row = make("tr");
    for (const column of this.columns) {
      const button = make("button", { type: "button", title: column.title }, column.label);
      button.addEventListener("click", () => this.sortBy(column));
      column.header = headerCell(button, column.kind);
      row.append(column.header);
    }
    byId("images").tHead.replaceChildren(row);
  }

  makeFilters() {
    for (const key of ["dataset", "setting"]) {
      byId(`${key}-field`).firstElementChild.textContent = DATA.labels[key];
      const values = unique(this.entries.map((entry) => entry[key])).filter(Boolean);
      byId(`${key}-field`).hidden = values.length < 2;
      fillSelect(byId(`${key}-filter`), [["", "all"], ...values.map((value) => [value, value])]);
      byId(`${key}-filter`).addEventListener("change", () => this.arrange());
    }
    byId("find").addEventListener("input", () => this.arrange());
  }

  sortBy(column) {
    // The other way round at the second click; numbers start with the largest.
    this.ascending = column === this.sorted ? !this.ascending : column.kind === "text";
    this.sorted = column;
    this.arrange();
  }

  /* Sort and filter anew. */
  arrange() {
    const { value } = this.sorted;
    const sign = this.ascending ? 1 : -1;
    const wanted = byId("find").value.trim().toLowerCase();
    const dataset = byId("dataset-filter").value;
    const setting = byId("setting-filter").value;
    this.order = this.entries
      .filter((entry) => !dataset || entry.dataset === dataset)
      .filter((entry) => !setting || entry.setting === setting)
      .filter((entry) => `${entry.name}\n${entry.note}`.toLowerCase().includes(wanted))
      .sort((one, other) => compared(value(one), value(other), sign))
      .sort((one, other) => isWrong(other) - isWrong(one));
    for (const column of this.columns) {
      const direction = this.ascending ? "ascending" : "descending";
      column.header.setAttribute("aria-sort", column === this.sorted ? direction : "none");
    }
    const nothing = make("td", { colSpan: this.columns.length }, "No such image.");
    const rows = this.order.map((entry) => this.rows.get(entry));
    this.body.replaceChildren(...(rows.length ? rows : [make("tr", {}, nothing)]));
    byId("rows").scrollTop = 0;
    this.positionChanged();
  }

  makeRow(entry) {
    const name = [nameOf(entry)];
    if (entry.note) name.push(make("p", { className: "row-note" }, entry.note));
    const header = make("th", { scope: "row", abbr: entry.name }, ...name);
    const cells = this.columns.slice(1).map(({ id, kind, value, digits, signed }) => {
      const cell =
        kind === "text"
          ? make("td", {}, id === "setting" ? settingOf(value(entry)) : value(entry))
          : numberCell(value(entry), digits, signed);
      cell.classList.add(id);
      return cell;
    });
    return make("tr", { className: isWrong(entry) ? "wrong" : "" }, header, ...cells);
  }

  /* Mark the row of an entry and bring it into sight, inside the table's own frame. */
  setChosen(entry) {
    if (this.chosen) this.rows.get(this.chosen).removeAttribute("aria-current");
    this.chosen = entry;
    const row = this.rows.get(entry);
    row.setAttribute("aria-current", "true");
    if (row.isConnected) {
      const frame = byId("rows");
      const highest = row.offsetTop - byId("images").tHead.offsetHeight;
      const lowest = row.offsetTop + row.offsetHeight - frame.clientHeight;
      frame.scrollTop = Math.min(highest, Math.max(lowest, frame.scrollTop));
    }
    this.positionChanged();
  }

  positionChanged() {
    const position = this.order.indexOf(this.chosen);
    const all = this.order.length.toLocaleString("en");
    byId("position").textContent = position < 0 ? `not in the table` : `${position + 1} of ${all}`;
    byId("previous").disabled = this.neighbour(-1) === undefined;
    byId("next").disabled = this.neighbour(1) === undefined;
  }

  /* The entry `step` rows further, undefined beyond the ends. */
  neighbour(step) {
    const position = this.order.indexOf(this.chosen);
    return this.order[position < 0 ? 0 : position + step];
  }
}

/* The columns that these entries have something to say in. */
function columnsFor(entries) {
  const scored = entries.some((entry) => entry.after);
  const changed = entries.some((entry) => entry.change !== null);
  const several = (key) => unique(entries.map((entry) => entry[key])).length > 1;
  const cut = entries.some((entry) => entry.width && (!entry.shown || entry.shown.window));
  const text = (id, label, value, title = "") => ({ id, label, value, title, kind: "text" });
  const number = (id, label, title, value, digits, signed = false) => ({
    ...{ id, label, title, value, digits, signed },
    kind: "number",
  });
  const noted = !scored && entries.some((entry) => entry.note);
  const columns = [text("name", noted ? "Image and note" : "Image", (entry) => entry.name)];
  if (several("dataset")) columns.push(text("dataset", DATA.labels.dataset, (entry) => entry.dataset));
  if (entries.some((entry) => entry.setting)) {
    columns.push(text("setting", DATA.labels.setting, (entry) => entry.setting));
  }
  if (scored) {
    columns.push(
      number("gain", "PSNR\ngain", "dB", (entry) => gain(entry, 0), 2, true),
      number("before", "PSNR\nJPEG", "dB", (entry) => score(entry, "before", 0), 2),
      number("after", "PSNR\nrestored", "dB", (entry) => score(entry, "after", 0), 2),
      number("ssim-gain", "SSIM\ngain", "", (entry) => gain(entry, 1), 3, true),
      number("psnrb-gain", "PSNR-B\ngain", "dB", (entry) => gain(entry, 2), 2, true),
    );
  } else if (changed) {
    const title = `Root mean square of restored − ${DATA.labels.before}, in gray levels`;
    columns.push(number("change", "Change", title, (entry) => toNumber(entry.change), 2));
  }
  if (!scored) {
    const pixels = (entry) => (entry.width * entry.height) / 1e6 || NaN;
    columns.push(number("megapixels", "MP", "Megapixels", pixels, 2));
  }
  if (cut) {
    const title = "What of the picture this file holds";
    columns.push(text("shown", "Shown", shownText, title));
  }
  return columns;
}

/* Nothing to look at: the file or the image failed. Such rows stand first, however sorted. */
function isWrong(entry) {
  return !entry.width && !entry.after;
}

function shownText(entry) {
  if (!entry.shown) return "–";
  return entry.shown.window ? "crop" : "whole";
}

/* A button with the thumbnail and the name. */
function nameOf(entry) {
  const picture = entry.thumbnail
    ? make("img", { alt: "", decoding: "async", src: pieceUrl(entry.thumbnail) })
    : make("span");
  picture.className = "thumbnail";
  const text = make("span", {}, entry.name);
  return make("button", { type: "button", className: "name" }, picture, text);
}

/* Order of two values of a column; what is unknown comes last either way. */
function compared(one, other, sign) {
  if (typeof one === "string") {
    return sign * one.localeCompare(other, "en", { numeric: true });
  }
  const unknown = Number.isNaN(one) - Number.isNaN(other);
  if (unknown || Number.isNaN(one)) return unknown;
  return one === other ? 0 : sign * (one < other ? -1 : 1);
}

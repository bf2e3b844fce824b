"use strict";

/* The table of all images and settings: sorted by its headers, filtered, one row chosen. Rows are
   made a few at a time, as there may be thousands. */

const ROWS_AT_ONCE = 200;

class ImageTable {
  /* entries: of the data. choose: called with an entry and whether a row of it was used. */
  constructor(entries, choose) {
    this.entries = entries;
    this.choose = choose;
    this.columns = columnsFor(entries);
    const scored = this.columns.find((column) => column.id === "gain");
    this.sorted = scored || this.columns.find((column) => column.id === "change");
    this.sorted = this.sorted || this.columns[0];
    this.ascending = Boolean(scored) || this.sorted.kind === "text";
    this.chosen = null;
    this.made = 0;
    this.body = byId("images").tBodies[0];
    this.makeHeaders();
    this.makeFilters();
    byId("more").addEventListener("click", () => this.makeRows(this.made + ROWS_AT_ONCE));
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
      button.append(make("span", { className: "arrow", "aria-hidden": "true" }));
      button.addEventListener("click", () => this.sortBy(column));
      column.header = make("th", { scope: "col", className: column.kind }, button);
      row.append(column.header);
    }
    byId("images").tHead.replaceChildren(row);
  }

  makeFilters() {
    for (const [key, label] of Object.entries(DATA.labels)) {
      byId(`${key}-field`).firstElementChild.textContent = label;
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

  /* Sort and filter anew, and make the first rows. */
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
    this.body.replaceChildren();
    this.made = 0;
    const position = this.order.indexOf(this.chosen);
    this.makeRows(Math.max(ROWS_AT_ONCE, position + 1));
    byId("rows").scrollTop = 0;
    this.positionChanged();
  }

  /* See to it that the first `count` rows are there. */
  makeRows(count) {
    const end = Math.min(count, this.order.length);
    const rows = this.order.slice(this.made, end).map((entry) => this.rowOf(entry));
    this.body.append(...rows);
    this.made = Math.max(this.made, end);
    const left = this.order.length - this.made;
    byId("more").hidden = !left;
    byId("more").textContent = `Show more (${left} left)`;
    if (!this.order.length) {
      const cell = make("td", { colSpan: this.columns.length, className: "text" }, "No such image.");
      this.body.replaceChildren(make("tr", {}, cell));
    }
  }

  rowOf(entry) {
    const row = make("tr", { className: isWrong(entry) ? "wrong" : "" });
    const numbers = this.columns.filter((column) => column.kind === "number");
    // Without figures there is room for the note in their place.
    const spanned = isWrong(entry) && numbers[0].id === "gain";
    for (const column of this.columns) {
      const value = column.value(entry);
      const text = column.kind === "text" ? value : figureText(value, column.digits, column.signed);
      if (column.id === "name") {
        const properties = { scope: "row", abbr: entry.name, className: "text" };
        row.append(make("th", properties, nameOf(entry), ...(spanned ? [] : noteOf(entry))));
      } else if (spanned && column === numbers[0]) {
        row.append(make("td", { colSpan: numbers.length, className: "text" }, ...noteOf(entry)));
      } else if (spanned && column.kind === "number") {
        continue;
      } else if (column.id === "setting") {
        row.append(make("td", { className: "text setting" }, settingOf(value)));
      } else {
        const sign = column.signed && value < 0 ? " negative" : "";
        row.append(make("td", { className: `${column.kind} ${column.id}${sign}` }, text));
      }
    }
    this.mark(row, entry === this.chosen);
    return row;
  }

  mark(row, chosen) {
    if (chosen) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }

  /* Mark the row of an entry and bring it into sight, inside the table's own frame. */
  setChosen(entry) {
    const before = this.body.rows[this.order.indexOf(this.chosen)];
    if (before) this.mark(before, false);
    this.chosen = entry;
    const position = this.order.indexOf(entry);
    this.makeRows(Math.max(this.made, position + 1));
    const row = this.body.rows[position];
    if (row) {
      this.mark(row, true);
      const frame = byId("rows");
      const head = byId("images").tHead.offsetHeight;
      if (row.offsetTop - head < frame.scrollTop) frame.scrollTop = row.offsetTop - head;
      const bottom = row.offsetTop + row.offsetHeight - frame.clientHeight;
      if (bottom > frame.scrollTop) frame.scrollTop = bottom;
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
    if (position < 0) return this.order[0];
    return this.order[position + step];
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
    const title = "Root mean square of restored − JPEG, in gray levels";
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
  const name = make("button", { type: "button", className: "name" });
  if (entry.thumbnail) {
    const piece = byId(`piece-${entry.thumbnail}`);
    const src = `data:${piece.dataset.type};base64,${piece.textContent}`;
    name.append(make("img", { alt: "", loading: "lazy", decoding: "async", src }));
  } else {
    name.append(make("span", { className: "no-thumbnail" }));
  }
  name.append(make("span", {}, entry.name));
  return name;
}

/* The note of an entry that has one, below its name where it is read without scrolling. */
function noteOf(entry) {
  return entry.note ? [make("p", { className: "row-note" }, entry.note)] : [];
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

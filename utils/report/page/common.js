"use strict";

/* What every part of the page uses: the data, elements, and figures as text. The first of the files
   that together are the script.

   All text of the data enters the page as text nodes, never as markup. */

const DATA = JSON.parse(document.getElementById("data").textContent);

const FIGURES = [
  { name: "PSNR", unit: "dB", digits: 2 },
  { name: "SSIM", unit: "", digits: 4 },
  { name: "PSNR-B", unit: "dB", digits: 2 },
];

function byId(id) {
  return document.getElementById(id);
}

/* An HTML element with properties or attributes, and its content. */
function make(tag, properties = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...content);
  return element;
}

/* An SVG element with attributes, and its content. */
function draw(tag, attributes = {}, ...content) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

/* A figure of the data: null stands for unknown, "Infinity" for identical pictures. */
function toNumber(value) {
  return value === null || value === undefined ? NaN : Number(value);
}

/* A figure for people; with `signed` a plus is shown too. */
function figureText(value, digits, signed = false) {
  if (Number.isNaN(value)) return "–";
  const size = Number.isFinite(value) ? Math.abs(value).toFixed(digits) : "∞";
  if (Number(size) === 0) return size;
  if (value < 0) return `−${size}`;
  return signed ? `+${size}` : size;
}

/* Figure number `index` (see FIGURES) of one side of an entry. */
function score(entry, side, index) {
  return entry[side] ? toNumber(entry[side][index]) : NaN;
}

/* How much higher that figure of the restored image is. */
function gain(entry, index) {
  return score(entry, "after", index) - score(entry, "before", index);
}

const EXACT =
  "Images that are reproduced exactly are in no mean of PSNR and PSNR-B; a method that " +
  "reproduces more or fewer of them than the JPEG has no gain here.";

/* The methods of one data set's averages, with figure number `index` of each at a setting, and how
   much higher it is than the JPEG's. own: measured here; else published. */
function methodsOf(rows, own) {
  const rowOf = (method, setting) =>
    rows.find((each) => each.method === method && each.setting === setting);
  const figureOf = (method, setting, index) =>
    toNumber(rowOf(method, setting)?.scores[index]);
  // Means over other images than the JPEG's: exact ones are in none, see EXACT.
  const comparable = (method, setting) =>
    rowOf(method, setting)?.exact === rowOf("JPEG", setting)?.exact;
  return unique(rows.map((row) => row.method)).map((method) => ({
    own,
    jpeg: method === "JPEG",
    settings: rows.filter((row) => row.method === method).map((row) => row.setting),
    name: own ? method : `${method} (published)`,
    score: (setting, index) => figureOf(method, setting, index),
    gain: (setting, index) =>
      method === "JPEG" || !comparable(method, setting)
        ? NaN
        : figureOf(method, setting, index) - figureOf("JPEG", setting, index),
  }));
}

/* The picture that the element of this key holds. */
function pieceUrl(key) {
  const element = byId(`piece-${key}`);
  return `data:${element.dataset.type};base64,${element.textContent}`;
}

function unique(values) {
  return [...new Set(values)];
}

function plural(count, one) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : `${one}s`}`;
}

/* A setting, which never breaks at its hyphen; pointing at it says what it means. */
function settingOf(setting) {
  const title = DATA.explained[setting] || "";
  return make("span", { className: "setting-name", title }, setting);
}

/* Put text into the element of this id, which without any is hidden. */
function fillText(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

/* Fill a <select> with [value, text] pairs. */
function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
}

function tableOf(className, head, rows) {
  return make("table", { className }, make("thead", {}, ...head), make("tbody", {}, ...rows));
}

function headerCell(text, className) {
  return make("th", { scope: "col", className }, text);
}

/* A row of cells after its header, which is text or an element. */
function rowOf(header, cells, className = "") {
  return make("tr", { className }, make("th", { scope: "row" }, header), ...cells);
}

function numberCell(value, digits, signed = false) {
  const className = signed && value < 0 ? "number negative" : "number";
  return make("td", { className }, figureText(value, digits, signed));
}

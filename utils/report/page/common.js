"use strict";

/* What every part of the page uses: the data, elements, and figures as text.

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

function unique(values) {
  return [...new Set(values)];
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/* A setting, which never breaks at its hyphen; pointing at it says what it means. */
function settingOf(setting) {
  const title = DATA.explained[setting] || "";
  return make("span", { className: "setting-name", title }, setting);
}

/* Fill a <select> with [value, text] pairs; hidden with its label where there is no choice. */
function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
}

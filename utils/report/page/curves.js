"use strict";

/* Averages over the JPEG quality factor as an SVG plot: ours and the published ones. */

const MARKERS = ["circle", "square", "triangle", "diamond", "down"];
const NARROW = 560; // below this width there are fewer ticks

/* The quality of settings such as QF10 or QF10_444; NaN for other kinds, such as QF30-50+4+4. */
function qualityOf(setting) {
  const found = /^QF(\d+)(?:_\d+)?$/.exec(setting);
  return found ? Number(found[1]) : NaN;
}

class Curves {
  constructor(summary, published) {
    this.rows = [
      ...summary.map((row) => ({ ...row, ours: true })),
      ...published.map((row) => ({ ...row, ours: false })),
    ].filter((row) => !Number.isNaN(qualityOf(row.setting)));
    this.hidden = new Set();
    const datasets = unique(this.rows.filter((row) => row.ours).map((row) => row.dataset));
    byId("curves").hidden = !datasets.length;
    if (!datasets.length) return;
    byId("curve-dataset-field").hidden = datasets.length < 2;
    fillSelect(byId("curve-dataset"), datasets.map((name) => [name, name]));
    byId("curve-dataset").addEventListener("change", () => this.datasetChanged());
    for (const id of ["curve-figure", "curve-gain"]) {
      byId(id).addEventListener("change", () => this.draw());
    }
    this.datasetChanged();
    new ResizeObserver(() => this.draw()).observe(byId("plot"));
  }

  datasetChanged() {
    const rows = this.rows.filter((row) => row.dataset === byId("curve-dataset").value);
    this.methods = methodsOf(rows);
    // The published JPEG repeats the measured one where both are there; it serves the gains only.
    const measured = this.methods.some((method) => method.ours && method.jpeg);
    this.drawn = this.methods.filter((method) => !(measured && method.jpeg && !method.ours));
    const ticks = this.drawn.map((method) => {
      const box = make("input", { type: "checkbox", checked: !this.hidden.has(method.name) });
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(method.name);
        else this.hidden.add(method.name);
        this.draw();
      });
      const line = draw("line", { x1: 0, x2: 28, y1: 7, y2: 7 });
      const swatch = draw("svg", { width: 28, height: 14, "aria-hidden": "true" }, line);
      swatch.append(markerOf(method, 14, 7));
      swatch.setAttribute("class", method.style);
      method.tick = make("label", { className: "field tick" }, box, swatch, method.name);
      return method.tick;
    });
    byId("legend").replaceChildren(byId("legend").firstElementChild, ...ticks);
    byId("curve-caption").textContent = this.caption();
    this.draw();
  }

  /* What the lines are. */
  caption() {
    const note = DATA.notComparable[byId("curve-dataset").value];
    const parts = ["Averages over the set."];
    if (this.drawn.some((method) => !method.ours)) {
      parts.push("Thick: measured here; dashed: published by others, with the sources below.");
    }
    if (note) parts.push(`${note}.`);
    return parts.join(" ");
  }

  draw() {
    const width = byId("plot").clientWidth;
    if (!width) return;
    const figure = Number(byId("curve-figure").value);
    const asGain = byId("curve-gain").checked;
    for (const method of this.drawn) method.tick.hidden = asGain && method.jpeg;
    const lines = this.drawn
      .filter((method) => !this.hidden.has(method.name))
      .filter((method) => !(asGain && method.jpeg))
      .map((method) => ({ method, points: this.pointsOf(method, figure, asGain) }))
      .filter((line) => line.points.length);
    byId("plot").replaceChildren(plotOf(lines, FIGURES[figure], asGain, width));
  }

  /* [quality, value] pairs; a gain is over the JPEG of the same source, ours or published. */
  pointsOf(method, figure, asGain) {
    const jpeg = this.methods.find((other) => other.jpeg && other.ours === method.ours);
    const reference = jpeg || this.methods.find((other) => other.jpeg);
    const values = new Map();
    for (const row of method.rows) {
      let value = toNumber(row.scores[figure]);
      if (asGain) {
        const base = reference && reference.rows.find((other) => other.setting === row.setting);
        value -= base ? toNumber(base.scores[figure]) : NaN;
      }
      if (Number.isFinite(value)) values.set(qualityOf(row.setting), value);
    }
    return [...values].sort((one, other) => one[0] - other[0]);
  }
}

/* The methods of a data set with their rows, and how each is drawn: ours thick, others dashed. */
function methodsOf(rows) {
  const methods = [];
  let colour = 0;
  for (const row of rows) {
    const twice = !row.ours && rows.some((other) => other.ours && other.method === row.method);
    const name = twice ? `${row.method} (published)` : row.method;
    let method = methods.find((other) => other.name === name);
    if (!method) {
      const jpeg = row.method === "JPEG";
      const own = row.ours ? "ours" : `other series-${colour % 8}`;
      method = {
        ...{ name, jpeg, ours: row.ours, rows: [] },
        style: jpeg ? "curve jpeg" : `curve ${own}`,
        marker: row.ours ? "circle" : MARKERS[colour % MARKERS.length],
      };
      if (!row.ours && !jpeg) colour += 1;
      methods.push(method);
    }
    method.rows.push(row);
  }
  return methods;
}

function markerOf(method, x, y) {
  const size = method.ours ? 4.5 : 3.8;
  const shapes = {
    square: `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    triangle: `M${x} ${y - size * 1.2}l${size * 1.2} ${size * 2.1}h${-size * 2.4}z`,
    down: `M${x} ${y + size * 1.2}l${size * 1.2} ${-size * 2.1}h${-size * 2.4}z`,
    diamond: `M${x} ${y - size * 1.35}l${size * 1.35} ${size * 1.35}l${-size * 1.35} ${size * 1.35}l${-size * 1.35} ${-size * 1.35}z`,
  };
  const attributes = { class: "marker" };
  if (!shapes[method.marker]) return draw("circle", { ...attributes, cx: x, cy: y, r: size });
  return draw("path", { ...attributes, d: shapes[method.marker] });
}

/* About `count` round numbers from below `low` to above `high`. */
function ticksFor(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => span / each <= count);
  const ticks = [];
  for (let i = Math.floor(low / step); i <= Math.ceil(high / step); i++) ticks.push(i * step);
  if (ticks.length < 2) ticks.push(ticks[0] + step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/* The plot: an SVG element of this width for lines {method, points}. */
function plotOf(lines, figure, asGain, width) {
  const height = Math.round(Math.min(440, Math.max(260, width * 0.55)));
  const frame = { left: 58, right: 14, top: 14, bottom: 46 };
  const title = `${figure.name}${asGain ? " gain over the JPEG" : ""}`;
  const axis = figure.unit ? `${title} (${figure.unit})` : title;
  const names = lines.map((line) => line.method.name).join(", ");
  const label = `${axis} over the quality factor: ${names || "nothing chosen"}`;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", label);
  if (!lines.length) {
    const place = { x: width / 2, y: height / 2, "text-anchor": "middle" };
    svg.append(draw("text", place, "No curve is chosen."));
    return svg;
  }

  const xs = unique(lines.flatMap((line) => line.points.map((point) => point[0])));
  const ys = lines.flatMap((line) => line.points.map((point) => point[1]));
  const low = Math.min(...ys, ...(asGain ? [0] : []));
  const { ticks, digits } = ticksFor(low, Math.max(...ys), width < NARROW ? 5 : 7);
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)];
  const margin = (xHigh - xLow) * 0.04 || 5;
  const xScale = (width - frame.left - frame.right) / (xHigh - xLow + 2 * margin);
  const yScale = (height - frame.top - frame.bottom) / (ticks[ticks.length - 1] - ticks[0]);
  const xOf = (x) => frame.left + (x - xLow + margin) * xScale;
  const yOf = (y) => height - frame.bottom - (y - ticks[0]) * yScale;
  const end = width - frame.right;

  for (const tick of ticks) {
    const y = yOf(tick);
    svg.append(draw("line", { class: "grid", x1: frame.left, x2: end, y1: y, y2: y }));
    const text = tick.toFixed(digits).replace("-", "−");
    svg.append(draw("text", { x: frame.left - 8, y: y + 4, "text-anchor": "end" }, text));
  }
  // Qualities that stand too close to the one before keep their mark but lose their number.
  let last = -Infinity;
  for (const x of xs.sort((one, other) => one - other)) {
    const place = xOf(x);
    const bottom = height - frame.bottom;
    svg.append(draw("line", { class: "axis", x1: place, x2: place, y1: bottom, y2: bottom + 5 }));
    if (place - last < 24) continue;
    last = place;
    svg.append(draw("text", { x: place, y: bottom + 19, "text-anchor": "middle" }, String(x)));
  }
  const bottom = height - frame.bottom;
  svg.append(draw("line", { class: "axis", x1: frame.left, x2: end, y1: bottom, y2: bottom }));
  const middle = (frame.left + end) / 2;
  const below = { x: middle, y: height - 8, "text-anchor": "middle", class: "axis-title" };
  svg.append(draw("text", below, "JPEG quality factor"));
  const turned = { transform: `translate(14 ${(frame.top + bottom) / 2}) rotate(-90)` };
  const beside = { ...turned, "text-anchor": "middle", class: "axis-title" };
  svg.append(draw("text", beside, axis));

  // Ours last, so that it lies on top.
  const ordered = [...lines].sort((one, other) => one.method.ours - other.method.ours);
  for (const { method, points } of ordered) {
    const group = draw("g", { class: method.style });
    const places = points.map(([x, y]) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`);
    group.append(draw("polyline", { points: places.join(" ") }));
    for (const [x, y] of points) {
      const marker = markerOf(method, xOf(x), yOf(y));
      const text = `${method.name}, QF ${x}: ${figureText(y, figure.digits)} ${figure.unit}`;
      marker.append(draw("title", {}, text.trim()));
      group.append(marker);
    }
    svg.append(group);
  }
  return svg;
}

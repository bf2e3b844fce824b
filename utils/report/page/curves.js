/* Averages over the JPEG quality factor as an SVG plot: ours and the published ones. */

/* Outlines around 0, from -1 to 1: circle, square, triangle, diamond, triangle upside down. */
const MARKERS = [
  "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
  "M-1-1h2v2h-2z",
  "M0-1.2l1.2 2.1h-2.4z",
  "M0-1.35l1.35 1.35-1.35 1.35-1.35-1.35z",
  "M0 1.2l1.2-2.1h-2.4z",
];

/* The quality of settings such as QF10 or QF10_444; NaN for other kinds, such as QF30-50+4+4. */
function qualityOf(setting) {
  const found = /^QF(\d+)(?:_\d+)?$/.exec(setting);
  return found ? Number(found[1]) : NaN;
}

/* The chroma of such a setting: "4:4:4"; empty for 4:2:0. */
function chromaOf(setting) {
  return [...(setting.split("_")[1] || "")].join(":");
}

class Curves {
  constructor(summary, published) {
    this.summary = summary.filter((row) => !Number.isNaN(qualityOf(row.setting)));
    this.published = published.filter((row) => !Number.isNaN(qualityOf(row.setting)));
    this.hidden = new Set();
    const datasets = unique(this.summary.map((row) => row.dataset));
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
    const here = (row) => row.dataset === byId("curve-dataset").value;
    const [summary, published] = [this.summary.filter(here), this.published.filter(here)];
    this.settings = unique([...summary, ...published].map((row) => row.setting));
    const own = unique(summary.map((row) => chromaOf(row.setting))).flatMap((chroma) =>
      methodsOf(summary.filter((row) => chromaOf(row.setting) === chroma), true).map((method) => ({
        ...method,
        name: `${method.name} ${chroma}`.trimEnd(),
      })),
    );
    // The published JPEG repeats the measured one where both are there.
    const measured = own.some((method) => method.jpeg);
    const others = methodsOf(published, false).filter((method) => !(measured && method.jpeg));
    this.drawn = [...own, ...others];
    own.filter((method) => method.jpeg).forEach((method, i) => {
      method.marker = MARKERS[i % MARKERS.length];
    });
    // The first of ours has a colour of its own.
    const [, ...coloured] = own.filter((method) => !method.jpeg);
    coloured.push(...others.filter((method) => !method.jpeg));
    coloured.forEach((method, i) => {
      method.colour = `var(--series-${i % 8})`;
      method.marker = MARKERS[(i + 1) % MARKERS.length];
    });
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
      drawAs(swatch, method);
      method.tick = make("label", { className: "field tick" }, box, swatch, method.name);
      return method.tick;
    });
    byId("legend").replaceChildren(byId("legend").firstElementChild, ...ticks);
    const note = DATA.notComparable[byId("curve-dataset").value];
    const caption = ["Averages over the set."];
    if (others.length) {
      caption.push("Thick: measured here; dashed: published by others, with the sources below.");
    }
    if (note) caption.push(`${note}.`);
    if (summary.some((row) => row.exact)) caption.push(EXACT);
    byId("curve-caption").textContent = caption.join(" ");
    this.draw();
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

  /* [quality, value] pairs by rising quality; a gain is over the JPEG of the same source. */
  pointsOf(method, figure, asGain) {
    const points = this.settings
      .map((setting) => [qualityOf(setting), method[asGain ? "gain" : "score"](setting, figure)])
      .filter(([, value]) => Number.isFinite(value));
    return [...new Map(points)].sort((one, other) => one[0] - other[0]);
  }
}

/* Give an element the style of a method: ours thick, the JPEG dotted, others dashed. */
function drawAs(element, method) {
  const kind = method.jpeg ? "jpeg" : method.own ? "ours" : "";
  element.setAttribute("class", `curve ${kind}`);
  element.style.setProperty("--colour", method.colour || `var(--${kind})`);
}

function markerOf(method, x, y) {
  const transform = `translate(${x} ${y}) scale(${method.own ? 4.5 : 3.8})`;
  return draw("path", { class: "marker", transform, d: method.marker || MARKERS[0] });
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
  const axis = titleOf({ ...figure, name: title });
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
  const { ticks, digits } = ticksFor(low, Math.max(...ys), 6);
  const [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)];
  const margin = (xHigh - xLow) * 0.04 || 5;
  const xScale = (width - frame.left - frame.right) / (xHigh - xLow + 2 * margin);
  const yScale = (height - frame.top - frame.bottom) / (ticks[ticks.length - 1] - ticks[0]);
  const xOf = (x) => frame.left + (x - xLow + margin) * xScale;
  const yOf = (y) => height - frame.bottom - (y - ticks[0]) * yScale;
  const end = width - frame.right;
  const bottom = height - frame.bottom;

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
    svg.append(draw("line", { class: "axis", x1: place, x2: place, y1: bottom, y2: bottom + 5 }));
    if (place - last < 24) continue;
    last = place;
    svg.append(draw("text", { x: place, y: bottom + 19, "text-anchor": "middle" }, String(x)));
  }
  svg.append(draw("line", { class: "axis", x1: frame.left, x2: end, y1: bottom, y2: bottom }));
  const middle = (frame.left + end) / 2;
  const below = { x: middle, y: height - 8, "text-anchor": "middle" };
  svg.append(draw("text", below, "JPEG quality factor"));
  const transform = `translate(14 ${(frame.top + bottom) / 2}) rotate(-90)`;
  const beside = { transform, "text-anchor": "middle" };
  svg.append(draw("text", beside, axis));

  // Ours last, so that it lies on top.
  const ordered = [...lines].sort((one, other) => one.method.own - other.method.own);
  for (const { method, points } of ordered) {
    const group = draw("g");
    drawAs(group, method);
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

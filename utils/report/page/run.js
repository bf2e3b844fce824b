"use strict";

/* The tables of averages and of how the report was made. */

const FEW_SETTINGS = 4; // so many stand side by side; more go down the table

/* A heading and a table for each data set. */
function averagesTables(summary, published) {
  return unique(summary.map((row) => row.dataset)).flatMap((dataset) => {
    const here = (row) => row.dataset === dataset;
    const measured = summary.filter(here);
    const settings = unique(measured.map((row) => row.setting));
    const few = settings.length <= FEW_SETTINGS;
    const others = published.filter((row) => here(row) && settings.includes(row.setting));
    const own = linesOf(measured, true);
    const lines = [...own, ...linesOf(others, false)];
    const shared = settings.filter((setting) => others.some((row) => row.setting === setting));
    const counts = unique(measured.map((row) => row.images)).sort((one, other) => one - other);
    const images = counts.length > 1 ? `${counts[0]} to ${counts.at(-1)} images` : plural(counts[0], "image");
    const title = make("h3", {}, `${dataset}, ${images}`);
    const tables = few ? [methodsDown(lines, settings)] : [settingsDown(own, settings)];
    if (!few && shared.length) tables.push(methodsDown(lines, shared));
    const note = DATA.notComparable[dataset];
    const notes = note ? [make("p", { className: "sources" }, `${note}.`)] : [];
    return [title, ...tables, ...sourcesOf(others), ...notes];
  });
}

/* A line of figures for each method: its name, its scores and gain at a setting. */
function linesOf(rows, own) {
  return unique(rows.map((row) => row.method)).map((method) => {
    const mine = rows.filter((row) => row.method === method);
    const at = (setting) => mine.find((row) => row.setting === setting);
    const jpegAt = (setting) => rows.find((row) => row.method === "JPEG" && row.setting === setting);
    return {
      ...{ method, own },
      scores: (setting) => (at(setting) ? at(setting).scores : null),
      gain: (setting) => {
        const jpeg = method === "JPEG" ? undefined : jpegAt(setting);
        if (!jpeg || !at(setting)) return NaN;
        return toNumber(at(setting).scores[0]) - toNumber(jpeg.scores[0]);
      },
    };
  });
}

function methodsDown(lines, settings) {
  const body = make("tbody");
  for (const line of lines) {
    const row = make("tr", { className: line.own ? "ours" : "published" });
    const name = line.own ? line.method : `${line.method} (published)`;
    row.append(make("th", { scope: "row", className: "text" }, name));
    for (const setting of settings) row.append(...cellsOf(line, setting));
    body.append(row);
  }
  return make("table", { className: "averages" }, headFor("Method", settings), body);
}

/* A line under the table that says where the published figures are from. */
function sourcesOf(published) {
  const bySource = new Map();
  for (const row of published) {
    const methods = bySource.get(row.source || "no source given") || new Set();
    bySource.set(row.source || "no source given", methods.add(row.method));
  }
  if (!bySource.size) return [];
  const parts = [...bySource].map(([source, methods]) => `${[...methods].join(", ")}: ${source}`);
  const known = unique(published.filter((row) => row.blind === false).map((row) => row.method));
  if (known.length) parts.push(`Not blind, a model for each quality: ${known.join(", ")}`);
  return [make("p", { className: "sources" }, `Published figures. ${parts.join(". ")}.`)];
}

function settingsDown(lines, settings) {
  const body = make("tbody");
  for (const setting of settings) {
    const row = make("tr", {}, make("th", { scope: "row", className: "text" }, settingOf(setting)));
    for (const line of lines) row.append(...cellsOf(line, setting));
    body.append(row);
  }
  const methods = lines.map((line) => line.method);
  return make("table", { className: "averages" }, headFor("Setting", methods), body);
}

/* Two header rows: groups of columns, and the figures in each. */
function headFor(first, groups) {
  const upper = make("tr", {}, make("th", { scope: "col", rowSpan: 2, className: "text" }, first));
  const lower = make("tr");
  for (const group of groups) {
    upper.append(make("th", { scope: "colgroup", colSpan: 4, className: "group" }, group));
    for (const title of [...FIGURES.map((figure) => figure.name), "Gain"]) {
      lower.append(make("th", { scope: "col", className: "number" }, title));
    }
  }
  return make("thead", {}, upper, lower);
}

/* The three figures of a method at a setting, and its PSNR gain over the JPEG beside it. */
function cellsOf(line, setting) {
  const scores = line.scores(setting);
  const cells = FIGURES.map((figure, index) => {
    const digits = Math.min(figure.digits, 3); // as the literature prints them
    return scores ? figureText(toNumber(scores[index]), digits) : "";
  });
  const difference = line.gain(setting);
  cells.push(Number.isNaN(difference) ? "" : figureText(difference, 2, true));
  return cells.map((text, index) =>
    make("td", { className: index ? "number" : "number first" }, text),
  );
}

function titleOf(figure) {
  return figure.unit ? `${figure.name} (${figure.unit})` : figure.name;
}

/* Facts as tables: plain ones first, then one that opens for each mapping. */
function factsTables(facts) {
  const isGroup = ([, value]) => value !== null && typeof value === "object" && !Array.isArray(value);
  const entries = Object.entries(facts);
  const parts = [];
  const plain = entries.filter((entry) => !isGroup(entry));
  if (plain.length) parts.push(factsTable(plain));
  for (const [name, group] of entries.filter(isGroup)) {
    const rows = flattened(group, "");
    if (!rows.length) continue;
    const details = make("details", { open: true }, make("summary", {}, name), factsTable(rows));
    parts.push(details);
  }
  return parts;
}

/* [name, value] pairs of a mapping, those of mappings within it as name.name. */
function flattened(mapping, prefix) {
  return Object.entries(mapping).flatMap(([name, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? flattened(value, `${prefix}${name}.`)
      : [[prefix + name, value]],
  );
}

function factsTable(rows) {
  const body = make("tbody");
  for (const [name, value] of rows) {
    const text = make("code", {}, valueText(value));
    const header = make("th", { scope: "row", className: "text" }, name);
    body.append(make("tr", {}, header, make("td", { className: "text" }, text)));
  }
  return make("table", { className: "facts" }, body);
}

function valueText(value) {
  if (value === null || value === "") return "–";
  if (Array.isArray(value)) {
    const simple = value.every((item) => item === null || typeof item !== "object");
    if (!value.length) return "–";
    return simple ? value.map(String).join(", ") : JSON.stringify(value);
  }
  return String(value);
}

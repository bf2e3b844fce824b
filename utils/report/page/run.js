"use strict";

/* The tables of averages and of how the report was made. */

const FEW_SETTINGS = 4; // so many stand side by side; more go down the table

/* A heading and tables for each data set: methods down, or settings where those are many. */
function averagesTables(summary, published) {
  return unique(summary.map((row) => row.dataset)).flatMap((dataset) => {
    const measured = summary.filter((row) => row.dataset === dataset);
    const settings = unique(measured.map((row) => row.setting));
    const others = published.filter(
      (row) => row.dataset === dataset && settings.includes(row.setting),
    );
    const own = methodsOf(measured, true);
    const counts = unique(measured.map((row) => row.images)).sort((one, other) => one - other);
    const images = counts.length > 1 ? `${counts[0]} to ${counts.at(-1)} images` : plural(counts[0], "image");
    const content = [make("h3", {}, `${dataset}, ${images}`)];
    const methodsDown = (shown) => {
      const rows = [...own, ...methodsOf(others, false)].map((method) => {
        const cells = shown.flatMap((setting) => cellsOf(method, setting));
        return rowOf(method.name, cells, method.own ? "ours" : "published");
      });
      content.push(tableOf("averages", headFor("Method", shown), rows));
    };
    if (settings.length <= FEW_SETTINGS) {
      methodsDown(settings);
    } else {
      const rows = settings.map((setting) =>
        rowOf(settingOf(setting), own.flatMap((method) => cellsOf(method, setting))),
      );
      const names = own.map((method) => method.name);
      content.push(tableOf("averages", headFor("Setting", names), rows));
      const shared = settings.filter((each) => others.some((row) => row.setting === each));
      if (shared.length) methodsDown(shared);
    }
    if (others.length) content.push(sources(sourcesOf(others)));
    const note = DATA.notComparable[dataset];
    if (note) content.push(sources(`${note}.`));
    return content;
  });
}

function sources(text) {
  return make("p", { className: "sources" }, text);
}

/* Where published figures are from. */
function sourcesOf(published) {
  const named = (rows) => unique(rows.map((row) => row.method)).join(", ");
  const sourceOf = (row) => row.source || "no source given";
  const parts = unique(published.map(sourceOf)).map(
    (source) => `${named(published.filter((row) => sourceOf(row) === source))}: ${source}`,
  );
  const known = named(published.filter((row) => row.blind === false));
  if (known) parts.push(`Not blind, a model for each quality: ${known}`);
  return `Published figures. ${parts.join(". ")}.`;
}

/* Two header rows: groups of columns, and the figures in each. */
function headFor(first, groups) {
  const upper = make("tr", {}, make("th", { scope: "col", rowSpan: 2 }, first));
  const lower = make("tr");
  for (const group of groups) {
    upper.append(make("th", { scope: "colgroup", colSpan: 4, className: "group" }, group));
    for (const title of [...FIGURES.map((figure) => figure.name), "Gain"]) {
      lower.append(headerCell(title, "number"));
    }
  }
  return [upper, lower];
}

/* The three figures of a method at a setting, and its PSNR gain over the JPEG beside it. */
function cellsOf(method, setting) {
  const cells = FIGURES.map(({ digits }, index) =>
    numberCell(method.score(setting, index), Math.min(digits, 3)), // as the literature prints them
  );
  return [...cells, numberCell(method.gain(setting, 0), 2, true)];
}

function titleOf(figure) {
  return figure.unit ? `${figure.name} (${figure.unit})` : figure.name;
}

function isMapping(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/* Facts as tables: plain ones first, then one that opens for each mapping. */
function factsTables(facts) {
  const entries = Object.entries(facts);
  const plain = entries.filter(([, value]) => !isMapping(value));
  const parts = plain.length ? [factsTable(plain)] : [];
  for (const [name, group] of entries.filter(([, value]) => isMapping(value))) {
    const rows = flattened(group, "");
    const content = [make("summary", {}, name), factsTable(rows)];
    if (rows.length) parts.push(make("details", { open: true }, ...content));
  }
  return parts;
}

/* [name, value] pairs of a mapping, those of mappings within it as name.name. */
function flattened(mapping, prefix) {
  return Object.entries(mapping).flatMap(([name, value]) =>
    isMapping(value) ? flattened(value, `${prefix}${name}.`) : [[prefix + name, value]],
  );
}

function factsTable(pairs) {
  const rows = pairs.map(([name, value]) =>
    rowOf(name, [make("td", {}, make("code", {}, valueText(value)))]),
  );
  return tableOf("facts", [], rows);
}

function valueText(value) {
  if (value === null || value === "" || value.length === 0) return "–";
  if (Array.isArray(value)) {
    return value.some((item) => item !== null && typeof item === "object")
      ? JSON.stringify(value)
      : value.join(", ");
  }
  return String(value);
}

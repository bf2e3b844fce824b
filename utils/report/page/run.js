/* The tables of averages and of how the report was made. */

/* A heading and a table for each data set: the methods at each setting. */
function averagesTables(summary, published) {
  return unique(summary.map((row) => row.dataset)).flatMap((dataset) => {
    const measured = summary.filter((row) => row.dataset === dataset);
    const settings = unique(measured.map((row) => row.setting));
    const others = published.filter(
      (row) => row.dataset === dataset && settings.includes(row.setting),
    );
    const methods = [...methodsOf(measured, true), ...methodsOf(others, false)];
    const counts = unique(measured.map((row) => row.images)).sort((one, other) => one - other);
    const images = counts.length > 1 ? `${counts[0]} to ${counts.at(-1)} images` : plural(counts[0], "image");
    const titles = [...FIGURES.map(titleOf), "PSNR gain"].map((text) => headerCell(text, "number"));
    const head = make("tr", {}, headerCell("Setting", ""), headerCell("Method", ""), ...titles);
    const rows = settings.flatMap((setting) => rowsAt(setting, methods));
    const content = [make("h3", {}, `${dataset}, ${images}`), tableOf("averages", [head], rows)];
    if (others.length) content.push(sources(sourcesOf(others)));
    const note = DATA.notComparable[dataset];
    if (note) content.push(sources(`${note}.`));
    if (measured.some((row) => row.exact)) content.push(sources(EXACT));
    return content;
  });
}

/* The figures of the methods at a setting, and the PSNR gain over the JPEG beside them. */
function rowsAt(setting, methods) {
  const rows = methods
    .filter((method) => method.settings.includes(setting))
    .map((method) => {
      const cells = FIGURES.map(({ digits }, index) =>
        numberCell(method.score(setting, index), Math.min(digits, 3)), // as the literature has them
      );
      cells.push(numberCell(method.gain(setting, 0), 2, true));
      return rowOf(method.name, cells, method.own ? "ours" : "published");
    });
  rows[0].prepend(make("th", { scope: "rowgroup", rowSpan: rows.length }, settingOf(setting)));
  return rows;
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

/* The page: its parts put together. */

const viewer = new Viewer();
const table = new ImageTable(DATA.entries, (entry, fromRow) => choose(entry, fromRow));

/* Show an entry everywhere. fromRow: its row was used, which may be far from the viewer. */
function choose(entry, fromRow = false) {
  if (!entry) return;
  table.setChosen(entry);
  const title = [entry.name, entry.setting].filter(Boolean).join(", ");
  const setting = entry.setting ? [", ", settingOf(entry.setting)] : [];
  byId("image-name").replaceChildren(entry.name, ...setting);
  const parts = [title, byId("position").textContent];
  if (entry.before && entry.after) parts.push(`gain ${figureText(gain(entry, 0), 2, true)} dB`);
  byId("announcement").textContent = parts.join(", ");
  byId("figures").replaceChildren(...figuresOf(entry));
  fillText("note", entry.note);
  fillText("crop-notice", cropNotice(entry));
  viewer.show(entry);
  if (fromRow && byId("viewer").getBoundingClientRect().top < -40) {
    byId("viewer").scrollIntoView({ block: "start" });
  }
}

/* Before, after and gain; nothing where nothing was measured. */
function figuresOf(entry) {
  if (!entry.before && !entry.after) return [];
  const titles = FIGURES.map((figure) => headerCell(titleOf(figure), "number"));
  const rowFor = (name, value, signed) =>
    rowOf(name, FIGURES.map(({ digits }, index) => numberCell(value(index), digits, signed)));
  const rows = [
    rowFor("JPEG", (index) => score(entry, "before", index)),
    rowFor("Restored", (index) => score(entry, "after", index)),
    rowFor("Gain", (index) => gain(entry, index), true),
  ];
  return [tableOf("figures", [make("tr", {}, make("td"), ...titles)], rows)];
}

function cropNotice(entry) {
  if (!entry.shown || !entry.shown.window) return "";
  const [top, left, height, width] = entry.shown.window;
  return (
    `Crop of ${width}×${height} pixels at column ${left}, row ${top} of ${entry.width}×` +
    `${entry.height}. The figures are those of the whole image.`
  );
}

/* Some names, or how many of what; `show` makes content of a name. */
function listed(names, label, show) {
  if (names.length > 4) return [plural(names.length, label.toLowerCase())];
  return names.flatMap((name, i) => (i ? [", ", show(name)] : [show(name)]));
}

/* What the page holds, and what was left out and why. */
function describeContents() {
  const { entries } = DATA;
  const images = unique(entries.map((entry) => `${entry.dataset}\n${entry.name}`)).length;
  const settings = unique(entries.map((entry) => entry.setting)).filter(Boolean);
  const sets = unique(entries.map((entry) => entry.dataset)).filter(Boolean);
  const parts = [[plural(images, "image")]];
  if (sets.length) parts.push(listed(sets, DATA.labels.dataset, String));
  if (settings.length) parts.push(listed(settings, DATA.labels.setting, settingOf));
  const line = parts.flatMap((part, i) => (i ? [" · ", ...part] : part));
  byId("overview").replaceChildren(...(entries.length ? line : ["No image was added."]));
  fillText("example", DATA.example);

  const pictured = entries.filter((entry) => entry.width);
  const crops = pictured.filter((entry) => entry.shown && entry.shown.window).length;
  const without = pictured.filter((entry) => !entry.shown).length;
  const sentences = [];
  if (crops || without) {
    const limit = `${Number((DATA.limit / 1e6).toPrecision(3))} MB`;
    const whole = pictured.length - crops - without;
    sentences.push(
      `To keep this file at about ${limit}, ${whole} of ${plural(pictured.length, "row")} have ` +
        `whole pictures: the worst, the best, and some between.`,
    );
    if (crops) sentences.push(`${crops} have crops, where the JPEG and the restored image differ most.`);
    if (without) sentences.push(`${without} have no picture.`);
  }
  if (DATA.problem) sentences.push(DATA.problem);
  fillText("left-out", sentences.join(" "));
}

/* Previous and next by the arrow keys, unless they mean something where the focus is. */
function keyPressed(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const modified = event.shiftKey || event.ctrlKey || event.altKey || event.metaKey;
  const own = event.target.closest("input, select, textarea");
  if (!step || modified || own || event.target.classList.contains("scroll")) return;
  event.preventDefault();
  choose(table.neighbour(step));
}

describeContents();
new Curves(DATA.summary, DATA.published);
byId("summary").hidden = !DATA.summary.length;
if (DATA.summary.length) {
  byId("averages").append(...averagesTables(DATA.summary, DATA.published));
  if (DATA.facts.protocol) byId("averages").append(sources(DATA.facts.protocol));
}
byId("run").hidden = !Object.keys(DATA.facts).length;
byId("facts").append(...factsTables(DATA.facts));
// Sections without content are hidden; so are the links to them.
for (const link of byId("sections").children) link.hidden = byId(link.hash.slice(1)).hidden;
byId("previous").addEventListener("click", () => choose(table.neighbour(-1)));
byId("next").addEventListener("click", () => choose(table.neighbour(1)));
document.addEventListener("keydown", keyPressed);
// What failed stands at the top of the table, but there is nothing to look at.
choose(table.order.find((entry) => entry.shown) || table.order[0]);
byId("rows").scrollTop = 0;

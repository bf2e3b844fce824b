/* The picture viewer: two pictures of one image on a canvas, left and right of a divider, under one
   zoom and one position. Differences are computed here, of the decoded samples. */

const SOURCES = {
  jpeg: { label: DATA.labels.before },
  restored: { label: "Restored" },
  original: { label: "Original" },
  change: { label: `|Restored − ${DATA.labels.before}|`, of: ["restored", "jpeg"] },
  jpegError: { label: `|${DATA.labels.before} − Original|`, of: ["jpeg", "original"] },
  restoredError: { label: "|Restored − Original|", of: ["restored", "original"] },
};

const PRESETS = {
  compare: ["jpeg", "restored"],
  difference: ["change", "change"],
  errors: ["jpegError", "restoredError"],
};

const MAX_SCALE = 64;
const SMOOTH_BELOW = 2; // device pixels per sample; from here on samples are shown as squares
const NARROWEST = 40; // CSS pixels of a picture's shorter side
const KEY_STEP = 60; // CSS pixels by which a key moves the picture
const NEAR_DIVIDER = { mouse: 14, pen: 14, touch: 32 };

async function decodedPiece(key) {
  const image = new Image();
  image.src = pieceUrl(key);
  await image.decode();
  return image;
}

/* |one - other| of each sample times `factor`, a power of two, as a canvas. */
function difference(one, other, factor) {
  const canvas = make("canvas", { width: one.naturalWidth, height: one.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(one, 0, 0);
  context.globalCompositeOperation = "difference";
  context.drawImage(other, 0, 0);
  context.globalCompositeOperation = "lighter"; // a sum, which ends at white
  for (let reached = 1; reached < factor; reached *= 2) context.drawImage(canvas, 0, 0);
  return canvas;
}

class Viewer {
  constructor() {
    this.canvas = byId("canvas");
    this.context = this.canvas.getContext("2d");
    this.entry = null;
    this.pictures = {}; // side -> image element, of the entry that is shown
    this.differences = new Map(); // "source factor" -> canvas, likewise
    this.wanted = { left: "jpeg", right: "restored" };
    this.shown = { left: null, right: null }; // sources, as far as the entry has them
    this.size = null; // of the pictures, in samples
    this.scale = 1; // CSS pixels per sample
    this.centre = { x: 0, y: 0 }; // sample in the middle of the frame
    this.fitted = true;
    this.turn = 0;
    this.pointers = new Map(); // those pressed: id -> place
    this.gesture = null;
    this.listen();
  }

  listen() {
    const canvas = this.canvas;
    new ResizeObserver(() => this.resized()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.pressed(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.released(event));
    }
    canvas.addEventListener("dblclick", (event) => this.doubleClicked(event));
    canvas.addEventListener("keydown", (event) => this.keyPressed(event));
    byId("split").addEventListener("input", () => this.draw());
    byId("zoom-in").addEventListener("click", () => this.zoomMiddle(2));
    byId("zoom-out").addEventListener("click", () => this.zoomMiddle(0.5));
    byId("zoom-fit").addEventListener("click", () => this.fit());
    byId("zoom-one").addEventListener("click", () => this.zoomMiddle(1 / this.scale));
    byId("amplify").addEventListener("change", () => this.draw());
    for (const side of ["left", "right"]) {
      byId(side).addEventListener("change", (event) => {
        this.wanted[side] = event.target.value;
        this.sourcesChanged();
      });
    }
    for (const button of byId("presets").children) {
      button.addEventListener("click", () => {
        [this.wanted.left, this.wanted.right] = PRESETS[button.value];
        this.sourcesChanged();
      });
    }
  }

  /* Show the pictures of an entry of the data, or say why there are none. */
  async show(entry) {
    const turn = ++this.turn;
    const pieces = Object.entries(entry.shown ? entry.shown.pieces : {});
    let message = "";
    if (!pieces.length) {
      message = entry.width
        ? "No picture of this image is in this file; see the notice below the table."
        : "There is no picture of this image.";
    }
    let decoded = [];
    try {
      decoded = await Promise.all(pieces.map(([, key]) => decodedPiece(key)));
    } catch (error) {
      message = `This browser cannot decode the pictures (${error.message}).`;
    }
    if (turn !== this.turn) return; // another image was chosen meanwhile
    this.pictures = Object.fromEntries(decoded.map((picture, i) => [pieces[i][0], picture]));
    this.differences.clear();
    this.entry = entry;
    fillText("stage-message", message);
    // The position is kept between pictures of one size, so that a detail can be followed.
    const before = this.size || {};
    const { naturalWidth: width, naturalHeight: height } = decoded[0] || {};
    this.size = decoded.length ? { width, height } : null;
    if (this.fitted || width !== before.width || height !== before.height) this.fit();
    this.sourcesChanged();
  }

  /* Whether the pictures that a source is made of are there. */
  has(source) {
    return (SOURCES[source].of || [source]).every((side) => this.pictures[side]);
  }

  sourcesChanged() {
    const possible = Object.keys(SOURCES).filter((source) => this.has(source));
    for (const side of ["left", "right"]) {
      const select = byId(side);
      const spare = (side === "right" && possible[1]) || possible[0] || null;
      this.shown[side] = possible.includes(this.wanted[side]) ? this.wanted[side] : spare;
      fillSelect(select, possible.map((source) => [source, SOURCES[source].label]));
      select.disabled = possible.length < 2;
      if (this.shown[side]) select.value = this.shown[side];
    }
    for (const button of byId("presets").children) {
      const [left, right] = PRESETS[button.value];
      button.disabled = !(this.has(left) && this.has(right));
      button.ariaPressed = this.shown.left === left && this.shown.right === right;
    }
    const sides = Object.values(this.shown);
    byId("amplify-field").hidden = !sides.some((source) => source && SOURCES[source].of);
    byId("split").disabled = !this.compares();
    this.labelSides();
    this.draw();
  }

  /* Whether there are two different pictures to compare. */
  compares() {
    return this.shown.left !== this.shown.right;
  }

  labelSides() {
    const titles = { left: "", right: "" };
    for (const side of this.compares() ? ["left", "right"] : ["left"]) {
      const source = this.shown[side];
      if (!source) continue;
      const scored = { jpeg: "before", restored: "after" }[source];
      const psnr = scored ? score(this.entry, scored, 0) : NaN;
      const figure = Number.isNaN(psnr) ? "" : ` ${figureText(psnr, 2)} dB`;
      titles[side] = SOURCES[source].label + figure;
    }
    fillText("left-label", titles.left);
    fillText("right-label", titles.right);
    const both = Object.values(titles).filter(Boolean).join(", right of the divider: ");
    const name = `${this.entry.name} ${this.entry.setting}`.trim();
    this.canvas.setAttribute("aria-label", `${name}: ${both || "no picture"}`);
  }

  /* What is drawn for a source: a picture, or a difference computed when first needed. */
  layer(source) {
    const sides = SOURCES[source].of;
    if (!sides) return this.pictures[source];
    const factor = Number(byId("amplify").value);
    const key = `${source} ${factor}`;
    if (!this.differences.has(key)) {
      const [one, other] = sides.map((side) => this.pictures[side]);
      this.differences.set(key, difference(one, other, factor));
    }
    return this.differences.get(key);
  }

  frame() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  fitScale() {
    const { width, height } = this.frame();
    const whole = Math.min(width / this.size.width, height / this.size.height);
    // Of a very narrow picture a part is shown, wide enough to be seen.
    const seen = NARROWEST / Math.min(this.size.width, this.size.height);
    return Math.min(Math.max(whole, seen), MAX_SCALE);
  }

  fit() {
    this.fitted = true;
    if (this.size && this.frame().width) {
      this.scale = this.fitScale();
      this.centre = { x: this.size.width / 2, y: this.size.height / 2 };
    }
    this.draw();
  }

  resized() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.frame();
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.fitted) this.fit();
    else this.moveTo(this.centre.x, this.centre.y);
  }

  /* Zoom by a factor; the sample at this place of the frame stays where it is. */
  zoomAt(place, factor) {
    if (!this.size) return;
    const fitting = this.fitScale();
    const scale = Math.min(MAX_SCALE, Math.max(Math.min(fitting, 1), this.scale * factor));
    const { width, height } = this.frame();
    const dx = place.x - width / 2;
    const dy = place.y - height / 2;
    const x = this.centre.x + dx / this.scale - dx / scale;
    const y = this.centre.y + dy / this.scale - dy / scale;
    this.fitted = Math.abs(scale / fitting - 1) < 1e-6;
    this.scale = scale;
    this.moveTo(x, y);
  }

  zoomMiddle(factor) {
    const { width, height } = this.frame();
    this.zoomAt({ x: width / 2, y: height / 2 }, factor);
  }

  /* Bring a sample to the middle, as far as the picture still fills the frame. */
  moveTo(x, y) {
    if (this.size) {
      const { width, height } = this.frame();
      this.centre = {
        x: within(x, width / 2 / this.scale, this.size.width),
        y: within(y, height / 2 / this.scale, this.size.height),
      };
    }
    this.draw();
  }

  /* The divider's place in the frame, from 0 to 1. */
  get split() {
    return byId("split").valueAsNumber / 100;
  }

  setSplit(split) {
    byId("split").value = split * 100;
    this.draw();
  }

  /* How much of the frame each picture has. */
  splitText() {
    if (!this.compares()) return "nothing to compare";
    const percent = Math.round(this.split * 100);
    const [left, right] = [this.shown.left, this.shown.right].map((each) => SOURCES[each].label);
    return `${percent} % ${left}, ${100 - percent} % ${right}`;
  }

  draw() {
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    byId("zoom-value").textContent = `${Math.round(this.scale * 100)} %`;
    byId("stage").classList.toggle("zoomed", !this.fitted);
    const compares = this.compares();
    byId("divider").hidden = !compares;
    byId("divider").style.left = `${this.split * 100}%`;
    byId("left-label").style.visibility = compares && this.split < 0.08 ? "hidden" : "";
    byId("right-label").style.visibility = this.split > 0.92 ? "hidden" : "";
    byId("split").setAttribute("aria-valuetext", this.splitText());
    if (!this.size) return;

    const ratio = canvas.width / Math.max(1, this.frame().width);
    const scale = this.scale * ratio;
    const left = Math.round(canvas.width / 2 - this.centre.x * scale);
    const top = Math.round(canvas.height / 2 - this.centre.y * scale);
    const edge = compares ? Math.round(canvas.width * this.split) : canvas.width;
    context.imageSmoothingEnabled = scale < SMOOTH_BELOW;
    context.imageSmoothingQuality = "high";
    const parts = [
      [this.shown.left, 0, edge],
      [this.shown.right, edge, canvas.width],
    ];
    for (const [source, from, to] of parts) {
      if (!source || to <= from) continue;
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, canvas.height);
      context.clip();
      const { width, height } = this.size;
      context.drawImage(this.layer(source), left, top, width * scale, height * scale);
      context.restore();
    }
  }

  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  }

  wheeled(event) {
    if (!this.size) return;
    const fitting = this.fitScale();
    // Out of a picture that fits already: let the page scroll.
    if (event.deltaY > 0 && this.scale < fitting * 1.001 && !event.ctrlKey) return;
    event.preventDefault();
    const speed = event.ctrlKey ? 0.01 : 0.002; // two fingers on a touch pad come as Ctrl + wheel
    const factor = Math.exp(-event.deltaY * speed);
    this.zoomAt(this.place(event), factor < 1 ? Math.max(factor, fitting / this.scale) : factor);
  }

  pressed(event) {
    if (event.button !== 0 || !this.size) return;
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size > 1) {
      this.gesture = "pinch";
      return;
    }
    const touch = event.pointerType === "touch";
    const distance = Math.abs(place.x - this.split * this.frame().width);
    const near = distance < NEAR_DIVIDER[event.pointerType];
    this.gesture = this.compares() && (near || this.fitted) ? "split" : "pan";
    // A finger may be about to scroll the page.
    if (this.gesture === "split" && !touch) this.setSplit(place.x / this.frame().width);
  }

  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const place = this.place(event);
    if (this.gesture === "split") {
      this.setSplit(place.x / this.frame().width);
    } else if (this.gesture === "pan") {
      this.pan(place.x - before.x, place.y - before.y);
    } else {
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
      this.pinch(others[0][1], before, place);
    }
    this.pointers.set(event.pointerId, place);
  }

  /* Move the picture with the pointer, by CSS pixels. */
  pan(dx, dy) {
    if (!this.size || this.fitted) return;
    this.moveTo(this.centre.x - dx / this.scale, this.centre.y - dy / this.scale);
  }

  /* One of two fingers has moved, the other rests. */
  pinch(resting, before, after) {
    const spread = (place) => Math.max(10, Math.hypot(place.x - resting.x, place.y - resting.y));
    const middle = { x: (after.x + resting.x) / 2, y: (after.y + resting.y) / 2 };
    this.zoomAt(middle, spread(after) / spread(before));
    this.pan((after.x - before.x) / 2, (after.y - before.y) / 2);
  }

  released(event) {
    this.pointers.delete(event.pointerId);
    // The finger that is left after a pinch moves the picture, never the divider.
    this.gesture = this.pointers.size === 1 ? "pan" : null;
  }

  doubleClicked(event) {
    if (this.fitted) this.zoomAt(this.place(event), 4);
    else this.fit();
  }

  keyPressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const steps = {
      ArrowLeft: [KEY_STEP, 0],
      ArrowRight: [-KEY_STEP, 0],
      ArrowUp: [0, KEY_STEP],
      ArrowDown: [0, -KEY_STEP],
    };
    const keys = {
      "+": () => this.zoomMiddle(1.5),
      "=": () => this.zoomMiddle(1.5),
      "-": () => this.zoomMiddle(1 / 1.5),
      0: () => this.fit(),
      1: () => this.zoomMiddle(1 / this.scale),
    };
    if (event.shiftKey && steps[event.key]) this.pan(...steps[event.key]);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  }
}

/* The middle of a frame that shows `half` to either side and should stay inside 0 .. size. */
function within(value, half, size) {
  return size <= 2 * half ? size / 2 : Math.min(size - half, Math.max(half, value));
}

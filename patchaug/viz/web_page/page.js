"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("view");
const pen = canvas.getContext("2d");
const at = (id) => document.getElementById(id);
const [slideWidth, slideHeight] = data.size;           // level-0 pixels, as all lengths below
const side = data.window.map((n) => n * data.downsample);
const shown = { mask: data.mask !== null, maskOpacity: 0.55, density: false, densityOpacity: 0.6, epochs: data.epochs.map((_, k) => k === 0),
  layers: data.layers.map(() => ({ on: false, opacity: 0.6 })) };
const view = { x: slideWidth / 2, y: slideHeight / 2, scale: 1 };   // centre, and screen pixels per level-0 pixel
let under = null, asked = false, mark = null;          // mark: the place that the address names

// Images are decoded on first use, and drawn as soon as they are ready.
const pictures = new Map();
function picture(url) {
  let image = pictures.get(url);
  if (!image) {
    image = new Image();
    image.onload = ask;
    image.src = url;
    pictures.set(url, image);
  }
  return image.complete && image.naturalWidth ? image : null;
}

function ask() {
  if (!asked) { asked = true; requestAnimationFrame(draw); }
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  ask();
}

function room() {                                      // the part of the canvas beside the panel
  const panel = at("panel").getBoundingClientRect();
  const narrow = panel.left < 40;
  return { width: narrow ? canvas.clientWidth : panel.left, height: narrow ? panel.top : canvas.clientHeight };
}

function whole() {
  const free = room();
  view.scale = 0.94 * Math.min(free.width / slideWidth, (free.height - 40) / slideHeight);
  view.x = slideWidth / 2 + (canvas.clientWidth - free.width) / 2 / view.scale;
  view.y = slideHeight / 2 + (canvas.clientHeight - free.height) / 2 / view.scale;
  ask();
}

function goTo() {                                      // the place of an address such as page.html#x=0&y=0&width=9&height=9
  const said = new URLSearchParams(location.hash.slice(1));
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(said.get(name) ?? NaN));
  if (!(width > 0 && height > 0 && Number.isFinite(x) && Number.isFinite(y))) return;
  const free = room();
  mark = { x, y, width, height };
  view.scale = 0.6 * Math.min(free.width / width, free.height / height);
  view.x = x + width / 2 + (canvas.clientWidth - free.width) / 2 / view.scale;
  view.y = y + height / 2 + (canvas.clientHeight - free.height) / 2 / view.scale;
  ask();
}

function save() {                                      // shown windows, as annotations that QuPath opens
  const features = [];
  data.epochs.forEach((epoch, k) => {
    if (!shown.epochs[k]) return;
    epoch.windows.forEach(([wx, wy, probability], draw) => {
      const x = wx * data.downsample, y = wy * data.downsample, right = x + side[0], bottom = y + side[1];
      features.push({ type: "Feature",
        geometry: { type: "Polygon", coordinates: [[[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]] },
        properties: { objectType: "annotation", name: `epoch ${k + 1}, draw ${draw}`, epoch: k + 1, draw, probability } });
    });
  });
  const text = JSON.stringify({ type: "FeatureCollection", features });
  const link = element(document.body, "a", { href: URL.createObjectURL(new Blob([text], { type: "application/geo+json" })),
    download: "windows.geojson" });
  link.click();
  URL.revokeObjectURL(link.href);
  link.remove();
}

function toSlide(x, y) {
  return [view.x + (x - canvas.clientWidth / 2) / view.scale, view.y + (y - canvas.clientHeight / 2) / view.scale];
}

function zoom(factor, x = room().width / 2, y = room().height / 2) {
  const [px, py] = toSlide(x, y);
  const least = 0.2 * Math.min(canvas.clientWidth / slideWidth, canvas.clientHeight / slideHeight);
  view.scale = Math.min(Math.max(view.scale * factor, least), 32);
  view.x = px - (x - canvas.clientWidth / 2) / view.scale;
  view.y = py - (y - canvas.clientHeight / 2) / view.scale;
  ask();
}

function inView(x, y, width, height) {
  const [left, top] = toSlide(0, 0), [right, bottom] = toSlide(canvas.clientWidth, canvas.clientHeight);
  return x < right && y < bottom && x + width > left && y + height > top;
}

function drawLevel(level) {
  const perPixel = data.l0_per_pixel * level.factor, step = data.tile * perPixel;
  level.tiles.forEach((url, k) => {
    const x = (k % level.columns) * step, y = Math.floor(k / level.columns) * step;
    if (!inView(x, y, step, step)) return;
    const image = picture(url);
    if (image) pen.drawImage(image, x, y, image.naturalWidth * perPixel, image.naturalHeight * perPixel);
  });
}

function drawOver(url, opacity) {
  const image = picture(url);
  if (!image) return;
  pen.globalAlpha = opacity;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, slideWidth, slideHeight);
  pen.imageSmoothingEnabled = true;
  pen.globalAlpha = 1;
}

function draw() {
  asked = false;
  const ratio = window.devicePixelRatio || 1, scale = view.scale * ratio;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(scale, 0, 0, scale, canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, slideWidth, slideHeight);             // cut squares at the edges reach beyond it
  pen.fillStyle = "#fff";
  pen.fill();
  pen.clip();
  const fine = data.levels.findIndex((one) => data.l0_per_pixel * one.factor * 2 * scale > 1);
  const wanted = fine < 0 ? data.levels.length - 1 : fine;
  if (wanted < data.levels.length - 1) drawLevel(data.levels[data.levels.length - 1]);   // until the finer tiles are decoded
  drawLevel(data.levels[wanted]);
  if (data.mask && shown.mask) drawOver(data.mask, shown.maskOpacity);
  data.layers.forEach((one, k) => { if (shown.layers[k].on) drawOver(one.image, shown.layers[k].opacity); });
  if (shown.density) drawOver(data.density.image, shown.densityOpacity);
  pen.restore();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  data.epochs.forEach((epoch, k) => { if (shown.epochs[k]) drawWindows(epoch); });
  if (under) box(under.x, under.y, "#000000", 3);
  if (mark) frame(mark.x, mark.y, mark.width, mark.height, "#000000", 3);
  scaleBar();
  document.body.dataset.scale = view.scale;            // read by the tests
}

function light(colour) {
  const [red, green, blue] = colour.match(/\w\w/g).map((two) => parseInt(two, 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue > 110;
}

function box(x, y, colour, width) {
  frame(x * data.downsample, y * data.downsample, side[0], side[1], colour, width);
}

function frame(x, y, across, down, colour, width) {
  const left = (x - view.x) * view.scale + canvas.clientWidth / 2;
  const top = (y - view.y) * view.scale + canvas.clientHeight / 2;
  pen.lineWidth = width + 2;                           // a casing makes lines stand out on tissue of any colour
  pen.strokeStyle = light(colour) ? "rgba(0, 0, 0, .7)" : "rgba(255, 255, 255, .75)";
  pen.strokeRect(left, top, across * view.scale, down * view.scale);
  pen.lineWidth = width;
  pen.strokeStyle = colour;
  pen.strokeRect(left, top, across * view.scale, down * view.scale);
}

function drawWindows(epoch) {
  for (const [x, y] of epoch.windows)
    if (inView(x * data.downsample, y * data.downsample, side[0], side[1])) box(x, y, epoch.colour, 1.6);
}

function scaleBar() {
  if (!data.mpp) return;
  const perPixel = data.mpp[0] / view.scale, wanted = perPixel * 160, power = 10 ** Math.floor(Math.log10(wanted));
  const length = Math.max(...[1, 2, 5].map((n) => n * power).filter((n) => n <= wanted));
  const width = length / perPixel, y = room().height - 18;
  pen.fillStyle = "rgba(255, 255, 255, .9)";
  pen.fillRect(12, y - 24, width + 16, 34);
  pen.fillStyle = "#1b1f24";
  pen.fillRect(20, y, width, 4);
  pen.font = "13px system-ui, 'DejaVu Sans', sans-serif";
  pen.fillText(length >= 1000 ? `${+(length / 1000).toPrecision(3)} mm` : `${+length.toPrecision(3)} µm`, 20, y - 6);
}

function look(x, y) {
  const [px, py] = toSlide(x, y), found = [];
  if (px < 0 || py < 0 || px >= slideWidth || py >= slideHeight) { under = null; showText(""); return; }
  data.epochs.forEach((epoch, k) => {
    if (!shown.epochs[k]) return;
    epoch.windows.forEach(([wx, wy, probability], number) => {
      const left = wx * data.downsample, top = wy * data.downsample;
      if (px >= left && py >= top && px < left + side[0] && py < top + side[1])
        found.push({ x: wx, y: wy, probability, epoch: k, draw: number });
    });
  });
  under = found[found.length - 1] || null;
  const place = `x=${Math.floor(px)} y=${Math.floor(py)} at level 0`;
  const details = under ? `epoch ${under.epoch + 1}, draw ${under.draw}: x=${under.x} y=${under.y} at level ${data.level}
    probability ${under.probability.toPrecision(3)}${found.length > 1 ? `, one of ${found.length} here` : ""}` : "";
  showText(`${place}\n${details.replace(/\n\s+/g, "\n")}`);
}

function showText(text) { at("under").textContent = text; ask(); }

function element(parent, kind, properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  parent.append(made);
  return made;
}

function tick(parent, text, on, change, colour, note) {
  const label = element(parent, "label");
  const input = element(label, "input", { type: "checkbox", checked: on, onchange: () => { change(input.checked); under = null; ask(); } });
  if (colour) element(label, "span", { className: "swatch" }).style.background = colour;
  element(label, "span", { textContent: text });
  if (note) element(label, "span", { className: "note", textContent: note });
}

function slider(parent, name, value, change) {
  const input = element(parent, "input", { type: "range", min: 0, max: 100, value: value * 100,
    oninput: () => { change(input.value / 100); ask(); } });
  input.setAttribute("aria-label", `${name}: opacity, percent`);
}

function panel() {
  at("name").textContent = data.name;
  const size = `${slideWidth} x ${slideHeight} px`;
  at("facts").textContent = data.mpp ? `${size}, ${+data.mpp[0].toPrecision(4)} µm/px` : size;
  at("plan").textContent = data.plan;
  if (data.mask) {
    tick(at("mask"), "show", true, (on) => { shown.mask = on; });
    data.classes.forEach((one) => {
      const entry = element(at("mask"), "div", { className: "entry" });
      element(entry, "span", { className: "swatch" }).style.background = one.colour;
      element(entry, "span", { textContent: one.name });
    });
    slider(at("mask"), "mask", shown.maskOpacity, (opacity) => { shown.maskOpacity = opacity; });
  } else at("mask").hidden = true;
  data.layers.forEach((layer, k) => {
    const state = shown.layers[k];
    tick(at("layers"), layer.name, state.on, (on) => { state.on = on; });
    layer.classes.forEach((one) => {
      const entry = element(at("layers"), "div", { className: "entry" });
      element(entry, "span", { className: "swatch" }).style.background = one.colour;
      element(entry, "span", { textContent: one.name });
    });
    if (layer.ramp) {
      element(at("layers"), "div", { className: "ramp" }).style.background = `linear-gradient(90deg, ${layer.ramp.join(",")})`;
      const ends = element(at("layers"), "div", { className: "ends" });
      element(ends, "span", { textContent: "0" });
      element(ends, "span", { textContent: "1" });
    }
    slider(at("layers"), layer.name, state.opacity, (opacity) => { state.opacity = opacity; });
  });
  at("layers").hidden = !data.layers.length;
  const epochs = data.epochs.length;
  tick(at("density"), epochs > 1 ? `in epochs 1 to ${epochs}` : "in epoch 1", false, (on) => { shown.density = on; });
  element(at("density"), "div", { className: "ramp" }).style.background = `linear-gradient(90deg, ${data.scale.join(",")})`;
  // Unit of the colours: windows that cover a point.
  const ends = element(at("density"), "div", { className: "ends" });
  element(ends, "span", { textContent: "0" });
  element(ends, "span", { textContent: `${data.density.most} windows` });
  slider(at("density"), "density", shown.densityOpacity, (opacity) => { shown.densityOpacity = opacity; });
  data.epochs.forEach((epoch, k) => tick(at("epochs"), `epoch ${k + 1}`, shown.epochs[k], (on) => { shown.epochs[k] = on; },
    epoch.colour, `${epoch.windows.length}`));
}

const held = new Map();                                // pressed pointers: one drags, two pinch
let pressed = [0, 0];
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  held.set(event.pointerId, event);
  pressed = [event.clientX, event.clientY];
});
canvas.addEventListener("pointermove", (event) => {
  const before = held.get(event.pointerId);
  if (!before) return look(event.clientX, event.clientY);
  const other = [...held.values()].find((one) => one.pointerId !== event.pointerId);
  if (other) {
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(apart(event) / Math.max(apart(before), 1), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
  } else {
    view.x -= (event.clientX - before.clientX) / view.scale;
    view.y -= (event.clientY - before.clientY) / view.scale;
    ask();
  }
  held.set(event.pointerId, event);
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => held.delete(event.pointerId));
canvas.addEventListener("pointerup", (event) => {      // touch screens: tap instead of hover
  if (Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 6) look(event.clientX, event.clientY);
});
canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") { under = null; showText(""); } });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 500), event.clientX, event.clientY);
}, { passive: false });
const keys = {
  "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: whole,
  ArrowLeft: () => { view.x -= 80 / view.scale; }, ArrowRight: () => { view.x += 80 / view.scale; },
  ArrowUp: () => { view.y -= 80 / view.scale; }, ArrowDown: () => { view.y += 80 / view.scale; },
};
canvas.addEventListener("keydown", (event) => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
  ask();
});
at("in").onclick = () => zoom(1.5);
at("out").onclick = () => zoom(1 / 1.5);
at("whole").onclick = () => { mark = null; whole(); };
at("save").onclick = save;
window.addEventListener("hashchange", goTo);
window.addEventListener("resize", resize);
panel();
resize();
whole();
goTo();

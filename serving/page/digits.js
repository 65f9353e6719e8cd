// The drawing: a digit is drawn or an image is given, and the probabilities are shown.

import { $, ask, fill, known, models, offered, say, sentence } from "./server.js";
import { answer } from "./bars.js";

const details = () => known.get($("digits-model").value)?.details ?? {};
/** Whether the model is one of digits, which are drawn; others are shown an image. */
const draws = () => (details().preprocessing ?? "mnist-digit").endsWith("-digit");

/** Fits the part to the model that is chosen: its title, its help, its labels. */
function classes() {
  const digits = draws();
  $("digits-title").textContent = digits ? "Draw a digit" : "Classify an image";
  $("pad-draws").hidden = !digits;
  $("pad-takes").hidden = digits;
  $("undo").hidden = !digits;
  const { net, parameter_size: size } = details();
  $("digits-about").textContent = [net, size && `${size} parameters`].filter(Boolean).join(", ");
  pad.classList.toggle("shown", !digits);
  if (!digits && drawing.strokes.length) clear();
  if (empty()) show(null);
}

// MNIST's strokes are two to three of the twenty pixels that a digit is high.
const BRUSH = 0.085;
const SENT = 224; // side in pixels of the picture that is sent
const LARGEST = 1024; // a photograph's longer side, once here
const pad = $("pad");
const drawing = { strokes: [], pen: null, image: null, file: null, cursor: null, down: false };

const empty = () => !drawing.strokes.length && !drawing.image && !drawing.file;

/** Draws the strokes, whose points are in [0, 1], as smooth lines with round ends. */
function strokes(context, side, ink) {
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = BRUSH * side;
  context.lineCap = context.lineJoin = "round";
  for (const points of drawing.strokes) {
    const at = points.map(([x, y]) => [x * side, y * side]);
    context.beginPath();
    context.moveTo(...at[0]);
    for (let i = 1; i < at.length - 1; i++) {
      const middle = [(at[i][0] + at[i + 1][0]) / 2, (at[i][1] + at[i + 1][1]) / 2];
      context.quadraticCurveTo(...at[i], ...middle);
    }
    context.lineTo(...at.at(-1));
    context.stroke();
  }
}

function paint() {
  const side = Math.round(pad.clientWidth * devicePixelRatio);
  if (pad.width !== side) pad.width = pad.height = side;
  const context = pad.getContext("2d");
  const ink = getComputedStyle(pad).color;
  context.clearRect(0, 0, side, side);
  if (drawing.image) {
    const scale = side / Math.max(drawing.image.width, drawing.image.height);
    const [width, height] = [drawing.image.width * scale, drawing.image.height * scale];
    context.drawImage(drawing.image, (side - width) / 2, (side - height) / 2, width, height);
  }
  strokes(context, side, ink);
  if (drawing.cursor && document.activeElement === pad) {
    const [x, y] = drawing.cursor;
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = ink;
    context.beginPath();
    context.arc(x * side, y * side, (BRUSH * side) / 2 + 2 * devicePixelRatio, 0, 7);
    context.stroke();
  }
}

/** The picture as base64: white ink on black, as MNIST's, or the file that was given. */
function encoded() {
  if (drawing.file) return drawing.file;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (drawing.image) {
    const { width, height } = drawing.image;
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    context.drawImage(drawing.image, 0, 0, canvas.width, canvas.height);
  } else {
    canvas.width = canvas.height = SENT;
    context.fillRect(0, 0, SENT, SENT);
    strokes(context, SENT, "white");
  }
  return canvas.toDataURL("image/png").split(",")[1];
}

// While ink flows a request goes out every `gap` milliseconds; the newest one wins. Where answers
// take longer than that, the gap grows, or none would ever be in time.
const reading = { timer: 0, gap: 50, now: null };

function changed() {
  paint();
  reading.timer ||= setTimeout(read, reading.gap);
}

async function read() {
  reading.timer = 0;
  reading.now?.abort();
  reading.now = null;
  const model = $("digits-model").value;
  if (empty() || !model) {
    say("digits-error");
    show(null);
    return;
  }
  const mine = (reading.now = new AbortController());
  const began = performance.now();
  try {
    const body = { model, images: [encoded()], seen: true };
    const told = await (await ask("api/classify", body, mine.signal)).json();
    if (reading.now !== mine) return;
    reading.gap = Math.min(Math.max(1.5 * (performance.now() - began), 50), 1000);
    const [result] = told.results;
    show(result.error ? null : result);
    say("digits-error", result.error);
  } catch (error) {
    if (error.name === "AbortError") {
      reading.gap = Math.min(2 * reading.gap, 1000);
      return;
    }
    if (reading.now !== mine) return;
    show(null);
    say("digits-error", sentence(error, model));
    if (error.status === 404) models();
  }
}

function show(result) {
  answer(result, details().labels, draws());
}

function clear() {
  Object.assign(drawing, { strokes: [], pen: null, image: null, file: null, down: false });
  reading.gap = 50;
  clearTimeout(reading.timer);
  paint();
  read();
}

function undo() {
  if (drawing.image || drawing.file) return clear();
  drawing.strokes.pop();
  drawing.down = false;
  changed();
}

function point(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button || drawing.pen !== null || !draws()) return;
  if (drawing.image || drawing.file) clear();
  drawing.pen = event.pointerId;
  drawing.cursor = null;
  pad.setPointerCapture(event.pointerId);
  drawing.strokes.push([point(event)]);
  changed();
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== drawing.pen) return;
  const events = event.getCoalescedEvents?.() ?? [];
  drawing.strokes.at(-1).push(...(events.length ? events : [event]).map(point));
  changed();
});
for (const kind of ["pointerup", "pointercancel"]) {
  pad.addEventListener(kind, (event) => {
    if (event.pointerId === drawing.pen) drawing.pen = null;
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
pad.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.key === "Delete" || event.key === "Backspace") clear();
  else if (!draws()) return;
  else if (event.key === " ") {
    if (drawing.image || drawing.file) clear();
    drawing.cursor ??= [0.5, 0.5];
    drawing.down = !drawing.down;
    if (drawing.down) drawing.strokes.push([[...drawing.cursor]]);
    changed();
  } else if (arrow) {
    const inside = (value) => Math.min(Math.max(value, 0.05), 0.95);
    const [x, y] = drawing.cursor ?? [0.5, 0.5];
    drawing.cursor = [inside(x + 0.03 * arrow[0]), inside(y + 0.03 * arrow[1])];
    if (drawing.down) drawing.strokes.at(-1).push([...drawing.cursor]);
    if (drawing.down) changed();
    else paint();
  } else return;
  event.preventDefault();
});
for (const kind of ["focus", "blur"]) pad.addEventListener(kind, paint);

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** Shows a picture file and asks for it; what the browser cannot show is sent as it is. */
async function take(file) {
  if (!file || $("digits-use").hidden) return;
  clear();
  try {
    drawing.image = await createImageBitmap(file);
  } catch {
    drawing.file = await base64(file);
  }
  paint();
  read();
}

$("clear").addEventListener("click", clear);
$("undo").addEventListener("click", undo);
$("digits-model").addEventListener("change", () => {
  classes();
  read();
  load();
});
/** Loads the model, so that the first stroke does not wait for it; errors are told at that. */
function load() {
  const model = $("digits-model").value;
  if (model && offered("digits")) ask(`readyz/${encodeURIComponent(model)}`).catch(() => {});
}

document.addEventListener("models", ({ detail: back }) => {
  fill("digits", "vision-classification");
  classes();
  if (back) read();
});
document.addEventListener("failed", ({ detail: text }) => say("digits-error", text));
$("file").addEventListener("change", async (event) => {
  await take(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((f) => f.type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  take(file);
});
// A file that misses the drawing area shall not replace the page.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault());
}
document.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
document.addEventListener("dragover", () => pad.classList.add("over"));
for (const kind of ["dragleave", "drop", "dragend"]) {
  document.addEventListener(kind, () => pad.classList.remove("over"));
}
new ResizeObserver(paint).observe(pad);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

show(null);

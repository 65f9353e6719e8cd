// The page at /ui. One file and no build step: what is served is what is written here.
// Addresses are relative to this file, so that it works behind a path prefix and on the pages of the
// course, which are a folder deeper. What a model writes is put in as text, never as HTML.

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- the server

const KEY = "gpu-learning-key";
const TEXT = "completion";
const IMAGES = "vision-classification";

class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}
class Gone extends Error {}

/** One request; what is refused throws Refused, a server that does not answer throws Gone. */
async function ask(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const how = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(new URL(`../${path}`, import.meta.url), { ...how, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new Gone("The server does not answer.");
  }
  if (response.ok) return response;
  const text = await response.text();
  let reason = text;
  try {
    const answer = JSON.parse(text);
    reason = answer.error?.message ?? answer.error ?? text;
  } catch {
    // Not JSON: a proxy's page, or plain text.
  }
  if (response.status === 401) wantKey(Boolean(key));
  throw new Refused(response.status, String(reason).trim().slice(0, 500));
}

/** What went wrong, and what to do about it. */
function sentence(error, model) {
  if (error instanceof Gone) return "The server does not answer; start it again.";
  if (!(error instanceof Refused)) return `The page met an error: ${error.message}`;
  if (error.status === 401) return "The server wants an API key; give it at the top of the page.";
  if (error.status === 404) return `The server has no model ${model} any more; pick another.`;
  if (error.status === 413) return `That is too large: ${error.message}`;
  if (error.status === 503) return `The server is busy (${error.message}). Try again in a moment.`;
  return error.message || `The server answered ${error.status}.`;
}

function say(id, text) {
  $(id).textContent = text ?? "";
  $(id).hidden = !text;
}

let retry = 0;

function lost() {
  state("down", "No answer");
  $("gone").hidden = false;
  retry ||= setTimeout(() => {
    retry = 0;
    models();
  }, 1500);
}

function state(kind, text) {
  $("state").className = kind;
  $("state").textContent = text;
}

function wantKey(hadOne) {
  state("down", "Locked");
  if ($("key-form").hidden) {
    $("key-form").hidden = false;
    $("key").focus();
  }
  $("key-error").textContent = hadOne ? "The server refused that key." : "";
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  models();
});

// ---------------------------------------------------------------- the models

let known = new Map();

/** Asks what there is and fills both lists; a choice that still exists is kept. */
async function models() {
  let found;
  try {
    found = (await (await ask("api/tags")).json()).models;
  } catch (error) {
    if (!(error instanceof Gone || error.status === 401)) {
      state("down", "Error");
      say("digits-error", sentence(error));
      say("text-error", sentence(error));
    }
    return;
  }
  state("up", location.host);
  const back = !$("gone").hidden || !$("key-form").hidden;
  $("gone").hidden = $("key-form").hidden = true;
  known = new Map(found.map((model) => [model.name, model]));
  fill("digits", IMAGES);
  classes();
  fill("text", TEXT);
  context();
  if (!back) return;
  say("text-error");
  read();
}

function fill(part, capability) {
  const names = [...known.values()]
    .filter((model) => model.capabilities?.includes(capability))
    .map((model) => model.name);
  const list = $(`${part}-model`);
  const before = list.value;
  list.replaceChildren(...names.map((name) => new Option(name.replace(/:latest$/, ""), name)));
  if (names.includes(before)) list.value = before;
  list.parentElement.hidden = $(`${part}-use`).hidden = !names.length;
  $(`${part}-none`).hidden = names.length > 0;
  if (list.value !== before) list.dispatchEvent(new Event("change"));
}

window.addEventListener("focus", () => models());

// ---------------------------------------------------------------- the drawing

const details = () => known.get($("digits-model").value)?.details ?? {};
/** Whether the model is one of digits, which are drawn; others are shown an image. */
const draws = () => (details().preprocessing ?? "mnist-digit") === "mnist-digit";

/** Fits the part to the model that is chosen: its title, its help, its labels. */
function classes() {
  const digits = draws();
  $("digits-title").textContent = digits ? "Draw a digit" : "Classify an image";
  $("pad-draws").hidden = !digits;
  $("pad-takes").hidden = digits;
  $("undo").hidden = !digits;
  const { family, parameter_size: size } = details();
  $("digits-about").textContent = size ? `Model: ${family}, ${size} parameters.` : "";
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
    const answer = await (await ask("api/classify", body, mine.signal)).json();
    if (reading.now !== mine) return;
    reading.gap = Math.min(Math.max(1.5 * (performance.now() - began), 50), 1000);
    const [result] = answer.results;
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

const MOST_BARS = 10;
const TEN = Array.from({ length: 10 }, (_, digit) => String(digit));
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Sets the bars and the large label; null empties them. Of many classes the likely ones show. */
function show(result) {
  const labels = details().labels ?? TEN;
  let shares = labels.map((label) => [label, result?.probabilities[label] ?? 0]);
  if (result && labels.length > MOST_BARS) shares.sort((a, b) => b[1] - a[1]);
  shares = shares.slice(0, MOST_BARS);
  const bars = $("bars");
  const named = labels.some((label) => label.length > 1);
  bars.parentElement.classList.toggle("named", named);
  if (bars.children.length !== shares.length) bars.replaceChildren(...shares.map(newBar));
  shares.forEach(([label, share], i) => {
    const [name, track, number] = bars.children[i].children;
    name.textContent = name.title = label;
    track.firstChild.style.transform = `scaleX(${share})`;
    number.textContent = result ? percent(share) : "";
    bars.children[i].classList.toggle("best", label === result?.label);
  });
  const seen = $("seen");
  seen.hidden = !result?.seen;
  if (result?.seen) seen.src = result.seen;
  else $("seen-size").textContent = "";
  $("best-label").textContent = result?.label ?? "";
  $("best-share").textContent = result ? percent(result.confidence) : "";
  const area = draws() ? "Drawing area" : "Image area";
  const what = draws() ? `a ${result?.label}` : result?.label;
  pad.setAttribute("aria-label", result ? `${area}, it shows ${what}` : `${area}, empty`);
}

$("seen").addEventListener("load", () => {
  const { naturalWidth: width, naturalHeight: height } = $("seen");
  $("seen").alt = $("seen-size").textContent = `What the net sees: ${width} x ${height} pixels.`;
});

function newBar() {
  const row = document.createElement("li");
  const [name, track, number] = ["span", "div", "span"].map((tag) => document.createElement(tag));
  track.className = "track";
  track.append(Object.assign(document.createElement("div"), { className: "fill" }));
  number.className = "share";
  row.append(name, track, number);
  return row;
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
});
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

// ---------------------------------------------------------------- the conversation

const talk = { messages: [], now: null };
const log = $("log");

function context() {
  const tokens = known.get($("text-model").value)?.details?.context_length;
  $("context").textContent = tokens
    ? `This model sees the last ${tokens.toLocaleString("en")} tokens.`
    : "";
}

function options() {
  const names = ["temperature", "top_k", "num_predict", "seed"];
  // An empty field is the server's default; 0 is a value.
  const given = names.filter((name) => $(name).value !== "");
  return Object.fromEntries(given.map((name) => [name, Number($(name).value)]));
}

/** The objects of a stream that has one to a line. */
async function* parts(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      lost();
      throw new Gone("The answer broke off.");
    }
    if (piece.done) return;
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

function turn(kind, text) {
  const block = document.createElement("div");
  block.className = `turn ${kind}`;
  block.append(document.createTextNode(text));
  $("empty").hidden = true;
  log.append(block);
  log.scrollTop = log.scrollHeight;
  return block;
}

/** Writes what comes into `block` once a frame, however fast it comes; gives add and flush. */
function writer(block) {
  let waiting = "";
  let frame = 0;
  const flush = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    block.firstChild.appendData(waiting);
    waiting = "";
    if (below) log.scrollTop = log.scrollHeight;
  };
  const add = (text) => {
    waiting += text;
    frame ||= requestAnimationFrame(flush);
  };
  return { add, flush };
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  log.setAttribute("aria-busy", String(is));
}

async function send() {
  const text = $("message").value;
  const model = $("text-model").value;
  if (!text.trim() || !model || talk.now) return;
  const mine = (talk.now = new AbortController());
  const question = { role: "user", content: text };
  const system = $("system").value;
  const messages = [
    ...(system.trim() ? [{ role: "system", content: system }] : []),
    ...talk.messages,
    question,
  ];
  say("text-error");
  $("message").value = "";
  busy(true);
  const asked = turn("user", text);
  const answer = turn("model busy", "");
  const written = writer(answer);
  let last;
  try {
    const body = { model, messages, stream: true, options: options() };
    const response = await ask("api/chat", body, mine.signal);
    for await (const part of parts(response)) {
      if (part.error) throw new Refused(200, `The answer broke off: ${part.error}`);
      written.add(part.message?.content ?? "");
      if (part.done) last = part;
    }
    if (!last) throw new Refused(200, "The answer broke off; the server may have been stopped.");
  } catch (error) {
    if (talk.now !== mine) return; // a new chat has begun
    if (error.name !== "AbortError") say("text-error", sentence(error, model));
    if (error.status === 404) models();
  } finally {
    written.flush();
    answer.classList.remove("busy");
    if (talk.now === mine) ended(question, asked, answer, last);
  }
}

/** Keeps what was said, stopped or not; a question that got nothing goes back to be sent again. */
function ended(question, asked, answer, last) {
  talk.now = null;
  busy(false);
  const text = answer.textContent;
  if (!text && !last) {
    asked.remove();
    answer.remove();
    $("empty").hidden = log.querySelector(".turn") !== null;
    if (!$("message").value) $("message").value = question.content;
  } else {
    talk.messages.push(question, { role: "assistant", content: text });
    figures(last);
  }
  if (document.activeElement === document.body) $("message").focus();
}

function figures(last) {
  const line = document.createElement("p");
  line.className = "figures";
  if (!last) line.textContent = "stopped";
  else {
    const rate = Math.round(last.eval_count / (last.eval_duration / 1e9));
    const speed = Number.isFinite(rate) ? `, ${rate.toLocaleString("en")} tokens/s` : "";
    const why = { length: ", ended by the limit" }[last.done_reason] ?? "";
    line.textContent = `${last.eval_count ?? 0} tokens${speed}${why}`;
  }
  log.append(line);
  log.scrollTop = log.scrollHeight;
}

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("message").addEventListener("keydown", (event) => {
  // While an input method composes a character, Enter is its key.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
$("stop").addEventListener("click", () => talk.now?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") talk.now?.abort();
});
$("again").addEventListener("click", () => {
  talk.now?.abort();
  talk.now = null;
  talk.messages = [];
  busy(false);
  for (const block of log.querySelectorAll(".turn, .figures")) block.remove();
  $("empty").hidden = false;
  say("text-error");
  $("message").focus();
});
$("text-model").addEventListener("change", context);

show(null);
models();

// The conversation with a language model.

import { $, Refused, ask, fill, known, models, offered, parts, sentence } from "./server.js";
import { characters, describe, suggest } from "./prompts.js";

const talk = { messages: [], now: null };
const log = $("log");
const chosen = () => $("text-model").value;

// ---------------------------------------------------------------- the model

const SLOW = 500; // ms after which one is told what is waited for
/** What is known of the chosen model; see describe. */
let model = { name: "", digest: "", examples: [] };

/** Says what the chosen model is, loads it, and offers prompts that suit it. */
async function meet() {
  const name = chosen();
  const digest = known.get(name)?.digest;
  if (!name || !offered("text") || (model.name === name && model.digest === digest)) return;
  model.stop?.abort();
  const stop = new AbortController();
  const mine = (model = { name, digest, examples: [], loaded: false, stop });
  $("context").textContent = "";
  offer();
  // While an answer is waited for, that is told by waiting.
  const slow = setTimeout(() => talk.now || note(`Loading ${short(name)} …`), SLOW);
  try {
    Object.assign(mine, await describe(known.get(name), stop.signal));
    $("context").textContent = mine.about;
    // Without a template a system message would be glued to the text that is continued.
    $("system").closest("label").hidden = !mine.answers;
    offer();
    // An empty prompt loads a model, as Ollama has it.
    await ask("api/generate", { model: name }, stop.signal);
    mine.loaded = true;
    clearTimeout(slow);
    if (!talk.now) note("");
    await suggest(mine, stop.signal, offer);
  } catch (error) {
    if (error.name === "AbortError" || model !== mine) return;
    model = { name: "", digest: "", examples: [] }; // coming back to the page tries again
    note("");
    if (error instanceof Refused && error.status !== 401) failed(sentence(error, short(name)));
  } finally {
    clearTimeout(slow);
  }
}

const short = (name) => name.replace(/:latest$/, "");

/** Shows the model's prompts where prompts belong, as buttons; what stands in the field stays there. */
function offer() {
  const { examples } = model;
  $("message").placeholder = examples[0] ?? "";
  for (const place of log.querySelectorAll(".prompts")) {
    place.replaceChildren(examples.length ? "Try: " : "", ...examples.map(sender));
  }
}

function sender(prompt) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = prompt;
  button.addEventListener("click", () => send(prompt));
  return button;
}

// ---------------------------------------------------------------- what is shown

function note(text, hint = "") {
  $("note").textContent = [text, hint].filter(Boolean).join(" ");
}

function show(block) {
  log.append(block);
  tidy();
  log.scrollTop = log.scrollHeight;
}

function tidy() {
  $("empty").hidden = log.querySelector(".turn, .error") !== null;
}

function forget(kinds) {
  for (const block of log.querySelectorAll(kinds)) block.remove();
  tidy();
}

/** Tells an error, below what was said before it. */
function failed(text, prompts = false) {
  forget(".error");
  const block = document.createElement("p");
  block.className = "error";
  block.setAttribute("role", "alert");
  block.append(text);
  if (prompts) {
    block.append(" ", Object.assign(document.createElement("span"), { className: "prompts" }));
  }
  show(block);
  offer();
}

/** What went wrong; characters that the model lacks are named, with prompts that have none. */
function refused(error, messages) {
  const { alphabet, name } = model;
  const texts = messages.map((message) => message.content);
  const unknown = alphabet && [...new Set(texts.join(""))].filter((c) => !alphabet.includes(c));
  if (error.status !== 400 || !unknown?.length) return failed(sentence(error, short(name)));
  const asked = [...texts.at(-1)].some((c) => unknown.includes(c));
  const where = asked ? "" : " (in the system message or an earlier turn)";
  const lacks = `${short(name)} cannot read ${characters(unknown)}${where}.`;
  const knows = `It knows ${alphabet.length} characters: ${characters(alphabet)}.`;
  failed(`${lacks} ${knows}`, asked);
}

function turn(kind, text) {
  const block = document.createElement("div");
  block.className = `turn ${kind}`;
  block.append(document.createTextNode(text));
  show(block);
  return block;
}

/** Writes what comes into `block` once a frame, however fast it comes; returns add and flush. */
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
  if (!is) note("");
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
  show(line);
}

// ---------------------------------------------------------------- one answer

const SETTINGS = ["temperature", "top_k", "num_predict", "seed"];

/** The first setting that is no number or out of its range, in a sentence; nothing if all fit. */
function unfit() {
  const wrong = ({ badInput, rangeUnderflow, rangeOverflow }) =>
    badInput || rangeUnderflow || rangeOverflow;
  const field = SETTINGS.map($).find(({ validity }) => wrong(validity));
  return field && `${field.labels[0].textContent.trim()}: ${field.validationMessage}`;
}

function options() {
  // An empty field is the server's default; 0 is a value.
  const given = SETTINGS.filter((name) => $(name).value !== "");
  return Object.fromEntries(given.map((name) => [name, Number($(name).value)]));
}

/** Says what is waited for, as the server tells it, until `signal` says that it came. */
async function waiting(name, signal) {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await pause(SLOW);
  let loaded = model.name === name && model.loaded;
  while (!signal.aborted) {
    note(loaded ? "Waiting for the first token …" : `Loading ${short(name)} …`, talk.hint);
    try {
      const running = (await (await ask("api/ps", undefined, signal)).json()).models;
      loaded = running.some((one) => one.name === name);
    } catch {
      return; // what is wrong is told of the answer itself
    }
    await pause(SLOW);
  }
}

/** Sends a prompt, or without one what stands in the field. */
async function send(prompt) {
  const text = prompt ?? $("message").value;
  const name = chosen();
  if (!text.trim() || !name) return;
  if (talk.now) {
    talk.hint = "Wait for the answer, or stop it.";
    note("", talk.hint);
    return;
  }
  const setting = unfit();
  if (setting) return failed(setting);
  const mine = (talk.now = new AbortController());
  const first = new AbortController();
  const question = { role: "user", content: text };
  const system = $("system").closest("label").hidden ? "" : $("system").value;
  const messages = [
    ...(system.trim() ? [{ role: "system", content: system }] : []),
    ...talk.messages,
    question,
  ];
  forget(".error");
  if (prompt === undefined) $("message").value = "";
  talk.hint = "";
  busy(true);
  const asked = turn("user", text);
  const answer = turn("model busy", "");
  const written = writer(answer);
  waiting(name, first.signal);
  let last, problem;
  try {
    const body = { model: name, messages, stream: true, options: options() };
    const response = await ask("api/chat", body, mine.signal);
    for await (const part of parts(response)) {
      if (part.error) throw new Refused(200, `The answer broke off: ${part.error}`);
      if (!first.signal.aborted) {
        first.abort();
        note("", talk.hint);
      }
      written.add(part.message?.content ?? "");
      if (part.done) last = part;
    }
    if (!last) throw new Refused(200, "The answer broke off; the server may have been stopped.");
  } catch (error) {
    if (error.name !== "AbortError") problem = error;
    if (error.status === 404) models();
  } finally {
    first.abort();
    written.flush();
    answer.classList.remove("busy");
    if (talk.now === mine) {
      ended(question, asked, answer, last, prompt === undefined);
      if (problem) refused(problem, messages);
    } // or else a new chat has begun
  }
}

/** Keeps what was said, stopped or not; a question that got nothing goes back to be sent again. */
function ended(question, asked, answer, last, typed) {
  talk.now = null;
  busy(false);
  const text = answer.textContent;
  if (!text && !last) {
    asked.remove();
    answer.remove();
    tidy();
    if (typed && !$("message").value) $("message").value = question.content;
  } else {
    talk.messages.push(question, { role: "assistant", content: text });
    figures(last);
  }
  if (document.activeElement === document.body) $("message").focus();
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
  forget(".turn, .figures, .error");
  $("message").focus();
});
$("text-model").addEventListener("change", meet);
document.addEventListener("models", ({ detail: back }) => {
  if (back) forget(".error");
  fill("text", "completion");
  meet();
});
document.addEventListener("failed", ({ detail: text }) => failed(text));

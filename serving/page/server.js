// The server: requests, what is told of errors, the key, and which models there are.
// Addresses are relative to this file, so that it works behind a path prefix and on the pages of the
// course, which are a folder deeper.

export const $ = (id) => document.getElementById(id);

const KEY = "gpu-learning-key";

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}
export class Gone extends Error {}

/** One request; what is refused throws Refused, a server that does not answer throws Gone. */
export async function ask(path, body, signal) {
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
export function sentence(error, model) {
  if (error instanceof Gone) return "The server does not answer; start it again.";
  if (!(error instanceof Refused)) return `The page met an error: ${error.message}`;
  if (error.status === 401) return "The server wants an API key; give it at the top of the page.";
  if (error.status === 404) return `The server has no model ${model} any more; pick another.`;
  if (error.status === 413) return `That is too large: ${error.message}`;
  if (error.status === 503) return `The server is busy (${error.message}). Try again in a moment.`;
  return error.message || `The server answered ${error.status}.`;
}

export function say(id, text) {
  $(id).textContent = text ?? "";
  $(id).hidden = !text;
}

let retry = 0;

export function lost() {
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

/** The objects of a stream that has one to a line. */
export async function* parts(response) {
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

/** The models by name, as /api/tags describes them. */
export let known = new Map();

/**
 * Asks which models there are and tells it by the event "models", whose detail is whether the server
 * had been away; what went wrong is told by the event "failed".
 */
export async function models() {
  let found;
  try {
    found = (await (await ask("api/tags")).json()).models;
  } catch (error) {
    if (!(error instanceof Gone || error.status === 401)) {
      state("down", "Error");
      document.dispatchEvent(new CustomEvent("failed", { detail: sentence(error) }));
    }
    return;
  }
  state("up", location.host);
  const back = !$("gone").hidden || !$("key-form").hidden;
  $("gone").hidden = $("key-form").hidden = true;
  known = new Map(found.map((model) => [model.name, model]));
  document.dispatchEvent(new CustomEvent("models", { detail: back }));
}

/** Fills a part's list with the models that can do it; a choice that still exists is kept. */
export function fill(part, capability) {
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

/** Whether a part of the page is there to be used; a step of the course has one of them. */
export const offered = (part) => !$(part).closest("[hidden]");

window.addEventListener("focus", models);

// What a language model is, in a sentence, and prompts that suit it, from what the server knows.

import { ask, parts } from "./server.js";

const FEW = 1000; // tokens; a longer vocabulary is not one of characters
const SUGGESTED = 3;
const LONGEST = 24; // characters
const SAMPLE = { num_predict: 160, temperature: 0.8, seed: 1 };
// A vocabulary of pieces of words can write anything.
const QUESTIONS = ["What is a GPU?", "Explain a tensor in one sentence."];
const BEGINNINGS = ["Once upon a time", "The meaning of life is"];

/**
 * What /api/show tells of `model`, an entry of /api/tags: `about` in a sentence, `answers` where it
 * converses, `alphabet` where its tokens are characters, and `examples`, empty for such a model.
 */
export async function describe(model, signal) {
  const show = async (verbose) =>
    (await ask("api/show", { model: model.name, verbose }, signal)).json();
  let { model_info: info, template } = await show(false);
  const size = info[`${info["general.architecture"]}.vocab_size`];
  if (size <= FEW) info = (await show(true)).model_info;
  const tokens = info["tokenizer.ggml.tokens"];
  const alphabet = tokens?.every((token) => [...token].length === 1) ? tokens : null;
  const answers = template.replace(/\{\{.*?\}\}/gs, "").trim() !== "";
  const { context_length: context, parameter_size: parameters } = model.details;
  const name = model.name.replace(/:latest$/, "");
  const does = answers ? "answers" : "continues the text above and does not converse";
  const unit = alphabet ? "characters" : "tokens";
  const about =
    `${name}, a model of ${parameters} parameters, ${does}. ` +
    `It sees the last ${context.toLocaleString("en")} ${unit}` +
    (alphabet ? ` and knows ${alphabet.length}: ${characters(alphabet)}.` : ".");
  return { about, answers, alphabet, examples: alphabet ? [] : answers ? QUESTIONS : BEGINNINGS };
}

/**
 * Adds to `model.examples` how the sentences begin that a model of characters writes by itself, and
 * calls `added` for each.
 */
export async function suggest(model, signal, added) {
  const { name, alphabet, examples } = model;
  if (!alphabet) return;
  const prompt = ["\n", " "].find((one) => alphabet.includes(one)) ?? alphabet[0];
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  const body = { model: name, prompt, raw: true, options: SAMPLE };
  let text = prompt;
  for await (const part of parts(await ask("api/generate", body, stop.signal))) {
    text += part.response ?? "";
    for (const one of beginnings(text)) {
      if (examples.includes(one)) continue;
      examples.push(one);
      added();
    }
    if (examples.length < SUGGESTED) continue;
    stop.abort();
    return;
  }
  if (examples.length) return;
  examples.push(...firstWords([text])); // it writes no sentences
  added();
}

/** The first two words of each sentence or line that begins within `text`, the last one left out. */
function beginnings(text) {
  const words = firstWords(text.split(/[.!?\n]+/).slice(1, -1));
  return [...new Set(words)].slice(0, SUGGESTED);
}

function firstWords(sentences) {
  const two = sentences.map((one) => one.trim().split(/\s+/).slice(0, 2).join(" "));
  return two.filter((one) => one.length > 2).map((one) => one.slice(0, LONGEST));
}

const NAMES = { " ": "space", "\n": "line break", "\t": "tab" };
const RUN = /[a-zA-Z0-9]/;
const SHORTEST_RUN = 8;

/** Characters as they are read: in order, neighbors as a range, and those that do not show by name. */
export function characters(all) {
  const order = [...all].sort((a, b) => a.codePointAt() - b.codePointAt());
  const runs = [];
  for (const one of order) {
    const run = runs.at(-1);
    const next = run && run.at(-1).codePointAt() + 1 === one.codePointAt();
    if (next && RUN.test(one) && RUN.test(run.at(-1))) run.push(one);
    else runs.push([one]);
  }
  const told = runs.flatMap((run) =>
    run.length < SHORTEST_RUN ? run.map((one) => NAMES[one] ?? one) : `${run[0]}–${run.at(-1)}`,
  );
  return told.join(" ");
}

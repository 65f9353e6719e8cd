// The official package "ollama" of npm.
import { Ollama } from "ollama";
import { z } from "zod";
import { PET, report, url, question, tokens } from "./asked.mjs";

const client = new Ollama({ host: url });
const asked = { model: "json", messages: [{ role: "user", content: question }] };
const greedy = { ...asked, options: { temperature: 0, num_predict: tokens } };

await report({
  chat: async () => (await client.chat(greedy)).message.content,
  stream: async () => {
    const pieces = [];
    for await (const piece of await client.chat({ ...greedy, stream: true }))
      pieces.push(piece.message.content);
    return pieces;
  },
  embeddings: async () =>
    (await client.embed({ model: "json", input: [question, "a dog"] })).embeddings,
  schema: async () => {
    const format = z.toJSONSchema(PET);
    const answer = await client.chat({ ...asked, format, options: { seed: 1 } });
    return PET.parse(JSON.parse(answer.message.content));
  },
  unknown: () => client.chat({ ...asked, model: "nobody" }),
});

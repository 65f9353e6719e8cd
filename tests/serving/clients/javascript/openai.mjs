// The official package "openai" of npm.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { PET, report, url, question, tokens } from "./asked.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const asked = { model: "json", messages: [{ role: "user", content: question }] };
const greedy = { ...asked, temperature: 0, max_tokens: tokens };

await report({
  chat: async () => (await client.chat.completions.create(greedy)).choices[0].message.content,
  stream: async () => {
    const pieces = [];
    for await (const chunk of await client.chat.completions.create({ ...greedy, stream: true }))
      pieces.push(chunk.choices[0].delta.content ?? "");
    return pieces;
  },
  embeddings: async () => {
    const found = await client.embeddings.create({ model: "json", input: [question, "a dog"] });
    return found.data.map((row) => row.embedding);
  },
  schema: async () => {
    const response_format = zodResponseFormat(PET, "pet");
    const answer = await client.chat.completions.parse({ ...asked, response_format, seed: 1 });
    return answer.choices[0].message.parsed;
  },
  unknown: () => client.chat.completions.create({ ...asked, model: "nobody" }),
});

// Vercel's AI SDK through "@ai-sdk/openai-compatible".
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, streamText } from "ai";
import { PET, report, url, question, tokens } from "./asked.mjs";

const provider = createOpenAICompatible({
  name: "ours",
  baseURL: `${url}/v1`,
  supportsStructuredOutputs: true,
});
const asked = { model: provider("json"), prompt: question, maxRetries: 0 };
const greedy = { ...asked, temperature: 0, maxOutputTokens: tokens };

await report({
  chat: async () => (await generateText(greedy)).text,
  stream: async () => {
    const pieces = [];
    for await (const piece of streamText(greedy).textStream) pieces.push(piece);
    return pieces;
  },
  embeddings: async () => {
    const model = provider.textEmbeddingModel("json");
    return (await embedMany({ model, values: [question, "a dog"], maxRetries: 0 })).embeddings;
  },
  schema: async () => {
    const output = Output.object({ schema: PET });
    return (await generateText({ ...asked, output, seed: 1 })).output;
  },
  unknown: () => generateText({ ...asked, model: provider("nobody") }),
});

// What every client of JavaScript is asked for; the answers go to Python, which judges them.
import { z } from "zod";

export const { url, question, tokens } = JSON.parse(process.argv[2]);
export const PET = z.object({
  kind: z.enum(["cat", "dog"]),
  lives: z.int().min(0).max(9),
  asleep: z.boolean(),
});

/** Prints {name: what it returned}; of the unknown model, what was thrown. */
export async function report({ unknown, ...calls }) {
  const found = {};
  for (const [name, call] of Object.entries(calls))
    found[name] = await call().catch((error) => ({ error: String(error) }));
  found.unknown = await unknown().then(
    () => null,
    (error) => ({
      message: error.message,
      status: error.status ?? error.status_code ?? error.statusCode,
    }),
  );
  console.log(JSON.stringify(found));
}

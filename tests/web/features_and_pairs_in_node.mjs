// Answers of packed files that take something beside a text, given as { file, wasm, items, refused } by path, by the native engine as
// WebAssembly.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { load } from "../../runtime/web/native.js";

const answers = [];
for (const { file, wasm, items, refused } of JSON.parse(readFileSync(0))) {
  const classifier = await load(pathToFileURL(file), { wasm: pathToFileURL(wasm) });
  answers.push({
    beside: classifier.takesBeside,
    verified: await classifier.verify(),
    takes: items.map((item) => classifier.takes(item)),
    ids: items.map((item) => classifier.encode(item)),
    logits: (await classifier.logits(items)).map((row) => Array.from(row)),
    alone: await Promise.all(items.map((item) => classifier.predict([item]))),
    said: await Promise.all(refused.map((item) => classifier.classify(item).catch((error) => `${error.name}: ${error.message}`))),
  });
  await classifier.release();
}
process.stdout.write(JSON.stringify(answers));

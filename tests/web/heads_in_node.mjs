// Answers of packed files with several heads, given as { file, wasm, texts, head } by path, by the native engine as WebAssembly.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { measureContributions } from "../../runtime/web/word_contributions.js";
import { load } from "../../runtime/web/native.js";

const said = (error) => ({ said: `${error.name}: ${error.message}` });
const answers = [];
for (const { file, wasm, texts, head } of JSON.parse(readFileSync(0))) {
  const classifier = await load(pathToFileURL(file), { wasm: pathToFileURL(wasm) });
  const one = classifier.head(head);
  const { label } = await one.classify(texts[0]);
  answers.push({
    heads: classifier.heads,
    labels: classifier.labels,
    verified: [await classifier.verify(), await one.verify()],
    classify: await Promise.all(texts.map((text) => classifier.classify(text, 2))),
    predict: await classifier.predict(texts),
    proba: await classifier.predictProba(texts),
    given: await classifier.predictLabels(texts),
    alone: await Promise.all(texts.map((text) => one.classify(text))),
    thresholds: one.thresholds ?? null,
    contributions: await measureContributions(one, texts[0], label),
    refused: await Promise.all([
      classifier.classify(texts[0], 1, { among: ["bad"] }).catch(said),
      classifier.classify(texts[0], 99).catch(said),
      Promise.resolve().then(() => classifier.head("moods")).catch(said),
      Promise.resolve().then(() => one.head("mood")).catch(said),
    ]),
  });
  await classifier.release();
}
process.stdout.write(JSON.stringify(answers));

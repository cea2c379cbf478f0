// Answers the texts of packed files, given as { file, wasm, texts } by path, with the native engine as WebAssembly.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { measureContributions } from "../../runtime/web/word_contributions.js";
import { Classifier } from "../../runtime/web/native.js";

const answers = [];
for (const { file, wasm, texts, explained = [] } of JSON.parse(readFileSync(0))) {
  const classifier = await Classifier.load(pathToFileURL(file), { wasm: pathToFileURL(wasm) });
  const takes = texts.map((text) => classifier.takes(text));
  const taken = texts.filter((_, i) => takes[i]);
  answers.push({
    name: classifier.name,
    verified: await classifier.verify(),
    takes,
    ids: texts.map((text) => classifier.encode(text)),
    logits: (await classifier.logits(taken)).map((row) => Array.from(row)),
    probabilities: await classifier.predictProba(taken),
    labels: await classifier.predict(taken),
    given: await classifier.predictLabels(taken),
    from: await classifier.predictLabels(taken, 0.3),
    thresholds: classifier.thresholds ?? null,
    alone: await Promise.all(taken.map((text) => classifier.classify(text, 2))),
    said: await Promise.all(
      texts.filter((_, i) => !takes[i]).map((text) => classifier.classify(text).catch((error) => `${error.name}: ${error.message}`)),
    ),
    contributions: await Promise.all(
      explained.map(async (text) => measureContributions(classifier, text, (await classifier.classify(text)).label)),
    ),
  });
  await classifier.release();
}
process.stdout.write(JSON.stringify(answers));

// Answers texts with some labels of a packed file alone, given as { file, wasm, texts, among }: by classify, predict and predictProba,
// and says what is refused.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Classifier } from "../../runtime/web/native.js";

const { file, wasm, texts, among, wrong } = JSON.parse(readFileSync(0));
const classifier = await Classifier.load(pathToFileURL(file), { wasm: pathToFileURL(wasm) });
const answers = await Promise.all(
  among.map(async (labels) => ({
    alone: await Promise.all(texts.map((text) => classifier.classify(text, 2, { among: labels }))),
    labels: await classifier.predict(texts, { among: labels }),
    probabilities: await classifier.predictProba(texts, { among: labels }),
  })),
);
const refused = await Promise.all(
  wrong.map((labels) => classifier.classify(texts[0], 1, { among: labels }).catch((error) => `${error.name}: ${error.message}`)),
);
process.stdout.write(JSON.stringify({ answers, refused }));

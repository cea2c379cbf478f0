// Answers texts with some labels of a packed file alone, given as { file, wasm, texts, among }: by classify, predict and predictProba;
// and with priors, given as { priors }; and says what is refused.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Classifier } from "../../runtime/web/native.js";

const { file, wasm, texts, among, wrong, priors, wrongPriors } = JSON.parse(readFileSync(0));
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
const weighed = await Promise.all(
  priors.map(async (prior) => ({
    alone: await Promise.all(texts.map((text) => classifier.classify(text, 2, { prior, among: among[0] }))),
    probabilities: (await classifier.predictProba(texts, { prior })).map((row) => Array.from(row)),
  })),
);
const noPriors = await Promise.all(
  wrongPriors.map((prior) => classifier.classify(texts[0], 1, { prior }).catch((error) => `${error.name}: ${error.message}`)),
);
process.stdout.write(JSON.stringify({ answers, refused, weighed, noPriors }));

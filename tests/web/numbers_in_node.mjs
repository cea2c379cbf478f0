// Answers sequences of numbers: { file, wasm, sequences, refused, pieces, window, hop } each, where a sequence is { kind, samples }:
// rows for kind "rows", else the name of a typed array. Prints the answers, and what is said of those that are refused.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { load, PocketRNNError } from "../../runtime/web/native.js";
import { NumberClassifier } from "../../runtime/web/numbers.js";

const sequenceOf = ({ kind, samples }) => {
  if (kind === "rows") return samples;
  const flat = samples.flat().map((one) => (one === null ? NaN : one === "inf" ? Infinity : one));
  return new globalThis[kind](kind.startsWith("Big") ? flat.map(BigInt) : flat);
};
const said = async (ask) => {
  try {
    return [null, await ask()];
  } catch (error) {
    if (!(error instanceof PocketRNNError)) throw error;
    return [error.name, error.problem];
  }
};
const answers = [];
for (const { file, wasm, sequences, refused, pieces, window, hop } of JSON.parse(readFileSync(0))) {
  const engine = { wasm: pathToFileURL(wasm) };
  const classifier = await load(pathToFileURL(file), engine);
  const given = sequences.map(sequenceOf);
  let stream = classifier.givesValues && !window ? undefined : classifier.stream({ window, hop });
  const windows = [];
  for (const piece of stream ? pieces : []) {
    windows.push(await said(() => stream.push(sequenceOf(piece))));
    // A carried state goes on where it was saved.
    if (stream.save) stream = classifier.stream({ saved: stream.save() });
  }
  answers.push({
    name: classifier.name,
    kind: classifier instanceof NumberClassifier,
    channels: classifier.channels,
    verified: await classifier.verify(),
    prepared: given.map((sequence) => Array.from(classifier.prepared(sequence))),
    logits: (await classifier.logits(given)).map((row) => Array.from(row)),
    predicted: (await classifier.predict(given)).map((one) => (typeof one === "string" ? one : Array.from(one))),
    classified: await said(() => classifier.classify(given[0])),
    probabilities: await said(() => classifier.predictProba(given)),
    reached: await said(() => classifier.predictLabels(given, 0.3)),
    values: await said(() => classifier.values(given).then((rows) => rows.map((row) => Array.from(row)))),
    refused: await Promise.all(refused.map((one) => said(() => classifier.logits([sequenceOf(one)])))),
    alone: await Promise.all(refused.map((one) => said(() => classifier.classify(sequenceOf(one))))),
    windows,
    noWindow: await said(() => classifier.stream({ window: 0 }) && null),
    short: await said(() => classifier.recording(given[0], { window: 1000 })),
    noList: await said(() => classifier.logits("abc")),
    saved: await said(() => classifier.stream({ saved: new Uint8Array(96) }) && null),
    top: await said(() => classifier.classify(given[0], 99)),
  });
  await classifier.release();
  answers.at(-1).released = await said(() => classifier.logits(given));
}
process.stdout.write(JSON.stringify(answers));

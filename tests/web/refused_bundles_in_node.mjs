// What is said of things that are no packed file, no engine, no text; prints the errors by name.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { BundleError, Classifier, InputError, PocketRNNError } from "../../runtime/web/native.js";

const { good, wasm, folder } = JSON.parse(readFileSync(0));
const engine = { wasm: pathToFileURL(wasm) };
const errorOf = async (ask) => {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof PocketRNNError) || `${error.problem} ${error.remedy}` !== error.message) throw error;
    return `${error.name}: ${error.message}`;
  }
};
process.chdir(folder);
const classifier = await Classifier.load(pathToFileURL(good), engine);
const answers = {
  nothing: await errorOf(() => Classifier.load(undefined, engine)),
  object: await errorOf(() => Classifier.load({}, engine)),
  missing: await errorOf(() => Classifier.load("missing.prnn", engine)),
  folder: await errorOf(() => Classifier.load(".", engine)),
  empty: await errorOf(() => Classifier.load(new ArrayBuffer(0), engine)),
  engineMissing: await errorOf(() => Classifier.load(pathToFileURL(good), { wasm: pathToFileURL(`${folder}/none.wasm`) })),
  engineWrong: await errorOf(() => Classifier.load(pathToFileURL(good), { wasm: new Uint8Array(64) })),
  notText: await errorOf(() => classifier.classify(7)),
  oneText: await errorOf(() => classifier.predict("one")),
  noList: await errorOf(() => classifier.logits(null)),
  inList: await errorOf(() => classifier.predictProba(["one", null])),
  top: await errorOf(() => classifier.classify("one", 99)),
  none: await classifier.predict([]),
  generator: (await classifier.predict((function* () { yield "one"; yield "two"; })())).length,
  // A view into a larger buffer, as Node's own are.
  view: (await Classifier.load(new DataView(Buffer.concat([Buffer.alloc(3), readFileSync(good)]).buffer, 3), engine)).name,
  buffer: (await Classifier.load(readFileSync(good).buffer, engine)).name,
  relative: (await Classifier.load(`${good.split("/").at(-1)}`, { wasm: readFileSync(wasm) })).name,
  long: (await classifier.logits(["oil ".repeat(100_000), "", "oil ".repeat(3)])).length,
  halves: classifier.encode("\ud800 oil \udfff").length === classifier.encode("x oil x").length,
};
const many = await Promise.all(Array.from({ length: 20 }, (_, i) => classifier.classify(`oil ${i}`)));
answers.concurrent = many.every(({ label }) => classifier.labels.includes(label));
await classifier.release();
answers.released = await errorOf(() => classifier.classify("one"));
answers.inherits = BundleError.prototype instanceof InputError;
process.stdout.write(JSON.stringify(answers));

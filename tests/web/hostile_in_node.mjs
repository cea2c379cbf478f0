// Loads files that are given as base64, and asks those that load for some answers. Prints for each what was said, null where
// nothing was, and last what a right file answers afterwards.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { load } from "../../runtime/web/native.js";

const { files, texts, good, wasm } = JSON.parse(readFileSync(0));
const module = await WebAssembly.compile(readFileSync(wasm));
const said = [];
for (const file of files) {
  try {
    const classifier = await load(new Uint8Array(Buffer.from(file, "base64")), { wasm: module });
    if (classifier.channels) {
      for (const steps of [1, 9, 16]) await classifier.predict([new Float64Array(steps * classifier.channels.length)]);
    } else {
      for (const text of texts) await classifier.classify(text);
      await classifier.predictProba(texts);
    }
    await classifier.verify();
    said.push(null);
  } catch (error) {
    said.push(`${error.name}: ${error.message}`);
  }
}
const classifier = await load(pathToFileURL(good), { wasm: module });
process.stdout.write(JSON.stringify({ said, after: classifier.channels ? texts : await classifier.predict(texts) }));

// Loads a bundle given as { name: base64 } with a stand-in for onnxruntime-web that answers `texts`, one by one, with `logits`.
// Prints the thresholds that it keeps, and the labels that reach these, and 0.3.
import { readFileSync } from "node:fs";
import { Classifier } from "../../runtime/web/pocketrnn.js";

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

const { files, texts, logits } = JSON.parse(readFileSync(0));
let answered = logits[0];
const session = {
  inputNames: ["tokens", "lengths"],
  outputNames: ["logits"],
  run: async ({ tokens }) => {
    const [rows] = tokens.dims;
    return { logits: new Tensor("float32", Float32Array.from(Array(rows).fill(answered).flat()), [rows, answered.length]) };
  },
};
const ort = { Tensor, InferenceSession: { create: async () => session } };
const content = Object.fromEntries(Object.entries(files).map(([name, data]) => [name, Buffer.from(data, "base64")]));
const classifier = await Classifier.load(content, { ort });
const given = [];
const from = [];
for (const [i, text] of texts.entries()) {
  answered = logits[i];
  given.push(...(await classifier.predictLabels([text])));
  from.push(...(await classifier.predictLabels([text], 0.3)));
}
process.stdout.write(JSON.stringify({ thresholds: classifier.thresholds, given, from }));

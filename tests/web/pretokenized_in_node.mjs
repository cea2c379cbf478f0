// Loads a bundle given as { name: base64 } with a stand-in for onnxruntime-web. Prints the ids of each text of `texts` and
// those that the graph is run with, what is said of each text of `refused`, alone and in a list, and whether the golden
// examples were run with their ids.
import { readFileSync } from "node:fs";
import { Classifier } from "../../runtime/web/pocketrnn.js";

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

const { files, classes, texts, refused } = JSON.parse(readFileSync(0));
let last;
const session = {
  inputNames: ["tokens"],
  outputNames: ["logits"],
  run: async ({ tokens }) => {
    last = Array.from(tokens.data, Number);
    const [rows] = tokens.dims;
    return { logits: new Tensor("float32", new Float32Array(rows * classes), [rows, classes]) };
  },
};
const ort = { Tensor, InferenceSession: { create: async () => session } };
const content = Object.fromEntries(Object.entries(files).map(([name, data]) => [name, Buffer.from(data, "base64")]));
const classifier = await Classifier.load(content, { ort });
const errorOf = (answer) => answer.then(() => null, (error) => `${error.name}: ${error.message}`);
const ids = texts.map((text) => classifier.encode(text));
const run = [];
for (const text of texts) {
  await classifier.classify(text);
  run.push(last);
}
const typed = classifier.encode(Int32Array.from(ids[0]));
const said = [];
for (const text of refused)
  said.push([await errorOf(classifier.classify(text)), await errorOf(classifier.predict([["the"], text]))]);
const verified = await errorOf(classifier.verify());
process.stdout.write(JSON.stringify({ ids, run, typed, said, verified }));

// Loads a bundle given as { name: base64 } with a stand-in for onnxruntime-web. Prints the shapes of its runs, first the one
// that loading makes, then those for `within` together; what is said of each text of `beyond`, alone and as the second;
// and the ids of the first run.
import { readFileSync } from "node:fs";
import { measureContributions } from "../../runtime/web/word_contributions.js";
import { Classifier } from "../../runtime/web/pocketrnn.js";

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

const { files, inputs, classes, within, beyond } = JSON.parse(readFileSync(0));
const shapes = [];
let first;
const session = {
  inputNames: inputs,
  outputNames: ["logits"],
  run: async ({ tokens }) => {
    shapes.push(tokens.dims);
    first ??= Array.from(tokens.data, String);
    const [rows] = tokens.dims;
    return { logits: new Tensor("float32", new Float32Array(rows * classes), [rows, classes]) };
  },
};
const ort = { Tensor, InferenceSession: { create: async () => session } };
const content = Object.fromEntries(Object.entries(files).map(([name, data]) => [name, Buffer.from(data, "base64")]));
const classifier = await Classifier.load(content, { ort });
await classifier.logits(within);
const answered = [...shapes];
const said = [];
for (const text of beyond) {
  const errorOf = (answer) => answer.then(() => null, (error) => `${error.name}: ${error.message}`);
  said.push([classifier.takes(text), await errorOf(classifier.classify(text)), await errorOf(classifier.logits([within[0], text]))]);
}
const refusedRuns = shapes.length - answered.length;
const contributions = await measureContributions(classifier, "the cup", classifier.labels[0]);
process.stdout.write(JSON.stringify({ shapes: answered, said, refusedRuns, contributions: contributions.length, tokens: first }));

// Loads bundles given as { name: base64 } with a stand-in for onnxruntime-web that only says what it is asked to say.
// Prints, for each, null where it loads, else the error's class and text.
import { readFileSync } from "node:fs";
import { Classifier } from "../../runtime/web/pocketrnn.js";

class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}

const { bundles, subtle } = JSON.parse(readFileSync(0));
if (!subtle) Object.defineProperty(globalThis, "crypto", { value: {} });
const answers = [];
for (const { files, inputs, classes } of bundles) {
  const session = {
    inputNames: inputs,
    outputNames: ["logits"],
    run: async () => ({ logits: new Tensor("float32", new Float32Array(classes), [1, classes]) }),
  };
  const ort = { Tensor, InferenceSession: { create: async () => session } };
  const content = Object.fromEntries(Object.entries(files).map(([name, data]) => [name, Buffer.from(data, "base64")]));
  try {
    await Classifier.load(content, { ort });
    answers.push(null);
  } catch (error) {
    answers.push(`${error.name}: ${error.message}`);
  }
}
process.stdout.write(JSON.stringify(answers));

// Tags of packed files, given as { file, wasm, texts } by path, by the native engine as WebAssembly. A text may be a list of tokens.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { load } from "../../runtime/web/native.js";

const said = (error) => ({ said: `${error.name}: ${error.message}` });
const answers = [];
for (const { file, wasm, texts } of JSON.parse(readFileSync(0))) {
  const classifier = await load(pathToFileURL(file), { wasm: pathToFileURL(wasm) });
  answers.push({
    verified: await classifier.verify(),
    tags: await Promise.all(texts.map((text) => classifier.tag(text).catch(said))),
    together: await classifier.predictTags([texts[0]]).catch(said),
    whole: await classifier.classify("w1").catch(said),
    labels: await classifier.predict(["w1"]).catch(said),
  });
  await classifier.release();
}
process.stdout.write(JSON.stringify(answers));

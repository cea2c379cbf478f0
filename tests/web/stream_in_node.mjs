// Pushes texts in pieces into streams of a packed file: { file, wasm, texts: [{ text, cuts }], saved }. Prints the logits after
// each piece beside those of all the text so far, what streams of saved bytes go on to, and what is refused.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Classifier } from "../../runtime/web/native.js";

const { file, other, wasm, texts, saved } = JSON.parse(readFileSync(0));
const engine = { wasm: pathToFileURL(wasm) };
const classifier = await Classifier.load(pathToFileURL(file), engine);
const errorOf = async (ask) => {
  try {
    return await ask();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const pairs = [];
for (const [i, { text, cuts }] of texts.entries()) {
  let stream = classifier.stream();
  let start = 0;
  for (const end of [...cuts, text.length]) {
    const [whole] = await classifier.logits([text.slice(0, end)]);
    pairs.push([Array.from(await stream.logits(text.slice(start, end))), Array.from(whole)]);
    start = end;
    // A pair that is cut is one character only in the stream that read its first half.
    if (i % 2 && !/[\ud800-\udbff]$/.test(text.slice(0, end))) stream = classifier.stream(stream.save());
  }
}
const bytes = new TextEncoder().encode("Ünïcode 😀 oil prices.");
const inBytes = classifier.stream();
let last;
for (const byte of bytes) last = await inBytes.push(Uint8Array.of(byte), 2);
const stream = classifier.stream();
await stream.push("oil pri");
const resumed = classifier.stream(new Uint8Array(Buffer.from(saved, "base64")));
const changed = stream.save();
changed[20] ^= 1;
const answers = {
  pairs,
  inBytes: last,
  asWhole: await classifier.classify("Ünïcode 😀 oil prices.", 2),
  saved: Buffer.from(stream.save()).toString("base64"),
  resumed: Array.from(await resumed.logits("ces rise")),
  changed: await errorOf(() => classifier.stream(changed)),
  short: await errorOf(() => classifier.stream(new Uint8Array(3))),
  empty: await errorOf(() => classifier.stream(new ArrayBuffer(0))),
  noBytes: await errorOf(() => classifier.stream("text")),
  noText: await errorOf(() => stream.push(7)),
  noUtf8: await errorOf(() => stream.push(Uint8Array.of(0xff))),
  top: await errorOf(() => stream.push("oil", 99)),
  waiting: await errorOf(() => classifier.stream().logits("中".repeat(65537)).then(() => "")),
  kept: stream.save().length,
  undecided: await errorOf(() => classifier.stream().push(`aΣ${"'".repeat(5000)}`)),
};
// What was refused has changed nothing.
answers.after = Array.from(await stream.logits("ces rise"));
stream.reset();
answers.anew = Array.from(await stream.logits("oil prices rise"));
const without = await Classifier.load(pathToFileURL(other), engine);
answers.without = await errorOf(() => without.stream());
const begun = without.name;
await classifier.release();
answers.released = await errorOf(() => stream.push("x"));
process.stdout.write(JSON.stringify({ ...answers, begun }));

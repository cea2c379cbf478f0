/**
 * pocketrnn's native engine in a browser, or in Node: reads the one file that `pocketrnn pack` wrote, and gives the same answers
 * as everywhere.
 *
 *     import { Classifier } from "./native.js";
 *     const classifier = await Classifier.load("news.prnn");
 *     await classifier.classify("Wall St. Bears Claw Back");      // { label, probability, top: [{ label, probability }] }
 *
 * The engine is C, compiled to WebAssembly: pocketrnn.wasm beside this module, from runtime/native by scripts/build_web.
 * Nothing else is needed or asked for. Every classifier has an engine, and memory, of its own. pocketrnn.js is for bundles,
 * with onnxruntime-web; its Classifier has the same methods.
 */

// The C interface is runtime/native/src/pocketrnn.h. Its statuses:
const OK = 0;
const MEMORY = 1;
const TOO_SHORT = 7;
const TOO_LONG = 8;
const NOT_FINITE = 10;
const NO_WORD = 12;
const NO_STREAM = 13;
const UNDECIDED = 14;
const SAVED = 15;
const COSTLY = 17;
const WAITING = 19;

const LIMITS = new Set([TOO_SHORT, TOO_LONG, NO_WORD]);

const LARGEST_FILE = 2 ** 31 - 1;
const LARGEST_MEMORY = 2 ** 32;
const PAGE = 2 ** 16;
const ALIGN = 64;
// Given to the engine beyond what it needs, for products of frequent words: a fifth less time for a text, for 6 ms more when
// it is loaded; four times as much gains no more.
const EXTRA = 2 ** 20;
// So many texts are answered in one call of the engine.
const AT_ONCE = 256;
const MAKE_AGAIN = "Copy the file again from where it was made, or make it again with: pocketrnn pack";
const BUILD = "Build it with scripts/build_web, or use a bundle with pocketrnn.js and onnxruntime-web.";

/** Every error of this module: `problem` is one sentence of what is wrong, `remedy` one of what to do. */
export class PocketRNNError extends Error {
  constructor(problem, remedy, options) {
    super(`${problem} ${remedy}`, options);
    this.name = new.target.name;
    this.problem = problem;
    this.remedy = remedy;
  }
}
/** Something handed in cannot be used. */
export class InputError extends PocketRNNError {}
/** A text has fewer or more tokens than the classifier takes, or no known word where it needs one (`limits` of `graph` in its
 * manifest). */
export class LimitError extends InputError {}
/** A packed file is missing, damaged, of another format or inconsistent with itself. */
export class BundleError extends InputError {}

const isString = (value) => typeof value === "string";
const isAddress = (value) => isString(value) || value instanceof URL;
const aligned = (bytes) => Math.ceil(bytes / ALIGN) * ALIGN;

// ------------------------------------------------------------------------------------------------ strings and UTF-8

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
// With the flag u, a pair is one code point and not found here.
const HALF = /[\ud800-\udfff]/u;

/** Write a string as UTF-8 from `at` on, where there are three bytes a unit; where it ends. Half of a surrogate pair is
 * encoded as if it were a character, as the packed file's own strings are; TextEncoder would replace it. */
function writeString(text, bytes, at) {
  if (!HALF.test(text)) return at + encoder.encodeInto(text, bytes.subarray(at)).written;
  for (const point of text) {
    const code = point.codePointAt(0);
    if (code >= 0xd800 && code <= 0xdfff) {
      bytes[at++] = 0xe0 | (code >> 12);
      bytes[at++] = 0x80 | ((code >> 6) & 63);
      bytes[at++] = 0x80 | (code & 63);
    } else at += encoder.encodeInto(point, bytes.subarray(at)).written;
  }
  return at;
}

/** The string that UTF-8 stands for; halves of surrogate pairs as they are. */
function readString(bytes) {
  try {
    return decoder.decode(bytes);
  } catch {
    return bytes.reduce((text, byte, i) => (byte >> 6 === 2 ? text : text + String.fromCodePoint(codeAt(bytes, i))), "");
  }
}

function codeAt(bytes, at) {
  const more = bytes[at] < 0x80 ? 0 : bytes[at] < 0xe0 ? 1 : bytes[at] < 0xf0 ? 2 : 3;
  let code = more ? bytes[at] & (0x3f >> more) : bytes[at];
  for (let i = 1; i <= more; i++) code = (code << 6) | (bytes[at + i] & 63);
  return code >= 0 && code <= 0x10ffff ? code : 0xfffd;
}

// ----------------------------------------------------------------------------------------- files, and the engine's own

/** The bytes at an address, over http or, in Node, of a file. */
async function read(address, remedy) {
  const url = await resolved(address);
  const failed = (why, cause) => new BundleError(`${url} cannot be read: ${why}.`, remedy, { cause });
  if (url.protocol === "file:" && globalThis.process?.versions?.node) {
    try {
      return await (await import("node:fs/promises")).readFile(url);
    } catch (error) {
      throw failed(error.message, error);
    }
  }
  let response;
  try {
    response = await fetch(url);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw failed(error.message, error);
  }
  throw failed(`status ${response.status}`, { url: url.href, status: response.status });
}

/** An address as a URL: on a page, beside it; in Node, in the current folder. */
async function resolved(address) {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (base !== undefined || !globalThis.process?.versions?.node) return new URL(address, base);
  const { pathToFileURL } = await import("node:url");
  return new URL(address, pathToFileURL(`${process.cwd()}/`));
}

const bytesOf = (content) => new Uint8Array(content.buffer ?? content, content.byteOffset ?? 0, content.byteLength);
const isBytes = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

// A module that puts a number into every lane of a vector: whether it is valid says whether there is SIMD.
const HAS_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
// Written out: bundlers such as Vite look for this very form, and take the files along.
const WITH_SIMD = new URL("./pocketrnn.wasm", import.meta.url);
const PLAIN = new URL("./pocketrnn-plain.wasm", import.meta.url);
const compiled = new Map();

/** The engine's module, compiled once for all classifiers of a page. */
function engine(wasm) {
  if (wasm instanceof WebAssembly.Module) return wasm;
  const source = wasm ?? (WebAssembly.validate(Uint8Array.from(HAS_SIMD)) ? WITH_SIMD : PLAIN);
  if (isBytes(source)) return compile(source, "pocketrnn.wasm");
  const key = String(source);
  if (!compiled.has(key)) {
    const made = read(source, BUILD).then((content) => compile(content, key));
    compiled.set(key, made);
    made.catch(() => compiled.delete(key)); // it may be there the next time
  }
  return compiled.get(key);
}

async function compile(content, name) {
  try {
    return await WebAssembly.compile(content);
  } catch (error) {
    throw new BundleError(`${name} is no WebAssembly: ${error.message}.`, BUILD, { cause: error });
  }
}

/** An engine with one packed file in its memory: the file, what the engine makes of it, and from `base` on what a call
 * needs. Numbers of the interface stand in the first 64 bytes there. */
class Packed {
  #exports;
  #stack;
  #file;
  #base;
  #bytes;

  constructor(instance, content) {
    this.#exports = instance.exports;
    this.#stack = this.#exports.__stack_pointer.value;
    const file = aligned(this.#exports.__heap_base.value);
    const slots = aligned(file + content.length);
    this.#base = slots;
    this.#reserve(2 * ALIGN);
    this.#bytes.set(content, file);
    this.#file = [file, content.length];
    this.#words(slots, 2).set([0, 0]);
    this.#check(this.call("open", slots, file, content.length, 0, slots + 4), true);
    const size = this.#words(slots + 4, 1)[0] + EXTRA;
    const memory = slots + ALIGN;
    this.#base = aligned(memory + size);
    this.#reserve(ALIGN);
    this.#words(slots + 4, 1)[0] = size;
    this.#check(this.call("open", slots, file, content.length, memory, slots + 4));
    this.classifier = this.#words(slots, 1)[0];
    this.classes = this.call("classes", this.classifier);
    this.call("limits", this.classifier, this.#base, this.#base + 4, this.#base + 8);
    [this.least, this.most] = this.#words(this.#base, 2);
  }

  /** A copy of the file. */
  get file() {
    const [start, size] = this.#file;
    return this.#bytes.slice(start, start + size);
  }

  /** Call a function of the engine. If it is stopped, which only a file made to do so brings about, its stack is set back
   * for the next call. */
  call(name, ...values) {
    try {
      return this.#exports[`prnn_${name}`](...values);
    } catch (error) {
      this.#exports.__stack_pointer.value = this.#stack;
      throw new PocketRNNError(`The engine was stopped: ${error.message}.`, MAKE_AGAIN, { cause: error });
    }
  }

  /** What a status means. */
  sentence(status) {
    const start = this.call("error", status) >>> 0;
    return readString(this.#bytes.subarray(start, this.#bytes.indexOf(0, start)));
  }

  /** The string that one of the engine's functions points to; undefined where there is none. */
  string(name, ...values) {
    const start = this.call(name, this.classifier, ...values, this.#base) >>> 0;
    if (start === 0) return undefined;
    return readString(this.#bytes.subarray(start, start + this.#words(this.#base, 1)[0]));
  }

  /** One text's ids. */
  encode(text) {
    const { at, bytes } = this.#placed(text);
    const work = aligned(at + bytes);
    const status = this.#answered(work, () =>
      this.call("encode", this.classifier, at, bytes, this.#base + 4, this.#base + 8, work, this.#base),
    );
    this.#check(status);
    const [, start, count] = this.#words(this.#base, 3);
    return Array.from(new Int32Array(this.#bytes.buffer, start, count));
  }

  /** Where the words of a text stand: bytes from and to, in turn. */
  words(text) {
    const { at, bytes } = this.#placed(text);
    const places = aligned(at + bytes);
    this.#reserve(places + 8 * bytes - this.#base);
    return this.#words(places, 2 * this.call("words", this.classifier, at, bytes, places)).slice();
  }

  /** For each of several texts its status, and their logits one after the other. */
  logits(texts) {
    const { classes } = this;
    const structs = this.#base + ALIGN;
    const logits = aligned(structs + 16 * texts.length);
    let at = aligned(logits + 4 * classes * texts.length);
    this.#reserve(at + texts.reduce((sum, text) => sum + 3 * text.length, 0) - this.#base);
    texts.forEach((text, i) => {
      const end = writeString(text, this.#bytes, at);
      this.#words(structs + 16 * i, 4).set([at, end - at, logits + 4 * classes * i, 0]);
      at = end;
    });
    const work = aligned(at);
    this.#words(this.#base + 4, 1)[0] = 0; // how many are done
    const status = this.#answered(work, () =>
      this.call("classify_many", this.classifier, structs, texts.length, this.#base + 4, work, this.#base),
    );
    this.#check(status);
    const statuses = texts.map((_, i) => this.#words(structs + 16 * i + 12, 1)[0]);
    return { statuses, logits: new Float32Array(this.#bytes.buffer, logits, classes * texts.length).slice() };
  }

  /** The probabilities of one row of logits; undefined where these are not finite. */
  probabilities(logits) {
    this.#reserve(ALIGN + 4 * logits.length);
    const row = new Float32Array(this.#bytes.buffer, this.#base, logits.length);
    row.set(logits);
    const status = this.call("probabilities", this.classifier, this.#base, this.#base);
    if (status === NOT_FINITE) return undefined;
    this.#check(status);
    return Array.from(row);
  }

  /** The bytes that a stream uses before its first fragment, or as it was saved. It holds no pointer: between two calls it is
   * kept outside of the engine's memory, where nothing needs to be freed. */
  stream(saved) {
    const size = this.call("stream_size", this.classifier);
    if (size === 0) throw new EngineError(NO_STREAM, this.sentence(NO_STREAM));
    const at = this.#base + ALIGN;
    const given = aligned(at + size);
    this.#reserve(given + (saved?.length ?? 0) - this.#base);
    this.#words(this.#base, 2).set([size, 0]);
    this.#check(this.call("stream_open", this.classifier, this.#base + 4, at, this.#base));
    if (saved) {
      this.#bytes.set(saved, given);
      this.#check(this.call("stream_resume", this.classifier, at, given, saved.length));
    }
    return this.#used(at);
  }

  /** Of a stream of the engine's, the bytes that it uses; the second word of them says how many. */
  #used(at) {
    return this.#bytes.slice(at, at + this.#words(at, 2)[1]);
  }

  /** Read a further fragment, a string or UTF-8: the stream after it, and the logits of all the text so far. */
  push(stream, fragment) {
    const at = this.#base + ALIGN;
    const logits = aligned(at + this.call("stream_size", this.classifier));
    const text = aligned(logits + 4 * this.classes);
    this.#reserve(text + (isString(fragment) ? 3 : 1) * fragment.length - this.#base);
    this.#bytes.set(stream, at);
    const end = isString(fragment) ? writeString(fragment, this.#bytes, text) : text + fragment.length;
    if (!isString(fragment)) this.#bytes.set(fragment, text);
    const work = aligned(end);
    const status = this.#answered(work, () =>
      this.call("stream_push", this.classifier, at, text, end - text, logits, work, this.#base),
    );
    this.#check(status);
    return {
      stream: this.#used(at),
      logits: new Float32Array(this.#bytes.buffer, logits, this.classes).slice(),
    };
  }

  /** What a stream needs to go on elsewhere. */
  saved(stream) {
    const at = this.#base + ALIGN;
    const out = aligned(at + stream.length);
    this.#reserve(out + stream.length - this.#base);
    this.#bytes.set(stream, at);
    this.#words(this.#base, 1)[0] = stream.length;
    this.#check(this.call("stream_save", this.classifier, at, out, this.#base));
    return this.#bytes.slice(out, out + this.#words(this.#base, 1)[0]);
  }

  #placed(text) {
    const at = this.#base + ALIGN;
    this.#reserve(ALIGN + 3 * text.length);
    return { at, bytes: writeString(text, this.#bytes, at) - at };
  }

  /** Ask with all memory from `work` on, and with more as long as more is wanted. */
  #answered(work, ask) {
    this.#reserve(work + PAGE - this.#base);
    for (;;) {
      const size = this.#bytes.length - work;
      this.#words(this.#base, 1)[0] = size;
      const status = ask();
      if (status !== MEMORY) return status;
      this.#reserve(work + Math.max(this.#words(this.#base, 1)[0], size + PAGE) - this.#base);
    }
  }

  /** See to it that there are so many bytes from `base` on. */
  #reserve(bytes) {
    const { memory } = this.#exports;
    const missing = this.#base + bytes - memory.buffer.byteLength;
    if (missing > 0) {
      try {
        if (this.#base + bytes > LARGEST_MEMORY) throw new RangeError("WebAssembly has 4 GiB of memory");
        memory.grow(Math.ceil(missing / PAGE));
      } catch (error) {
        throw new PocketRNNError(`There is no memory for this: ${error.message}.`, "Shorten the text.", { cause: error });
      }
    }
    if (this.#bytes?.buffer !== memory.buffer) this.#bytes = new Uint8Array(memory.buffer);
  }

  #words(at, count) {
    return new Uint32Array(this.#bytes.buffer, at, count);
  }

  /** Refuse what went wrong; that memory is wanted is right where it is only asked how much. */
  #check(status, asks = false) {
    if (status !== OK && !(asks && status === MEMORY)) throw new EngineError(status, this.sentence(status));
  }
}

/** What the engine says; told to the user by whoever knows what was asked. */
class EngineError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

// ------------------------------------------------------------------------------------------------------ the answers

const isListOf = (value, test) => Array.isArray(value) && value.every(test);
const DOCUMENT = {
  name: (value) => isString(value) && value !== "",
  labels: (value) => isListOf(value, isString) && value.length > 0,
  activation: (value) => value === "softmax" || value === "sigmoid",
  text: (value) => isString(value?.tokenizer),
  graph: (value) => typeof value === "object" && value !== null,
  parity: (value) => Number.isFinite(value?.tolerance) && value.tolerance >= 0,
  examples: (value) =>
    isListOf(value, (e) => isString(e?.text) && isListOf(e.ids, Number.isInteger) && isListOf(e.logits, Number.isFinite)),
};

const areThresholds = ({ thresholds, labels }) =>
  isListOf(thresholds, (one) => Number.isFinite(one) && one >= 0 && one <= 1) && thresholds.length === labels.length;

/** What the file says of itself, held against what its engine reads. */
function documentOf(packed) {
  let document;
  try {
    document = JSON.parse(packed.string("document"));
  } catch (error) {
    throw new BundleError(`The packed file holds no valid document: ${error.message}.`, MAKE_AGAIN);
  }
  if (document?.numbers !== undefined)
    throw new BundleError("The packed file takes sequences of numbers, which native.js does not.", "Answer it from Python or C.");
  const fault =
    Object.keys(DOCUMENT).find((name) => !DOCUMENT[name](document?.[name])) ??
    (document.thresholds === undefined || areThresholds(document) ? undefined : "thresholds");
  if (fault) throw new BundleError(`The packed file holds no valid document: ${fault} is missing or wrong.`, MAKE_AGAIN);
  const { labels, activation, examples } = document;
  if (
    labels.length !== packed.classes ||
    labels.some((label, i) => packed.string("label", i) !== label) ||
    activation !== (packed.call("is_multi_label", packed.classifier) ? "sigmoid" : "softmax") ||
    examples.some(({ logits }) => logits.length !== labels.length)
  )
    throw new BundleError("The packed file contradicts itself: its document is not what its engine reads.", MAKE_AGAIN);
  return document;
}

/** A classifier read from a packed file. Make one with `Classifier.load`. */
export class Classifier {
  #packed;
  #document;

  constructor(packed, document) {
    this.#packed = packed;
    this.#document = document;
  }

  /**
   * Read and check a packed file.
   *
   * @param source its address, or its bytes: an ArrayBuffer, a Uint8Array, a Node Buffer.
   * @param options.wasm where pocketrnn.wasm is, if not beside this module: its address, its bytes, or a WebAssembly.Module.
   * @throws BundleError there is no such file, it is damaged or no packed classifier, or pocketrnn.wasm is missing.
   */
  static async load(source, { wasm } = {}) {
    if (!isAddress(source) && !isBytes(source))
      throw new InputError("A packed file was not given.", "Give the address of a file that `pocketrnn pack` wrote, or its bytes.");
    const what = isBytes(source) ? "The packed file" : String(source);
    const reading = isBytes(source) ? bytesOf(source) : read(source, "Check the address.");
    const compiling = Promise.resolve(engine(wasm));
    compiling.catch(() => undefined); // of two files that are missing, the packed one is told
    const content = await reading;
    const module = await compiling;
    if (content.length > LARGEST_FILE)
      throw new BundleError(`${what} has ${content.length} bytes; the most that it may have is ${LARGEST_FILE}.`, MAKE_AGAIN);
    try {
      const packed = new Packed(await WebAssembly.instantiate(module), content);
      return new Classifier(packed, documentOf(packed));
    } catch (error) {
      if (error instanceof BundleError) throw error;
      throw new BundleError(`${what} cannot be opened: ${error.problem ?? error.message}`, MAKE_AGAIN, { cause: error });
    }
  }

  /** What the classifier is called. */
  get name() {
    return this.#document.name;
  }

  /** The classes, in the order of the logits. */
  get labels() {
    return this.#document.labels;
  }

  /** What classifier.json of the bundle says, but the vocabulary. */
  get manifest() {
    return this.#document;
  }

  /** The token ids of one text; never empty. */
  encode(text) {
    const packed = this.#engine;
    return this.#asked(() => packed.encode(checkedText(text)));
  }

  /** Where the words of a text stand, at which it may be cut: [[start, end], ...] by UTF-16 unit. Of a classifier of
   * characters, its code points. */
  words(text) {
    const places = this.#engine.words(checkedText(text));
    const ends = [];
    let [bytes, units] = [0, 0];
    for (const place of places) {
      for (; bytes < place; units++) {
        const code = text.codePointAt(units);
        bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        units += code > 0xffff;
      }
      ends.push(units);
    }
    return Array.from({ length: ends.length / 2 }, (_, i) => [ends[2 * i], ends[2 * i + 1]]);
  }

  /** Whether the classifier takes this text: one beyond its limits is refused with a LimitError. */
  takes(text) {
    const ids = this.encode(text);
    const { graph, text: rules } = this.#document;
    const hasWord = !graph.limits?.real_token || ids.some((id) => id !== rules.padding_id);
    return ids.length >= this.#engine.least && ids.length <= this.#engine.most && hasWord;
  }

  /** Classify one text: `{ label, probability, top: [{ label, probability }, ...] }`, with the `top` likeliest labels. */
  async classify(text, top = 1) {
    this.#checkTop(top);
    return this.#prediction(this.#logits([checkedText(text)])[0], top);
  }

  #checkTop(top) {
    if (!Number.isInteger(top) || top < 1 || top > this.labels.length)
      throw new InputError(`top is ${top}.`, `Use a whole number from 1 to ${this.labels.length}.`);
  }

  #prediction(logits, top) {
    const probabilities = this.#engine.probabilities(logits);
    const likeliest = this.labels
      .map((_, i) => i)
      .sort((i, j) => logits[j] - logits[i] || i - j)
      .slice(0, top)
      .map((i) => ({ label: this.labels[i], probability: probabilities[i] }));
    return { ...likeliest[0], top: likeliest };
  }

  /** The likeliest label of every text, in the texts' order. */
  async predict(texts) {
    return this.#logits(listed(texts)).map((row) => this.labels[row.indexOf(Math.max(...row))]);
  }

  /** The probabilities of every label for every text: arrays in the order of `labels`. Of a multi-label classifier
   * (activation "sigmoid") they do not add up to 1. */
  async predictProba(texts) {
    return this.#logits(listed(texts)).map((row) => this.#engine.probabilities(row));
  }

  /** For each label the probability from which `predictLabels` gives it; undefined where the file keeps none. */
  get thresholds() {
    return this.#document.thresholds;
  }

  /**
   * Every label of every text that reaches its threshold, in the order of `labels`: what a multi-label classifier is asked
   * for. Where one label is right (activation "softmax"), the likeliest one or none.
   *
   * @param threshold one for all labels; without it those that the file keeps, or else 0.5.
   */
  async predictLabels(texts, threshold) {
    const { activation, thresholds } = this.#document;
    return (await this.predictProba(texts)).map((row) => labelsReached(this.labels, row, activation, threshold ?? thresholds));
  }

  /**
   * The engine's own answers: for every text a Float32Array in the order of `labels`.
   *
   * @throws LimitError a text is beyond the classifier's limits.
   */
  async logits(texts) {
    return this.#logits(listed(texts));
  }

  /**
   * Hold the file against its sha256, and answer its golden examples anew: is everything here as it was where the file was
   * made? Pages from plain http hosts other than localhost cannot compute the sha256: there, the sums of the file tell,
   * which are checked whenever it is opened.
   *
   * @returns the largest difference of a logit, each text alone and all in one call; a text's logits beyond 10 count
   *   relative to a tenth of the largest.
   * @throws BundleError the sha256 does not match.
   * @throws PocketRNNError an example becomes other ids, another label, or logits beyond the classifier's tolerance.
   */
  async verify() {
    await checkDigest(this.#engine.file);
    const { examples, parity } = this.#document;
    const together = this.#logits(examples.map((example) => example.text));
    let largest = 0;
    for (const [i, { text, ids, logits }] of examples.entries()) {
      const fail = (how) => {
        throw new PocketRNNError(
          `${this.name} does not answer its golden example ${JSON.stringify(text.slice(0, 40))} as it did when it was made: ${how}.`,
          "Do not use it in this browser; report the browser and its version.",
        );
      };
      if (this.encode(text).join() !== ids.join()) fail("it becomes other token ids");
      const likeliest = logits.indexOf(Math.max(...logits));
      for (const answer of [together[i], this.#logits([text])[0]]) {
        if (answer.indexOf(Math.max(...answer)) !== likeliest) fail("the label is another one");
        const scale = Math.max(1, Math.max(...logits.map(Math.abs)) / 10);
        const difference = Math.max(...logits.map((logit, k) => Math.abs(answer[k] - logit))) / scale;
        if (!(difference <= parity.tolerance)) fail(`a logit differs by ${difference}`);
        largest = Math.max(largest, difference);
      }
    }
    return largest;
  }

  /**
   * A text that arrives in fragments, answered for after each: `stream.push("Wall St. ")`.
   *
   * @param saved what `stream.save()` gave, here or in another program with the same file, to go on from there.
   * @throws InputError the file was packed of a bundle without streams, or `saved` is damaged or another file's.
   */
  stream(saved) {
    if (saved !== undefined && !isBytes(saved)) throw new InputError("saved is no bytes.", "Give what stream.save() gave.");
    return new Stream({
      saved: saved && bytesOf(saved),
      asked: (ask) => this.#asked(() => ask(this.#engine)),
      checkTop: (top) => this.#checkTop(top),
      prediction: (logits, top) => this.#prediction(logits, top),
      checkFinite: (logits) => this.#checkFinite([logits]),
    });
  }

  /** Give back the engine's memory; no further question can be asked. */
  async release() {
    this.#packed = undefined;
  }

  get #engine() {
    if (!this.#packed) throw new InputError(`${this.name} was released.`, "Load it again.");
    return this.#packed;
  }

  #logits(texts) {
    const packed = this.#engine;
    const rows = [];
    for (let start = 0; start < texts.length; start += AT_ONCE) {
      const some = texts.slice(start, start + AT_ONCE).map(checkedText);
      const { statuses, logits } = this.#asked(() => packed.logits(some));
      const wrong = statuses.findIndex((status) => status !== OK);
      if (wrong >= 0) throw this.#refusal(statuses[wrong], some[wrong], texts.length > 1 ? start + wrong : undefined);
      for (let i = 0; i < some.length; i++) rows.push(logits.slice(i * packed.classes, (i + 1) * packed.classes));
    }
    this.#checkFinite(rows);
    return rows;
  }

  /** A single logit of minus infinity is a probability of 0; NaN, or infinity as the largest one, is none at all. */
  #checkFinite(rows) {
    if (!rows.every((row) => Number.isFinite(Math.max(...row))))
      throw new PocketRNNError(
        `The graph of ${this.name} answered with logits that are NaN or infinite.`,
        "Check the file with: pocketrnn verify",
      );
  }

  #asked(ask) {
    try {
      return ask();
    } catch (error) {
      throw error instanceof EngineError ? this.#failed(error.message, error.status) : error;
    }
  }

  #failed(sentence, status) {
    if (status === NO_STREAM)
      return new InputError(
        `The packed file of ${this.name} cannot answer while a text arrives: it holds no step.`,
        "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
      );
    const whole = "Classify such a text as a whole.";
    const remedy = { [UNDECIDED]: whole, [WAITING]: whole, [SAVED]: "Begin the stream again from its text." }[status];
    if (remedy) return new InputError(sentence, remedy);
    if (status === COSTLY) return this.#tooCostly("The text");
    if (LIMITS.has(status)) return new LimitError(sentence, "Give a text within the limits of the manifest.");
    return new PocketRNNError(`The engine of ${this.name} failed: ${sentence}`, "Check the file with: pocketrnn verify");
  }

  #tooCostly(which) {
    return new LimitError(
      `${which} would take more memory or time of ${this.name} than a file of its size may ask for.`,
      "Shorten it; if short ones are refused too, do not use the file.",
    );
  }

  /** Why a text was refused, whose place is undefined where it is the only one. */
  #refusal(status, text, place) {
    const which = `The text${place === undefined ? "" : ` at position ${place} (counted from 0)`}`;
    if (status === COSTLY) return this.#tooCostly(which);
    if (!LIMITS.has(status)) return this.#failed(this.#engine.sentence(status), status);
    if (status === NO_WORD)
      return new LimitError(
        `${which} holds no known word, and ${this.name} takes none such.`,
        "Give one with a word of its vocabulary.",
      );
    const size = this.encode(text).length;
    const few = status === TOO_SHORT;
    return new LimitError(
      `${which} becomes ${size} token id${size > 1 ? "s" : ""}, ` +
        `but ${this.name} takes ${few ? `at least ${this.#engine.least}` : `at most ${this.#engine.most}`}.`,
      few ? "Give a longer one." : "Shorten it, or export the classifier with max_tokens in its text rules.",
    );
  }
}

// A fragment that ends in the first half of a surrogate pair, whose second half may come with the next.
const BEGUN = /[\ud800-\udbff]$/;

/** A text that arrives in fragments. Make one with `Classifier.stream`. After each fragment the answer is that for all the
 * text so far, at the cost of the new tokens only. Whatever goes wrong leaves a stream as it was. */
export class Stream {
  #classifier;
  #bytes;
  #begun = "";

  constructor({ saved, ...classifier }) {
    this.#classifier = classifier;
    this.#bytes = classifier.asked((packed) => packed.stream(saved));
  }

  /**
   * Read a further fragment and classify all the text so far.
   *
   * @param fragment a string, cut anywhere; or bytes of UTF-8, which may be cut inside of a character.
   * @param top how many of the likeliest labels to give.
   */
  async push(fragment, top = 1) {
    this.#classifier.checkTop(top);
    return this.#classifier.prediction(this.#pushed(fragment), top);
  }

  /** Read a further fragment: the logits of all the text so far, a Float32Array. */
  async logits(fragment) {
    return this.#pushed(fragment);
  }

  /** All that is needed to go on elsewhere, with the same file: some kilobytes, a Uint8Array. It holds the unfinished last
   * word; half of a surrogate pair at its end is saved as a character of its own. */
  save() {
    return this.#classifier.asked((packed) =>
      packed.saved(this.#begun ? packed.push(this.#bytes, this.#begun).stream : this.#bytes),
    );
  }

  /** Forget the text. */
  reset() {
    this.#bytes = this.#classifier.asked((packed) => packed.stream());
    this.#begun = "";
  }

  #pushed(fragment) {
    if (!isString(fragment) && !isBytes(fragment))
      throw new InputError(`A fragment must be a string or bytes, not ${typeof fragment}.`, "Give what has arrived of the text.");
    const whole = isString(fragment) ? this.#begun + fragment : bytesOf(fragment);
    const begun = isString(whole) && BEGUN.test(whole) ? whole.at(-1) : "";
    return this.#classifier.asked((packed) => {
      const before = isString(whole) || !this.#begun ? this.#bytes : packed.push(this.#bytes, this.#begun).stream;
      const after = packed.push(before, begun ? whole.slice(0, -1) : whole);
      const { logits } = begun ? packed.push(after.stream, begun) : after;
      this.#classifier.checkFinite(logits);
      [this.#bytes, this.#begun] = [after.stream, begun];
      return logits;
    });
  }
}

function checkedText(text) {
  if (!isString(text))
    throw new InputError(`A text must be a string, not ${typeof text}.`, "Use predict or predictProba for several texts.");
  return text;
}

function listed(texts) {
  if (isString(texts) || typeof texts?.[Symbol.iterator] !== "function")
    throw new InputError("This takes a list of texts.", "Use classify for one text, or give a list.");
  return Array.from(texts);
}

/** Bytes 32 to 63 of a packed file are its sha256, computed with zeros in bytes 16 to 63. */
async function checkDigest(file) {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle) return;
  const stated = file.slice(32, 64);
  const digest = new Uint8Array(await subtle.digest("SHA-256", file.fill(0, 16, 64)));
  if (digest.some((byte, i) => byte !== stated[i]))
    throw new BundleError("The packed file was changed after it was made: its digest does not match.", MAKE_AGAIN);
}

/** The labels that reach their threshold; where one label is right, at most the likeliest. */
function labelsReached(labels, probabilities, activation, thresholds = 0.5) {
  const likeliest = probabilities.indexOf(Math.max(...probabilities));
  return labels.filter((_, i) => {
    const needed = typeof thresholds === "number" ? thresholds : thresholds[i];
    return probabilities[i] >= needed && (activation === "sigmoid" || i === likeliest);
  });
}

/** The native engine as WebAssembly, with one packed file in its memory, for native.js, numbers.js and pocketrnn.js: the errors,
 * how files are read, and the calls of the C interface, runtime/native/src/pocketrnn.h. */

/** The statuses of the engine. */
export const STATUS = {
  OK: 0,
  MEMORY: 1,
  TOO_SHORT: 7,
  TOO_LONG: 8,
  NOT_FINITE: 10,
  NO_WORD: 12,
  NO_STREAM: 13,
  UNDECIDED: 14,
  SAVED: 15,
  COSTLY: 17,
  WAITING: 19,
  MISSING: 21,
  LARGE: 29,
  PLACES: 31,
  UNKNOWN: 32,
};

// The label of a token that has none.
const NO_LABEL = 2 ** 32 - 1;
const LARGEST_FILE = 2 ** 31 - 1;
const LARGEST_MEMORY = 2 ** 32;
const PAGE = 2 ** 16;
export const ALIGN = 64;
// Given to the engine beyond what it needs, for products of frequent words: up to a quarter less time for a text, for 6 to 12 ms more when
// it is loaded; twice as much gains a tenth for as long again.
const EXTRA = 2 ** 22;
export const MAKE_AGAIN = "Copy the file again from where it was made, or make it again with: pocketrnn pack";
const BUILD = "Build it with scripts/build_web.";

/** The base of all errors of this module: `problem` is a sentence that says what is wrong, `remedy` one that says what to do. */
export class PocketRNNError extends Error {
  constructor(problem, remedy, options) {
    super(`${problem} ${remedy}`, options);
    this.name = new.target.name;
    this.problem = problem;
    this.remedy = remedy;
  }
}
/** An argument cannot be used. */
export class InputError extends PocketRNNError {}
/** A text has fewer or more tokens than the classifier takes, or no known word although it needs one (`limits` of `graph` in its
 * manifest). */
export class LimitError extends InputError {}
/** A packed file is missing, damaged, of another format or inconsistent. */
export class BundleError extends InputError {}

export const isString = (value) => typeof value === "string";
const isAddress = (value) => isString(value) || value instanceof URL;
export const alignUp = (bytes) => Math.ceil(bytes / ALIGN) * ALIGN;

// ------------------------------------------------------------------------------------------------ strings and UTF-8

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
// With the flag u, a pair is one code point and not found here.
const HALF = /[\ud800-\udfff]/u;

/** Write a string as UTF-8 from `at` on, with room for three bytes a unit; returns where it ends. Half of a surrogate pair is
 * encoded as if it were a character, as in the packed file's own strings; TextEncoder would replace it. */
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

/** The string of UTF-8 bytes; halves of surrogate pairs are kept. */
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

/** The bytes at an address: over http, or in Node of a file. */
async function read(address, remedy) {
  const url = await resolveAddress(address);
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

/** Resolve an address as a URL: relative to the page, or in Node to the current folder. */
async function resolveAddress(address) {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (base !== undefined || !globalThis.process?.versions?.node) return new URL(address, base);
  const { pathToFileURL } = await import("node:url");
  return new URL(address, pathToFileURL(`${process.cwd()}/`));
}

export const viewBytes = (content) => new Uint8Array(content.buffer ?? content, content.byteOffset ?? 0, content.byteLength);
export const isBytes = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

// A module that puts a number into every lane of a vector: whether it is valid says whether there is SIMD.
const HAS_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
// Written out: bundlers such as Vite look for this very form, and take the files along.
const WITH_SIMD = new URL("./pocketrnn.wasm", import.meta.url);
const PLAIN = new URL("./pocketrnn-plain.wasm", import.meta.url);
const compiled = new Map();

/** The engine's WebAssembly module, compiled once for all classifiers of a page. */
function compileEngine(wasm) {
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
    throw new BundleError(`${name} is not WebAssembly: ${error.message}.`, BUILD, { cause: error });
  }
}

/** An engine with one packed file in its memory: first the file, then what the engine makes of it, and from `base` on the memory
 * for calls. Its first 64 bytes hold the numbers of the interface; the rest belongs to the caller. */
export class Packed {
  #exports;
  #stack;
  #file;
  base;
  bytes;

  constructor(instance, content) {
    this.#exports = instance.exports;
    this.#stack = this.#exports.__stack_pointer.value;
    const file = alignUp(this.#exports.__heap_base.value);
    const slots = alignUp(file + content.length);
    this.base = slots;
    this.reserve(2 * ALIGN);
    this.bytes.set(content, file);
    this.#file = [file, content.length];
    this.wordsAt(slots, 2).set([0, 0]);
    this.check(this.call("open", slots, file, content.length, 0, slots + 4), true);
    const size = this.wordsAt(slots + 4, 1)[0] + EXTRA;
    const memory = slots + ALIGN;
    this.base = alignUp(memory + size);
    this.reserve(ALIGN);
    this.wordsAt(slots + 4, 1)[0] = size;
    this.check(this.call("open", slots, file, content.length, memory, slots + 4));
    this.classifier = this.wordsAt(slots, 1)[0];
    this.classes = this.call("classes", this.classifier);
    this.channels = this.call("channels", this.classifier);
    this.call("limits", this.classifier, this.base, this.base + 4, this.base + 8);
    [this.least, this.most, this.ids] = this.wordsAt(this.base, 3);
    this.takesPairs = this.call("takes_pairs", this.classifier) === 1;
    this.features = Array.from({ length: this.call("features", this.classifier) }, (_, i) => this.#feature(i));
  }

  #feature(index) {
    const at = this.call("feature", this.classifier, index, this.base + 4, this.base) >>> 0;
    const [bytes, isCategory] = this.wordsAt(this.base, 2);
    return { name: readString(this.bytes.subarray(at, at + bytes)), isCategory: isCategory === 1 };
  }

  /** A copy of the file's bytes. */
  get file() {
    const [start, size] = this.#file;
    return this.bytes.slice(start, start + size);
  }

  /** Call a function of the engine. If it traps, which only a file made for that brings about, its stack is reset for the next
   * call. */
  call(name, ...values) {
    try {
      return this.#exports[`prnn_${name}`](...values);
    } catch (error) {
      this.#exports.__stack_pointer.value = this.#stack;
      throw new PocketRNNError(`The engine was stopped: ${error.message}.`, MAKE_AGAIN, { cause: error });
    }
  }

  /** The engine's sentence for a status. */
  sentence(status) {
    const start = this.call("error", status) >>> 0;
    return readString(this.bytes.subarray(start, this.bytes.indexOf(0, start)));
  }

  /** The string that a function of the engine points to; undefined if there is none. */
  string(name, ...values) {
    const start = this.call(name, this.classifier, ...values, this.base) >>> 0;
    if (start === 0) return undefined;
    return readString(this.bytes.subarray(start, start + this.wordsAt(this.base, 1)[0]));
  }

  /** The ids of a text. */
  encode(text) {
    const { end, given } = this.#writeText(text);
    return this.#ids(alignUp(end), "encode", ...given);
  }

  /** The ids of a text that is given as a list of its tokens. */
  encodeTokens(tokens) {
    const { end, given } = this.#writeTokens(tokens);
    return this.#ids(alignUp(end), "encode_tokens", ...given);
  }

  #ids(work, name, ...given) {
    const { start, count } = this.#callForArray(work, name, ...given);
    return Array.from(new Int32Array(this.bytes.buffer, start, count));
  }

  /** The tags of a text, or of a list of its tokens: for each token its place, in bytes or tokens, the number of its label
   * (undefined if it has none), and its probability. */
  tags(given) {
    const { end, given: placed } = isString(given) ? this.#writeText(given) : this.#writeTokens(given);
    const { start, count } = this.#callForArray(alignUp(end), isString(given) ? "tag" : "tag_tokens", ...placed);
    const probabilities = new Float32Array(this.bytes.buffer, start, 4 * count);
    return Array.from({ length: count }, (_, i) => {
      const [from, to, label] = this.wordsAt(start + 16 * i, 3);
      return { start: from, end: to, label: label === NO_LABEL ? undefined : label, probability: probabilities[4 * i + 3] };
    });
  }

  /** The logits of each id, as an array of rows, if each token has a label. */
  tokenLogits(ids) {
    const { classes } = this;
    const given = this.base + ALIGN;
    const logits = alignUp(given + 4 * ids.length);
    const work = alignUp(logits + 4 * classes * ids.length);
    this.reserve(work - this.base);
    this.wordsAt(given, ids.length).set(ids);
    this.check(this.callWithMemory(work, () => this.call("token_logits", this.classifier, given, ids.length, logits, work, this.base)));
    return ids.map((_, i) => new Float32Array(this.bytes.buffer, logits + 4 * classes * i, classes).slice());
  }

  /** Call a function of the engine that makes an array: where the array is, and how many elements it has. */
  #callForArray(work, name, ...given) {
    const status = this.callWithMemory(work, () =>
      this.call(name, this.classifier, ...given, this.base + 4, this.base + 8, work, this.base),
    );
    this.check(status);
    const [, start, count] = this.wordsAt(this.base, 3);
    return { start, count };
  }

  /** Whether the rules can make these ids from any text: a status. */
  checkIds(ids) {
    this.reserve(ALIGN + 4 * ids.length);
    this.wordsAt(this.base, ids.length).set(ids);
    return this.call("check_ids", this.classifier, this.base, ids.length);
  }

  /** The number that the program gets for a feature, given as a number or as the string of a category; or the status that
   * refuses it. */
  encodeFeature(index, value) {
    const { at, bytes } = this.#writeAfterHead(isString(value) ? value : "");
    const status = isString(value)
      ? this.call("feature_of_category", this.classifier, index, at, bytes, this.base)
      : this.call("feature_of_number", this.classifier, index, value, this.base);
    return { status, number: new Float32Array(this.bytes.buffer, this.base, 1)[0] };
  }

  /** The logits of a text with a second text, or with a number for each feature; or the status that refuses it. */
  logitsBeside(text, beside) {
    const { classes } = this;
    const logits = this.base + ALIGN;
    const numbers = alignUp(logits + 4 * classes);
    const at = alignUp(numbers + (isString(beside) ? 0 : 4 * beside.length));
    this.reserve(at + 3 * (text.length + beside.length) - this.base);
    const end = writeString(text, this.bytes, at);
    const last = isString(beside) ? writeString(beside, this.bytes, end) : end;
    if (last === end && !isString(beside)) new Float32Array(this.bytes.buffer, numbers, beside.length).set(beside);
    const [name, ...given] = isString(beside) ? ["classify_pair", end, last - end] : ["classify_with", numbers];
    const work = alignUp(last);
    const status = this.callWithMemory(work, () => this.call(name, this.classifier, at, end - at, ...given, logits, work, this.base));
    return { status, logits: new Float32Array(this.bytes.buffer, logits, classes).slice() };
  }

  /** The heads; a classifier with one set of labels has one, without a name. */
  heads() {
    const found = [];
    for (let i = 0; this.call("head", this.classifier, i, this.base); i++) {
      const [at, bytes, first, labels, isMultiLabel] = this.wordsAt(this.base, 5);
      found.push({ name: at ? readString(this.bytes.subarray(at, at + bytes)) : undefined, first, labels, isMultiLabel: isMultiLabel === 1 });
    }
    return found;
  }

  /** Whether the vocabulary has a token. */
  holds(token) {
    for (let id = 0, one; (one = this.string("token", id)) !== undefined; id++) if (one === token) return true;
    return false;
  }

  /** Where the words of a text are: the bytes where each begins and ends, in turn. */
  words(text) {
    const { at, bytes } = this.#writeAfterHead(text);
    const places = alignUp(at + bytes);
    this.reserve(places + 8 * bytes - this.base);
    return this.wordsAt(places, 2 * this.call("words", this.classifier, at, bytes, places)).slice();
  }

  /** A status for each of several texts, and their logits one after the other. */
  logits(texts) {
    const { classes } = this;
    const structs = this.base + ALIGN;
    const logits = alignUp(structs + 16 * texts.length);
    let at = alignUp(logits + 4 * classes * texts.length);
    this.reserve(at + texts.reduce((sum, text) => sum + 3 * text.length, 0) - this.base);
    texts.forEach((text, i) => {
      const end = writeString(text, this.bytes, at);
      this.wordsAt(structs + 16 * i, 4).set([at, end - at, logits + 4 * classes * i, 0]);
      at = end;
    });
    const work = alignUp(at);
    this.wordsAt(this.base + 4, 1)[0] = 0; // how many are done
    const status = this.callWithMemory(work, () =>
      this.call("classify_many", this.classifier, structs, texts.length, this.base + 4, work, this.base),
    );
    this.check(status);
    const statuses = texts.map((_, i) => this.wordsAt(structs + 16 * i + 12, 1)[0]);
    return { statuses, logits: new Float32Array(this.bytes.buffer, logits, classes * texts.length).slice() };
  }

  /** The probabilities of one row of logits, or of a head's, which begin at `first`; undefined if they are not finite. */
  probabilities(logits, first = 0) {
    this.reserve(ALIGN + 4 * this.classes);
    const row = new Float32Array(this.bytes.buffer, this.base, this.classes);
    row.fill(0).set(logits, first);
    const status = this.call("probabilities", this.classifier, this.base, this.base);
    if (status === STATUS.NOT_FINITE) return undefined;
    this.check(status);
    return Array.from(row.subarray(first, first + logits.length));
  }

  /** The bytes of a stream before its first fragment, or of a saved one. They hold no pointer, and between two calls they are
   * kept outside of the engine's memory, so nothing needs to be freed. */
  stream(saved) {
    const size = this.call("stream_size", this.classifier);
    if (size === 0) throw new EngineError(STATUS.NO_STREAM, this.sentence(STATUS.NO_STREAM));
    const at = this.base + ALIGN;
    const given = alignUp(at + size);
    this.reserve(given + (saved?.length ?? 0) - this.base);
    this.wordsAt(this.base, 2).set([size, 0]);
    this.check(this.call("stream_open", this.classifier, this.base + 4, at, this.base));
    if (saved) {
      this.bytes.set(saved, given);
      this.check(this.call("stream_resume", this.classifier, at, given, saved.length));
    }
    return this.copyStream(at);
  }

  /** A copy of the bytes that a stream in the engine's memory uses; their count is its second word. */
  copyStream(at) {
    return this.bytes.slice(at, at + this.wordsAt(at, 2)[1]);
  }

  /** Read a further fragment, a string or UTF-8: returns the stream after it, and the logits of all the text so far. */
  push(stream, fragment) {
    const at = this.base + ALIGN;
    const logits = alignUp(at + this.call("stream_size", this.classifier));
    const text = alignUp(logits + 4 * this.classes);
    this.reserve(text + (isString(fragment) ? 3 : 1) * fragment.length - this.base);
    this.bytes.set(stream, at);
    const end = isString(fragment) ? writeString(fragment, this.bytes, text) : text + fragment.length;
    if (!isString(fragment)) this.bytes.set(fragment, text);
    const work = alignUp(end);
    const status = this.callWithMemory(work, () =>
      this.call("stream_push", this.classifier, at, text, end - text, logits, work, this.base),
    );
    this.check(status);
    return {
      stream: this.copyStream(at),
      logits: new Float32Array(this.bytes.buffer, logits, this.classes).slice(),
    };
  }

  /** The bytes from which a stream goes on elsewhere. */
  saved(stream) {
    const at = this.base + ALIGN;
    const out = alignUp(at + stream.length);
    this.reserve(out + stream.length - this.base);
    this.bytes.set(stream, at);
    this.wordsAt(this.base, 1)[0] = stream.length;
    this.check(this.call("stream_save", this.classifier, at, out, this.base));
    return this.bytes.slice(out, out + this.wordsAt(this.base, 1)[0]);
  }

  #writeAfterHead(text) {
    const at = this.base + ALIGN;
    this.reserve(ALIGN + 3 * text.length);
    return { at, bytes: writeString(text, this.bytes, at) - at };
  }

  #writeText(text) {
    const { at, bytes } = this.#writeAfterHead(text);
    return { end: at + bytes, given: [at, bytes] };
  }

  #writeTokens(tokens) {
    const ends = this.base + ALIGN;
    const at = alignUp(ends + 4 * tokens.length);
    this.reserve(at + tokens.reduce((sum, token) => sum + 3 * token.length, 0) - this.base);
    let end = at;
    tokens.forEach((token, i) => {
      end = writeString(token, this.bytes, end);
      this.wordsAt(ends + 4 * i, 1)[0] = end - at;
    });
    return { end, given: [at, ends, tokens.length] };
  }

  /** Call a function with all memory from `work` on, and with more for as long as it asks for more. */
  callWithMemory(work, ask) {
    this.reserve(work + PAGE - this.base);
    for (;;) {
      const size = this.bytes.length - work;
      this.wordsAt(this.base, 1)[0] = size;
      const status = ask();
      if (status !== STATUS.MEMORY) return status;
      this.reserve(work + Math.max(this.wordsAt(this.base, 1)[0], size + PAGE) - this.base);
    }
  }

  /** Make sure that there are `bytes` bytes from `base` on. */
  reserve(bytes) {
    const { memory } = this.#exports;
    const missing = this.base + bytes - memory.buffer.byteLength;
    if (missing > 0) {
      try {
        if (this.base + bytes > LARGEST_MEMORY) throw new RangeError("WebAssembly has 4 GiB of memory");
        memory.grow(Math.ceil(missing / PAGE));
      } catch (error) {
        throw new PocketRNNError(`There is no memory for this: ${error.message}.`, "Give less at once.", { cause: error });
      }
    }
    if (this.bytes?.buffer !== memory.buffer) this.bytes = new Uint8Array(memory.buffer);
  }

  wordsAt(at, count) {
    return new Uint32Array(this.bytes.buffer, at, count);
  }

  /** Throw the error of a status. If the call only asks for a size, the status for missing memory is no error. */
  check(status, asks = false) {
    if (status !== STATUS.OK && !(asks && status === STATUS.MEMORY)) throw new EngineError(status, this.sentence(status));
  }
}

/**
 * Read a packed file into an engine of its own.
 *
 * @param source its address, or its bytes.
 * @param wasm where pocketrnn.wasm is, if not beside this module.
 * @param make what is made of the open file.
 */
export async function openPacked(source, wasm, make) {
  if (!isAddress(source) && !isBytes(source))
    throw new InputError("A packed file was not given.", "Give the address of a file that `pocketrnn pack` wrote, or its bytes.");
  const what = isBytes(source) ? "The packed file" : String(source);
  const reading = isBytes(source) ? viewBytes(source) : read(source, "Check the address.");
  const compiling = Promise.resolve(compileEngine(wasm));
  compiling.catch(() => undefined); // of two files that are missing, the packed one is told
  const content = await reading;
  const module = await compiling;
  if (content.length > LARGEST_FILE)
    throw new BundleError(`${what} has ${content.length} bytes, but at most ${LARGEST_FILE} are allowed.`, MAKE_AGAIN);
  try {
    return await make(new Packed(await WebAssembly.instantiate(module), content));
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`${what} cannot be opened: ${error.problem ?? error.message}`, MAKE_AGAIN, { cause: error });
  }
}

/** Check the sha256 of a packed file, bytes 32 to 63, which is computed with zeros in bytes 16 to 63. */
export async function checkDigest(file) {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle) return;
  const stated = file.slice(32, 64);
  const digest = new Uint8Array(await subtle.digest("SHA-256", file.fill(0, 16, 64)));
  if (digest.some((byte, i) => byte !== stated[i]))
    throw new BundleError("The packed file was changed after it was made: its digest does not match.", MAKE_AGAIN);
}

/** A status of the engine as an error; a caller that knows what was given turns it into a message for the user. */
export class EngineError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

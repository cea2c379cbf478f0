/**
 * pocketrnn in a browser: reads the bundle that the Python runtime reads, and gives the same answers.
 *
 *     import * as ort from "./ort/ort.wasm.bundle.min.mjs";
 *     import { Classifier } from "./pocketrnn.js";
 *     const classifier = await Classifier.load("bundle/", { ort });
 *     await classifier.classify("Wall St. Bears Claw Back");      // { label, probability, top: [{ label, probability }] }
 *
 * One file, no build step, no request but for the bundle's two files. onnxruntime-web is handed in, so that the page
 * decides where it comes from. The format is docs/format.md; runtime/pocketrnn/ is the same in Python.
 */

const FORMAT = "pocketrnn-classifier";
const VERSION = 1;
const CLASSIFIER_JSON = "classifier.json";
// Bytes that a file may have. The graph's limit is protobuf's.
const LARGEST_JSON = 2 ** 27;
const LARGEST_GRAPH = 2 ** 31 - 1;
const MAKE_AGAIN = "Copy the bundle again from where it was made, or export it again.";

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
/** A text has fewer or more tokens than the graph takes, or no known word where it needs one (`limits` of `graph` in
 * classifier.json). */
export class LimitError extends InputError {}
/** A bundle is missing, damaged, of another format or inconsistent with itself. */
export class BundleError extends InputError {}

// ---------------------------------------------------------------------------------------------- text -> token ids

// What Python's str.split() splits at (25 code points). JavaScript's \s lacks U+001C-U+001F and U+0085, and has U+FEFF.
const WHITE_SPACE = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WORD = new RegExp(`[^${WHITE_SPACE}]+`, "g");

// The format lower-cases by Unicode 14.0, which Python 3.11 has; browsers have later versions and differ among themselves.
// These 305 code points came after 14.0 (up to 17.0) and are cased or case-ignorable; for the format they are neither.
// 55 of them are capitals. tests/web/test_web_text_rules.py holds the list against Python, code point by code point.
const NEWER =
  "\\u0897\\u0ece\\u1acf-\\u1add\\u1ae0-\\u1aeb\\u1c89\\u1c8a\\ua7cb-\\ua7cf\\ua7d2\\ua7d4\\ua7da-\\ua7dc\\ua7f1" +
  "\\u{10d4e}\\u{10d50}-\\u{10d65}\\u{10d69}-\\u{10d6d}\\u{10d6f}-\\u{10d85}\\u{10ec5}\\u{10efa}-\\u{10eff}\\u{11241}" +
  "\\u{113bb}-\\u{113c0}\\u{113ce}\\u{113d0}\\u{113d2}\\u{113e1}\\u{113e2}\\u{11b60}\\u{11b62}-\\u{11b64}\\u{11b66}" +
  "\\u{11dd9}\\u{11f00}\\u{11f01}\\u{11f36}-\\u{11f3a}\\u{11f40}\\u{11f42}\\u{11f5a}\\u{13439}-\\u{13440}" +
  "\\u{13447}-\\u{13455}\\u{1611e}-\\u{16129}\\u{1612d}-\\u{1612f}\\u{16d40}-\\u{16d42}\\u{16d6b}\\u{16d6c}" +
  "\\u{16ea0}-\\u{16eb8}\\u{16ebb}-\\u{16ed3}\\u{16ff2}\\u{16ff3}\\u{1df25}-\\u{1df2a}\\u{1e030}-\\u{1e06d}\\u{1e08f}" +
  "\\u{1e4eb}-\\u{1e4ef}\\u{1e5ee}\\u{1e5ef}\\u{1e6e3}\\u{1e6e6}\\u{1e6ee}\\u{1e6ef}\\u{1e6f5}\\u{1e6ff}";
const IS_NEWER = new RegExp(`[${NEWER}]`, "u");
const AROUND_NEWER = new RegExp(`([${NEWER}]+)`, "u");
// Two code points that were there in 14.0 have changed since: U+0295 was cased, U+1171E case-ignorable.
const CASED = /[\p{Cased}\u0295]/u;
const CASE_IGNORABLE = /[\p{Case_Ignorable}\u{1171e}]/u;
const ASCII = /^[\0-\x7f]*$/;

/** Lower case as the format defines it: Unicode 14.0's full mapping, with the rule for a final sigma. */
export function lowerCase(text) {
  if (ASCII.test(text)) return text.toLowerCase();
  const sigmaless = text.includes("\u03a3") ? withoutCapitalSigma(text) : text;
  if (!IS_NEWER.test(sigmaless)) return sigmaless.toLowerCase();
  return sigmaless
    .split(AROUND_NEWER)
    .map((part, i) => (i % 2 ? part : part.toLowerCase()))
    .join("");
}

/** Every capital sigma lower-cased: to a final one where a cased letter stands before and none after, case-ignorable
 * code points not counted. The engine's own rule would look at its own Unicode version. */
function withoutCapitalSigma(text) {
  const points = [...text];
  const isCasedFrom = (i, step) => {
    while (i >= 0 && i < points.length && !IS_NEWER.test(points[i]) && CASE_IGNORABLE.test(points[i])) i += step;
    return i >= 0 && i < points.length && !IS_NEWER.test(points[i]) && CASED.test(points[i]);
  };
  return points
    .map((point, i) => (point !== "\u03a3" ? point : isCasedFrom(i - 1, -1) && !isCasedFrom(i + 1, 1) ? "ς" : "σ"))
    .join("");
}

/** The words of a text, cut at the format's white space. */
export const words = (text) => text.match(WORD) ?? [];

// Of lower-cased text.
const basicEnglish = (text) =>
  words(
    text
      .replaceAll("'", " '  ")
      .replaceAll('"', "")
      .replaceAll(".", " . ")
      .replaceAll("<br />", " ")
      .replaceAll(",", " , ")
      .replaceAll("(", " ( ")
      .replaceAll(")", " ) ")
      .replaceAll("!", " ! ")
      .replaceAll("?", " ? ")
      .replaceAll(";", " ")
      .replaceAll(":", " "),
  );

// Strings here are UTF-16. Spreading one gives code points, and half a surrogate pair by itself, as Python does.
const TOKENIZERS = {
  basic_english: basicEnglish,
  whitespace: words,
  characters: (text) => [...text],
  space: (text) => text.split(" "),
};
// The tokenizer of a bundle whose texts are split outside of it: it is given tokens or ids.
const EXTERNAL = "external";

/** What a step of the text rules does to a text. */
function stepFunction({ replace, keep, by }) {
  // As a function, since replaceAll would read "$&" in a string as what was found.
  if (replace !== undefined) return (text) => text.replaceAll(replace, () => by);
  if (keep === undefined) return lowerCase;
  const ranges = keep.map((range) => [range.codePointAt(0), [...range].at(-1).codePointAt(0)]);
  const isKept = (code) => ranges.some(([first, last]) => first <= code && code <= last);
  const ascii = Array.from({ length: 128 }, (_, code) => isKept(code));
  return (text) => {
    let kept = "";
    for (const point of text) {
      const code = point.codePointAt(0);
      kept += (ascii[code] ?? isKept(code)) ? point : by;
    }
    return kept;
  };
}

/** At most so many items, cut off on a side. */
const cut = (items, most, side) => (side === "left" ? items.slice(-most) : items.slice(0, most));

/** Turns texts into token ids by the text rules (`text` in classifier.json) and one vocabulary. */
export class TextEncoding {
  #tokenize;
  #steps;
  #stopWords;
  #ids;

  constructor(rules, vocabulary) {
    this.rules = rules;
    this.#tokenize = TOKENIZERS[rules.tokenizer];
    this.#steps = (rules.steps ?? []).map(stepFunction);
    this.#stopWords = new Set(rules.stop_words);
    this.#ids = new Map(vocabulary.map((token, id) => [token, id]));
  }

  /** The tokens of `text`, n-grams included, before the vocabulary is asked. */
  tokens(text) {
    let cleaned = this.rules.lowercase ? lowerCase(text) : text;
    for (const step of this.#steps) cleaned = step(cleaned);
    return this.#counted(this.#tokenize(cleaned));
  }

  #counted(tokens) {
    const { ngrams, max_tokens, cut_side } = this.rules;
    if (this.#stopWords.size) tokens = tokens.filter((token) => !this.#stopWords.has(token));
    if (max_tokens !== null) tokens = cut(tokens, max_tokens, cut_side);
    const single = tokens.length;
    for (let n = 2; n <= Math.min(ngrams, single); n++)
      for (let i = 0; i + n <= single; i++) tokens.push(tokens.slice(i, i + n).join(" "));
    return tokens;
  }

  /** The token ids of `text`; never empty. */
  encode(text) {
    return this.#whole(this.tokens(text));
  }

  /** The token ids of a text that is split already, of its tokens; never empty. */
  encodeTokens(tokens) {
    return this.#whole(this.#counted([...tokens]));
  }

  /** Whether the vocabulary has a token. */
  holds(token) {
    return this.#ids.has(token);
  }

  /** Why the rules give these ids for no text, as the end of a sentence; else undefined. As TextRules.fault_of. */
  faultOf(ids) {
    const { ngrams, max_tokens, padding_id, first_id, last_id, max_width, min_width, cut_side, pad_side } = this.rules;
    const least = min_width ?? 1;
    let most = max_width ?? Infinity;
    if (max_tokens !== null) {
      let tokens = (first_id !== undefined) + (last_id !== undefined);
      for (let n = 0; n < ngrams; n++) tokens += Math.max(0, max_tokens - n);
      most = Math.min(most, Math.max(tokens, least));
    }
    if (ids.length < least) return `has ${ids.length} ids, and the rules fill every text up to ${least}`;
    if (ids.length > most) return `has ${ids.length} ids, and the rules cut every text to ${most}`;
    const cutSide = ids.length === max_width ? (cut_side ?? "right") : undefined;
    let [start, end] = [0, ids.length];
    if (min_width !== undefined && pad_side === "left") while (start < end && ids[start] === padding_id) start++;
    else if (min_width !== undefined) while (start < end && ids[end - 1] === padding_id) end--;
    const inside = ids.slice(start, end);
    if (first_id !== undefined && first_id !== padding_id && cutSide !== "left" && inside[0] !== first_id)
      return `does not begin with the id ${first_id}, with which the rules begin every text`;
    if (last_id !== undefined && last_id !== padding_id && cutSide !== "right" && inside.at(-1) !== last_id)
      return `does not end with the id ${last_id}, with which the rules end every text`;
    return undefined;
  }

  #whole(tokens) {
    const { unknown_id, empty_id, padding_id, first_id, last_id, max_width, min_width = 0, cut_side, pad_side } = this.rules;
    let ids = first_id === undefined ? [] : [first_id];
    for (const token of tokens) {
      const id = this.#ids.get(token) ?? unknown_id;
      if (id !== null) ids.push(id);
    }
    if (last_id !== undefined) ids.push(last_id);
    if (max_width !== undefined) ids = cut(ids, max_width, cut_side);
    if (ids.length < min_width) {
      const padding = new Array(min_width - ids.length).fill(padding_id);
      ids = pad_side === "left" ? padding.concat(ids) : ids.concat(padding);
    }
    return ids.length ? ids : [empty_id];
  }
}

// ------------------------------------------------------------------------------------ the bundle, read and checked

/** sha256 in hexadecimal digits. Pages from plain http hosts other than localhost have no crypto.subtle. The check is
 * then not left out but made by the function below: 5 MB take 0.2 s. */
async function sha256(bytes) {
  const subtle = globalThis.crypto?.subtle;
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", bytes)) : sha256InJavaScript(bytes);
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256 as FIPS 180-4 has it. Its constants are the first 32 bits of the fractional parts of the square roots of the
 * first 8 primes and of the cube roots of the first 64; a double gives all of these exactly. */
export function sha256InJavaScript(bytes) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (x) => ((x % 1) * 2 ** 32) | 0;
  const constants = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
  const state = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
  const padded = new Uint8Array(((bytes.length + 8) >> 6 << 6) + 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  const rotated = (x, n) => (x >>> n) | (x << (32 - n));
  const w = new Int32Array(64);
  for (let start = 0; start < padded.length; start += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(start + 4 * i);
    for (let i = 16; i < 64; i++) {
      const s0 = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i]) | 0;
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] += value));
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((value, i) => digest.setInt32(4 * i, value));
  return new Uint8Array(digest.buffer);
}

const tooLarge = (name, size, largest) =>
  new BundleError(`${name} has ${size} bytes; the most that such a file may have is ${largest}.`, MAKE_AGAIN);

/** A function that gives the bytes of a file of the bundle by its name. */
function filesOf(source) {
  if (typeof source !== "string" && !(source instanceof URL))
    return async (name) => {
      const content = source?.[name];
      if (content === undefined)
        throw new BundleError(`${name} was not given.`, `Give a bundle's folder, or { "${CLASSIFIER_JSON}": bytes, ... }.`);
      return new Uint8Array(content.buffer ?? content, content.byteOffset ?? 0, content.byteLength);
    };
  const folder = new URL(String(source).replace(/\/?$/, "/"), globalThis.document?.baseURI ?? globalThis.location?.href);
  return async (name, largest) => {
    const url = new URL(name, folder);
    let response;
    try {
      // Asked again each time: an old graph from the cache beside a new classifier.json would be refused.
      response = await fetch(url, { cache: "no-cache" });
    } catch (error) {
      throw new BundleError(`${url} cannot be read: ${error.message}.`, "Check the address.", { cause: error });
    }
    if (!response.ok) throw new BundleError(`${url} cannot be read: status ${response.status}.`, "Check the address.");
    const size = Number(response.headers.get("content-length"));
    if (size > largest) throw tooLarge(url, size, largest);
    return new Uint8Array(await response.arrayBuffer());
  };
}

const JSON_TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|[{}[\],]/g;

/** Refuses JSON that other readers may read differently: a member that stands twice in an object, of which JSON.parse takes
 * the last, and a number that no double can hold, which it takes for infinity. */
function checkTokens(text) {
  const open = [];
  for (const [token] of text.matchAll(JSON_TOKEN)) {
    const object = open.at(-1);
    if (token === "{") open.push({ names: new Set(), isName: true });
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ",") {
      if (object) object.isName = true;
    } else if (token[0] !== '"') {
      if (!Number.isFinite(Number(token))) throw new Error(`${token.slice(0, 40)} is too large a number`);
    } else if (object?.isName) {
      const name = JSON.parse(token);
      if (object.names.has(name)) throw new Error(`the member ${token.slice(0, 60)} stands twice in one object`);
      object.names.add(name);
      object.isName = false;
    }
  }
}

async function readClassifierJson(bytes) {
  let document;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    document = JSON.parse(text);
    checkTokens(text);
  } catch (error) {
    throw new BundleError(`${CLASSIFIER_JSON} is not JSON: ${error.message}.`, MAKE_AGAIN);
  }
  if (document?.format !== FORMAT)
    throw new BundleError(`${CLASSIFIER_JSON} is not a ${FORMAT} file.`, "Give the folder that `pocketrnn export` wrote.");
  if (Number.isInteger(document.version) && document.version !== VERSION)
    throw new BundleError(
      `${CLASSIFIER_JSON} was made by another release: it is of version ${document.version} of the format, ` +
        `and this pocketrnn.js reads version ${VERSION}.`,
      "Export the bundle again with the pocketrnn of this release.",
    );
  if (document.numbers !== undefined)
    throw new BundleError(
      `${CLASSIFIER_JSON} is of a classifier of sequences of numbers, not of texts.`,
      "Pack the bundle with `pocketrnn pack`; native.js reads that file.",
    );
  if (document.text?.tokenizer === "subwords")
    throw new BundleError(
      `${CLASSIFIER_JSON} cuts texts into subwords, which pocketrnn.js does not.`,
      "Pack the bundle with `pocketrnn pack`; native.js reads that file.",
    );
  const fault = faultOf(document);
  if (fault) throw new BundleError(`${CLASSIFIER_JSON} is not valid: ${fault}.`, MAKE_AGAIN);
  await checkDigest(bytes, document.digest);
  return document;
}

async function checkDigest(bytes, digest) {
  // One character a byte, so that places in the string are places in the file.
  const file = new TextDecoder("latin1").decode(bytes);
  const stated = /"digest": *"([0-9a-f]{64})"[\t-\r ]*\}[\t-\r ]*$/.exec(file);
  if (stated?.[1] !== digest) throw new BundleError(`${CLASSIFIER_JSON} does not end with its digest.`, MAKE_AGAIN);
  const start = stated.index + stated[0].indexOf(digest);
  const zeroed = bytes.slice().fill(0x30, start, start + 64);
  if ((await sha256(zeroed)) !== digest)
    throw new BundleError(`${CLASSIFIER_JSON} was changed after it was made: its digest does not match.`, MAKE_AGAIN);
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isInteger = (value, least, most = 2 ** 31 - 1) => Number.isInteger(value) && value >= least && value <= most;
const isString = (value) => typeof value === "string";
const isDigest = (value) => isString(value) && /^[0-9a-f]{64}$/.test(value);
const isFile = (value) => isString(value) && /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(value);
const isListOf = (value, least, test) => Array.isArray(value) && value.length >= least && value.every(test);
const isSetOf = (value, least, test) => isListOf(value, least, test) && new Set(value).size === value.length;

const MEMBERS = {
  format: isString,
  version: (value) => value === VERSION,
  name: (value) => isString(value) && value !== "" && [...value].length <= 200,
  labels: (value) => isSetOf(value, 2, (label) => isString(label) && label !== "") && value.length <= 2 ** 20,
  activation: (value) => value === "softmax" || value === "sigmoid",
  text: isObject,
  graph: isObject,
  examples: (value) =>
    isListOf(
      value,
      1,
      (example) =>
        isString(example?.text) &&
        isListOf(example.ids, 1, (id) => isInteger(id, 0)) &&
        isListOf(example.logits, 2, Number.isFinite),
    ),
  parity: (value) => isObject(value) && Number.isFinite(value.tolerance) && value.tolerance >= 0,
  provenance: isObject,
  vocabulary: (value) => isSetOf(value, 1, isString),
  digest: isDigest,
};
// May be missing. The step graph of a bundle that can answer while a text arrives is not opened here.
const MORE_MEMBERS = {
  torchscript: (value) => isObject(value) && isFile(value.file) && isDigest(value.sha256),
  thresholds: (value) => isListOf(value, 2, (one) => Number.isFinite(one) && one >= 0 && one <= 1),
  stream: (value) => isObject(value) && isFile(value.file) && isDigest(value.sha256) && isInteger(value.state_size, 1, 2 ** 20),
};
const TEXT_MEMBERS = {
  tokenizer: (value) => value === EXTERNAL || (isString(value) && Object.hasOwn(TOKENIZERS, value)),
  lowercase: (value) => typeof value === "boolean",
  ngrams: (value) => isInteger(value, 1, 16),
  max_tokens: (value) => value === null || isInteger(value, 1),
  unknown_id: (value) => value === null || isInteger(value, 0),
  empty_id: (value) => isInteger(value, 0),
  padding_id: (value) => isInteger(value, 0),
};
const isWhole = (value) => isString(value) && !/[\ud800-\udfff]/u.test(value);
const isShort = (value, least) => isWhole(value) && value.length <= 512 && isInteger([...value].length, least, 256);
const isRange = (value) => {
  const points = isShort(value, 1) ? [...value].map((point) => point.codePointAt(0)) : [];
  return (points.length === 1 || points.length === 2) && points[0] <= points.at(-1);
};
const isSide = (value) => value === "left" || value === "right";
// May be missing.
const MORE_TEXT_MEMBERS = {
  steps: (value) => isListOf(value, 1, isObject) && value.length <= 4096,
  stop_words: (value) => isSetOf(value, 1, isString) && value.length <= 2 ** 16,
  first_id: (value) => isInteger(value, 0),
  last_id: (value) => isInteger(value, 0),
  max_width: (value) => isInteger(value, 1),
  min_width: (value) => isInteger(value, 1, 2 ** 16),
  cut_side: isSide,
  pad_side: isSide,
};
const BY = { by: (value) => isShort(value, 0) };
const STEP_MEMBERS = {
  replace: { replace: (value) => isShort(value, 1), ...BY },
  keep: { keep: (value) => isListOf(value, 1, isRange) && value.length <= 4096, ...BY },
  lowercase: { lowercase: (value) => value === true },
};
const MOST_GROWTH = 64;
const LIMIT_MEMBERS = {
  min_tokens: (value) => isInteger(value, 1, 2 ** 16),
  max_tokens: (value) => isInteger(value, 1),
  max_batch: (value) => isInteger(value, 1),
  real_token: (value) => value === true,
};
// May be missing. With batch, a run takes one text only; with limits, the graph does not take every text; a text that
// holds an id of alone takes a run of its own.
const MORE_GRAPH_MEMBERS = {
  alone: (value) => isSetOf(value, 1, (id) => isInteger(id, 0)) && value.length <= 4096,
  batch: (value) => value === 1,
  limits: (value) => isObject(value) && Object.keys(value).length > 0,
};
const GRAPH_MEMBERS = {
  file: isFile,
  sha256: isDigest,
  opset: (value) => isInteger(value, 1),
  inputs: (value) => isListOf(value, 1, isString) && ["tokens", "tokens,lengths"].includes(value.join()),
  padding: (value) => typeof value === "boolean",
  embedding_rows: (value) => isInteger(value, 1),
};

/** The first way in which a classifier.json is not what the format says, as the end of a sentence; else undefined. */
function faultOf(document) {
  const fault =
    memberFault(document, MEMBERS, "", MORE_MEMBERS) ??
    memberFault(document.text, TEXT_MEMBERS, "text.", MORE_TEXT_MEMBERS) ??
    stepsFault(document.text.steps ?? []) ??
    memberFault(document.graph, GRAPH_MEMBERS, "graph.", MORE_GRAPH_MEMBERS) ??
    memberFault(document.graph.limits ?? {}, {}, "graph.limits.", LIMIT_MEMBERS);
  if (fault) return fault;
  const { text, labels, vocabulary, examples, thresholds } = document;
  if (thresholds && thresholds.length !== labels.length)
    return `there are ${thresholds.length} thresholds for ${labels.length} labels`;
  const rows = document.graph.embedding_rows;
  if (text.tokenizer === "basic_english" && !text.lowercase) return "basic_english always lower-cases";
  if (vocabulary.length > rows) return `the vocabulary holds ${vocabulary.length} tokens, but the embedding has ${rows} rows`;
  const beyond = Object.keys(MORE_TEXT_MEMBERS).filter((name) => Object.hasOwn(text, name));
  if (text.tokenizer === "space" || text.tokenizer === EXTERNAL) beyond.unshift(`the tokenizer ${text.tokenizer}`);
  if (text.tokenizer === EXTERNAL && (text.lowercase || text.steps))
    return `the tokenizer external is given no text, so that there is nothing to ${text.steps ? "clean" : "lower-case"}`;
  if (beyond.length && document.stream) return `the text rules hold ${beyond.join(", ")}, which a stream cannot follow`;
  if (text.min_width > text.max_width) return `min_width is ${text.min_width}, but max_width ${text.max_width}`;
  const highest = Math.max(text.unknown_id ?? 0, text.empty_id, text.padding_id, text.first_id ?? 0, text.last_id ?? 0);
  if (highest >= rows) return `the text rules use the token id ${highest}, but the embedding has ${rows} rows`;
  if (examples.some(({ ids, logits }) => logits.length !== labels.length || ids.some((id) => id >= rows)))
    return "a golden example does not fit the labels and the embedding";
  const limits = document.graph.limits ?? {};
  const { min_tokens = 1, max_tokens = Infinity, real_token } = limits;
  const { alone } = document.graph;
  if (alone?.some((id) => id >= rows))
    return `the graph's alone holds the token id ${Math.max(...alone)}, but the embedding has ${rows} rows`;
  if (min_tokens > max_tokens) return `no text has at least ${min_tokens} and at most ${max_tokens} tokens`;
  if (document.stream && min_tokens > 1)
    return `the graph takes no text of fewer than ${min_tokens} tokens, but a stream begins with one`;
  if (document.stream && real_token)
    return "the graph takes no text without a known word, but a stream may begin with one";
  if (examples.some(({ ids }) => !isWithin(ids, limits, text.padding_id)))
    return "a golden example is beyond the limits of the graph";
  return undefined;
}

/** Whether a text of these ids is within the limits of a graph. */
function isWithin(ids, { min_tokens = 1, max_tokens = Infinity, real_token }, padding) {
  return ids.length >= min_tokens && ids.length <= max_tokens && !(real_token && ids.every((id) => id === padding));
}

/** The ids of as short a text as the graph takes, of the highest id; before it a lower one, where that is the padding's. */
function shortestText({ embedding_rows, limits = {} }, padding) {
  const ids = new Array(limits.min_tokens ?? 1).fill(embedding_rows - 1);
  if (!limits.real_token || padding !== embedding_rows - 1) return ids;
  if (ids.length < (limits.max_tokens ?? Infinity)) ids.push(ids[0]);
  return [embedding_rows - 2, ...ids.slice(1)];
}

/** As `faultOf`, of the steps that a text goes through before it is split. */
function stepsFault(steps) {
  for (const [i, step] of steps.entries()) {
    const kind = Object.keys(STEP_MEMBERS).find((name) => Object.hasOwn(step, name));
    if (kind === undefined) return `text.steps[${i}] is ${JSON.stringify(step).slice(0, 60)}, which is no step`;
    const fault = memberFault(step, STEP_MEMBERS[kind], `text.steps[${i}].`);
    if (fault) return fault;
  }
  // Backwards: how many code points one can become from a step on, as in runtime/pocketrnn/text/cleaning_steps.py.
  const weights = new Map();
  let rest = 1;
  let largest = 1;
  for (const { replace, keep, by } of [...steps].reverse()) {
    let grown = 2 * largest;
    if (by === undefined) {
      rest = grown;
      weights.clear();
    } else {
      grown = 0;
      for (const point of by) grown += Math.max(weights.get(point) ?? 0, rest);
      if (keep) rest = Math.max(rest, grown);
      else {
        grown /= [...replace].length;
        for (const point of replace) weights.set(point, Math.max(weights.get(point) ?? 0, rest, grown));
      }
    }
    largest = Math.max(largest, grown);
    if (largest > MOST_GROWTH) return `the steps can make a text grow more than ${MOST_GROWTH} times`;
  }
  return undefined;
}

function memberFault(object, members, at, more = {}) {
  for (const [name, isValid] of Object.entries(members)) {
    if (!Object.hasOwn(object, name)) return `${at}${name} is missing`;
    if (!isValid(object[name])) return `${at}${name} is ${JSON.stringify(object[name]).slice(0, 60)}`;
  }
  for (const name of Object.keys(object)) {
    if (Object.hasOwn(members, name)) continue;
    if (!Object.hasOwn(more, name)) return `${at}${name} is not a known member`;
    if (!more[name](object[name])) return `${at}${name} is ${JSON.stringify(object[name]).slice(0, 60)}`;
  }
  return undefined;
}

// ------------------------------------------------------------------------------- the graph, looked through before it runs

// What an ONNX file may hold; docs/format.md, "What a graph may hold". It is a protobuf message, which is walked as
// runtime/pocketrnn/graph_check/onnx_wire.py does it: strictly, so that nothing in it is left for others to find.
const OPERATORS = new Set(
  `
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape
    Conv Cos Cosh CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
    HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization
    Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization
    RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND
    Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
  `
    .trim()
    .split(/\s+/),
);
const LARGEST_ALLOCATION = 2 ** 24;
const LARGEST_STRUCTURE = 2 ** 24;
const MOST_FIELDS = 2 ** 18;
const MOST_OPERATORS = 2 ** 14;
const KNOWN_VALUES = 64;

// For each message its fields: the wire types that they may have (v, q, b, i), and * if they may stand more than once.
const fields = (groups) =>
  new Map(Object.entries(groups).flatMap(([letters, numbers]) => numbers.map((number) => [number, letters])));
const MESSAGES = {
  ModelProto: fields({ v: [1, 5], b: [2, 3, 4, 6, 7], "b*": [8, 14, 25, 26] }),
  GraphProto: fields({ b: [2, 10], "b*": [1, 5, 11, 12, 13, 14, 16] }),
  NodeProto: fields({ b: [3, 4, 6, 7, 8], "b*": [1, 2, 5, 9, 10] }),
  AttributeProto: fields({ b: [1, 4, 5, 6, 13, 14, 21], "b*": [9, 10, 11, 15], i: [2], v: [3, 20], "ib*": [7], "vb*": [8] }),
  TensorProto: fields({ v: [2, 14], "vb*": [1, 5, 7, 11], "ib*": [4], "qb*": [10], b: [8, 9, 12], "b*": [13, 16] }),
};
const WIRES = { 0: "v", 1: "q", 2: "b", 5: "i" };
const ARRAYS = { 1: Float32Array, 6: Int32Array, 7: BigInt64Array, 11: Float64Array };

/** Refuses a graph that may do more than answer texts; `file` is its name. */
export function checkGraph(content, file) {
  new GraphWalk(content, file).check();
}

class GraphWalk {
  #view;
  #file;
  #nodes = [];
  #constants = new Map();
  #weights = 0;
  #fields = 0;

  constructor(content, file) {
    this.#view = content;
    this.#file = file;
  }

  check() {
    const content = this.#view;
    if (String.fromCharCode(...content.subarray(4, 8)) === "ORTM")
      this.#refuse("is no ONNX file: it is marked as of onnxruntime's own format");
    for (const { number, begin, end } of this.#each("ModelProto", 0, content.length)) {
      if (number === 25) this.#refuse("holds functions of its own");
      if (number === 7) this.#graph(begin, end);
    }
    if (content.length - this.#weights > LARGEST_STRUCTURE) this.#refuse("holds more than 16 MiB beside its weights");
    if (!this.#nodes.length) this.#refuse("holds no operator");
    for (const { domain, operator, holdsGraphs } of this.#nodes) {
      const name = domain === "" || domain === "ai.onnx" ? operator : `${domain}.${operator}`;
      if (!OPERATORS.has(name)) this.#refuse(`holds the operator ${name.slice(0, 60)}, which a classifier's graph has no need of`);
      if (holdsGraphs) this.#refuse(`holds a graph inside the operator ${operator}`);
    }
    this.#checkSizes();
  }

  #refuse(what) {
    throw new BundleError(`${this.#file} ${what}.`, "Use it only if you know who made it; else export it again.");
  }

  #count() {
    if (++this.#fields > MOST_FIELDS) this.#refuse("has more than 262,144 parts");
  }

  /** An integer without a sign, as a number if that is exact, else as a BigInt; and where it ends. */
  #varint(at, end) {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (at >= end) this.#refuse("is no ONNX file: it ends within a number");
      const byte = this.#view[at++];
      if (i < 7) value += (byte & 127) * 2 ** (7 * i);
      else value = BigInt.asUintN(64, BigInt(value) | (BigInt(byte & 127) << BigInt(7 * i)));
      if (byte < 128) return [value, at];
    }
    return this.#refuse("is no ONNX file: a number in it has more than 10 bytes");
  }

  /** A message's fields: `value` of a varint, `begin` and `end` of the bytes of anything else. */
  *#each(message, at, end) {
    const known = MESSAGES[message];
    const seen = new Set();
    while (at < end) {
      this.#count();
      let tag;
      [tag, at] = this.#varint(at, end);
      const number = Number(BigInt(tag) >> 3n);
      const wire = Number(BigInt(tag) & 7n);
      const letters = known.get(number);
      if (!letters?.includes(WIRES[wire] ?? "?"))
        this.#refuse(`is no ONNX file that a classifier may have: field ${number} of type ${wire} in ${message}`);
      if (seen.has(number) && !letters.includes("*"))
        this.#refuse(`is no ONNX file: field ${number} of ${message} stands in it twice`);
      seen.add(number);
      let size = { 1: 8, 5: 4 }[wire];
      if (size === undefined) [size, at] = this.#varint(at, end);
      if (wire === 0) {
        yield { number, value: Number(BigInt.asIntN(64, BigInt(size))) };
        continue;
      }
      if (size > end - at) this.#refuse("is no ONNX file: it is cut short");
      yield { number, begin: at, end: at + size };
      at += size;
    }
  }

  #text({ begin, end }) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.#view.subarray(begin, end));
    } catch {
      return this.#refuse("holds a name that is not UTF-8");
    }
  }

  /** Signed integers: the one of a field, or several, packed. */
  #integers({ value, begin, end }) {
    if (value !== undefined) return [value];
    const values = [];
    while (begin < end) {
      this.#count();
      let one;
      [one, begin] = this.#varint(begin, end);
      values.push(Number(BigInt.asIntN(64, BigInt(one))));
    }
    return values;
  }

  #graph(begin, end) {
    for (const field of this.#each("GraphProto", begin, end)) {
      if (field.number === 1) this.#nodes.push(this.#node(field));
      if (this.#nodes.length > MOST_OPERATORS) this.#refuse("has more than 16,384 operators");
      if (field.number === 5) {
        const { name, values } = this.#tensor(field);
        this.#constants.set(name, values);
      }
    }
  }

  #node({ begin, end }) {
    const node = { domain: "", operator: "", inputs: [], outputs: [], attributes: new Map(), holdsGraphs: false };
    for (const field of this.#each("NodeProto", begin, end)) {
      if (field.number === 1) node.inputs.push(this.#text(field));
      if (field.number === 2) node.outputs.push(this.#text(field));
      if (field.number === 4) node.operator = this.#text(field);
      if (field.number === 5) this.#attribute(node, field);
      if (field.number === 7) node.domain = this.#text(field);
    }
    return node;
  }

  #attribute(node, { begin, end }) {
    let name = "";
    let values = [];
    for (const field of this.#each("AttributeProto", begin, end)) {
      if (field.number === 1) name = this.#text(field);
      if (field.number === 3 || field.number === 8) values = values.concat(this.#integers(field));
      if (field.number === 5 || field.number === 10) ({ values } = this.#tensor(field));
      if (field.number === 6 || field.number === 11) node.holdsGraphs = true;
    }
    if (values.length) node.attributes.set(name, values);
  }

  /** A tensor's name and, if they are few, its numbers. */
  #tensor({ begin, end }) {
    let name = "";
    let kind = 0;
    let stored = 0;
    const dims = [];
    const found = new Map();
    for (const field of this.#each("TensorProto", begin, end)) {
      const { number } = field;
      if (number === 1) for (const dim of this.#integers(field)) dims.push(dim);
      if (number === 2) kind = field.value;
      if (number === 8) name = this.#text(field);
      if (number === 13 || (number === 14 && field.value !== 0))
        this.#refuse("keeps weights in further files, which no digest covers");
      if (![4, 5, 7, 9, 10, 11].includes(number)) continue;
      found.set(number, [...(stored > 10 * KNOWN_VALUES ? [] : (found.get(number) ?? [])), field]);
      const size = field.value === undefined ? field.end - field.begin : 1;
      stored += size;
      if ([4, 9, 10].includes(number)) this.#weights += size;
    }
    const size = dims.reduce((product, dim) => product * dim, 1);
    if (dims.some((dim) => dim < 0) || !(size <= 2 * stored))
      this.#refuse(`holds a tensor of the shape [${dims.slice(0, 8)}] in ${stored} bytes`);
    if (found.size > 1) this.#refuse("holds a tensor whose numbers stand in it twice");
    const few = size <= KNOWN_VALUES && stored <= 10 * KNOWN_VALUES;
    return { name, values: few ? this.#numbers(kind, found) : [] };
  }

  #numbers(kind, found) {
    const whole = found.get({ 6: 5, 7: 7 }[kind]);
    if (whole) return whole.flatMap((field) => this.#integers(field));
    const places = found.get(9) ?? found.get({ 1: 4, 11: 10 }[kind]) ?? [];
    const bytes = Uint8Array.from(places.flatMap(({ begin, end }) => [...this.#view.subarray(begin, end)]));
    const type = ARRAYS[kind];
    if (!type || bytes.length % type.BYTES_PER_ELEMENT) return [];
    return Array.from(new type(bytes.buffer), Number);
  }

  #checkSizes() {
    const known = new Map(this.#constants);
    for (const { operator, inputs, outputs, attributes } of this.#nodes) {
      const given = inputs.map((name) => known.get(name) ?? []);
      const [first = [], second = [], third = []] = given;
      let made = [];
      if (operator === "Constant") [made = []] = attributes.values();
      if (["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"].includes(operator)) made = first;
      if (operator === "Concat") for (const values of given) made = made.concat(values).slice(0, KNOWN_VALUES + 1);
      if (made.length && made.length <= KNOWN_VALUES) for (const name of outputs) known.set(name, made);
      let size = padded(attributes.get("pads") ?? []);
      if (operator === "ConstantOfShape") size = product(first);
      if (["Expand", "Tile", "OneHot"].includes(operator)) size = product(second);
      if (operator === "Pad") size = Math.max(size, padded(second));
      if (operator === "Range" && second.length) {
        const step = third[0] ?? 1;
        size = step === 0 ? NaN : (second[0] - (first[0] ?? 0)) / step;
      }
      // NaN, too, is not within the limit.
      if (!(size <= LARGEST_ALLOCATION))
        this.#refuse(`lets the operator ${operator} make more than 16,777,216 numbers of constants`);
    }
  }
}

const product = (sizes) => sizes.reduce((all, size) => all * Math.max(1, size), 1);

/** The product of what is added at each axis: its beginning stands in the first half, its end in the second. */
function padded(pads) {
  const half = Math.ceil(pads.length / 2);
  return pads.slice(0, half).reduce((all, pad, i) => all * (1 + Math.max(0, pad + (pads[i + half] ?? 0))), 1);
}

// ------------------------------------------------------------------------------------------------------ the answers

// The shapes of runs, as in runtime/pocketrnn/engines/batching.py, where they were measured.
const MAX_TOKENS = 4096;
const SHORTEST = 0.8;
const SLACK = 8;

/** Shares out texts among runs of like length; only texts of equal length share one where padding is not allowed. Those
 * of which `alone` is true take a run each. */
export function* runs(lengths, padding, maxTokens = MAX_TOKENS, maxTexts = Infinity, alone = () => false) {
  const places = lengths.map((_, i) => i);
  const order = places.filter((i) => !alone(i)).sort((i, j) => lengths[j] - lengths[i]);
  for (let start = 0, end; start < order.length; start = end) {
    const width = lengths[order[start]];
    const shortest = padding ? Math.min(Math.floor(width * SHORTEST), width - SLACK) : width;
    const most = start + Math.min(Math.max(1, Math.floor(maxTokens / width)), maxTexts);
    for (end = start + 1; end < Math.min(most, order.length) && lengths[order[end]] >= shortest; end++);
    yield order.slice(start, end);
  }
  for (const place of places) if (alone(place)) yield [place];
}

/** A classifier read from a bundle. Make one with `Classifier.load`. */
export class Classifier {
  #document;
  #encoding;
  #session;
  #ort;
  #lastRun = Promise.resolve();

  constructor(document, session, ort) {
    this.#document = document;
    this.#encoding = new TextEncoding(document.text, document.vocabulary);
    this.#session = session;
    this.#ort = ort;
  }

  /**
   * Read and check a bundle.
   *
   * @param source the address of a bundle's folder, or the content of its files by name:
   *   `{ "classifier.json": ArrayBuffer, "model.onnx": ArrayBuffer }`.
   * @param options.ort the module onnxruntime-web.
   * @param options.sessionOptions what to hand to onnxruntime's InferenceSession.create.
   * @throws BundleError there is no such bundle, it is damaged, or its graph does not fit its classifier.json.
   */
  static async load(source, { ort, sessionOptions = {} } = {}) {
    if (!ort?.InferenceSession)
      throw new InputError("onnxruntime-web was not given.", "Import it, and call Classifier.load(folder, { ort }).");
    const give = filesOf(source);
    const file = async (name, largest) => {
      const content = await give(name, largest);
      if (content.length > largest) throw tooLarge(name, content.length, largest);
      return content;
    };
    const document = await readClassifierJson(await file(CLASSIFIER_JSON, LARGEST_JSON));
    const { graph } = document;
    const content = await file(graph.file, LARGEST_GRAPH);
    if ((await sha256(content)) !== graph.sha256)
      throw new BundleError(`${graph.file} was changed after it was made: its digest does not match.`, MAKE_AGAIN);
    checkGraph(content, graph.file);
    let session;
    try {
      session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"], ...sessionOptions });
    } catch (error) {
      throw new BundleError(`onnxruntime-web cannot open ${graph.file}: ${error.message}.`, "Upgrade onnxruntime-web.", {
        cause: error,
      });
    }
    const classifier = new Classifier(document, session, ort);
    await classifier.#checkGraph();
    return classifier;
  }

  /** What the classifier is called. */
  get name() {
    return this.#document.name;
  }

  /** The classes, in the order of the logits. */
  get labels() {
    return this.#document.labels;
  }

  /** All that classifier.json says. */
  get manifest() {
    return this.#document;
  }

  /** The tokens of one text, n-grams included, before the vocabulary is asked. */
  tokens(text) {
    checkedText(text);
    this.#checkSplits();
    return this.#encoding.tokens(text);
  }

  /**
   * The token ids of one text; never empty.
   *
   * @param text a string; or a list of the text's tokens, which are looked up, or of all its ids.
   * @throws InputError it is neither, the rules could give no such ids, or it is a string and the bundle splits none.
   */
  encode(text) {
    if (!isString(text)) return this.#readyIds(text);
    this.#checkSplits();
    return this.#encoding.encode(text);
  }

  #checkSplits() {
    if (this.#document.text.tokenizer === EXTERNAL)
      throw new InputError(
        `${this.name} does not split texts: its tokenizer is external.`,
        "Give each text as a list of its tokens or ids.",
      );
  }

  #readyIds(text) {
    const values = Array.isArray(text) || (ArrayBuffer.isView(text) && !(text instanceof DataView)) ? [...text] : undefined;
    if (values === undefined) checkedText(text);
    const { tokenizer } = this.#document.text;
    const rows = this.#document.graph.embedding_rows;
    const kind = values.length === 0 || isString(values[0]) ? "tokens" : "ids";
    for (const [index, value] of values.entries())
      if (kind === "tokens" ? !isString(value) : !Number.isInteger(value))
        throw new InputError(
          `The text is a list of ${kind} with ${String(value).slice(0, 40)} at index ${index}.`,
          "Give strings only, which are tokens, or whole numbers only, which are ids.",
        );
      else if (kind === "ids" && !(value >= 0 && value < rows))
        throw new InputError(
          `The text has the id ${value} at index ${index}, and the ids of ${this.name} are 0 to ${rows - 1}.`,
          "Give the ids that it was trained with.",
        );
      else if (kind === "tokens" && tokenizer !== EXTERNAL && !this.#encoding.holds(value) && isText(value, tokenizer))
        throw new InputError(
          `The text has the token ${JSON.stringify(value).slice(0, 40)}, which ${tokenizer} would cut.`,
          "A list of strings is one text as tokens: give several texts to predict, as a list of strings.",
        );
    if (kind === "tokens") return this.#encoding.encodeTokens(values);
    const fault = this.#encoding.faultOf(values);
    if (fault) throw new InputError(`The text ${fault}.`, "Give all ids of a text, as encode does, or give its tokens.");
    return values;
  }

  /** Where the words of a text stand, at which it may be cut: [[start, end], ...] by UTF-16 unit. Of a classifier of
   * characters, its code points. */
  words(text) {
    this.#checkSplits();
    const parts = this.#document.text.tokenizer === "characters" ? [...checkedText(text)] : words(checkedText(text));
    let end = 0;
    return parts.map((part) => {
      const start = text.indexOf(part, end);
      end = start + part.length;
      return [start, end];
    });
  }

  /** Whether the graph takes this text: one beyond its limits is refused with a LimitError. */
  takes(text) {
    return this.#allows(this.encode(text));
  }

  /** Classify one text, given as to `encode`: `{ label, probability, top: [{ label, probability }, ...] }`, with the `top`
   * likeliest labels. */
  async classify(text, top = 1) {
    if (!Number.isInteger(top) || top < 1 || top > this.labels.length)
      throw new InputError(`top is ${top}.`, `Use a whole number from 1 to ${this.labels.length}.`);
    const [logits] = await this.logits([text]);
    const probabilities = this.#probabilities(logits);
    const likeliest = this.labels
      .map((_, i) => i)
      .sort((i, j) => logits[j] - logits[i] || i - j)
      .slice(0, top)
      .map((i) => ({ label: this.labels[i], probability: probabilities[i] }));
    return { ...likeliest[0], top: likeliest };
  }

  /** The likeliest label of every text, in the texts' order. */
  async predict(texts) {
    return (await this.logits(texts)).map((row) => this.labels[row.indexOf(Math.max(...row))]);
  }

  /** The probabilities of every label for every text: arrays in the order of `labels`. Of a multi-label classifier
   * (activation "sigmoid") they do not add up to 1. */
  async predictProba(texts) {
    return (await this.logits(texts)).map((row) => this.#probabilities(row));
  }

  /** For each label the probability from which `predictLabels` gives it; undefined where the bundle keeps none. */
  get thresholds() {
    return this.#document.thresholds;
  }

  /**
   * Every label of every text that reaches its threshold, in the order of `labels`: what a multi-label classifier is asked
   * for. Where one label is right (activation "softmax"), the likeliest one or none.
   *
   * @param threshold one for all labels; without it those that the bundle keeps, or else 0.5.
   */
  async predictLabels(texts, threshold) {
    const { activation, thresholds } = this.#document;
    return (await this.predictProba(texts)).map((row) => labelsReached(this.labels, row, activation, threshold ?? thresholds));
  }

  /**
   * The graph's own answers: for every text a Float32Array in the order of `labels`.
   *
   * @throws LimitError a text is beyond the graph's limits.
   */
  async logits(texts) {
    if (isString(texts) || typeof texts?.[Symbol.iterator] !== "function")
      throw new InputError("This takes a list of texts.", "Use classify for one text, or give a list.");
    const rows = Array.from(texts, (text) => this.encode(text));
    const answers = new Array(rows.length);
    const { graph, text } = this.#document;
    const { padding, batch, limits } = graph;
    const ids = new Set(graph.alone);
    const alone = (place) => rows[place].some((id) => ids.has(id));
    if (limits) this.#checkLimits(rows);
    for (const places of runs(rows.map((row) => row.length), padding, MAX_TOKENS, batch ?? limits?.max_batch, alone)) {
      const some = places.map((place) => rows[place]);
      const { data } = await this.#run(some);
      const classes = this.labels.length;
      places.forEach((place, i) => (answers[place] = data.slice(i * classes, (i + 1) * classes)));
    }
    // A single logit of minus infinity is a probability of 0; NaN, or infinity as the largest one, is none at all.
    if (!answers.every((row) => Number.isFinite(Math.max(...row))))
      throw new PocketRNNError(
        `The graph of ${this.name} answered with logits that are NaN or infinite.`,
        "Check the bundle with: pocketrnn verify",
      );
    return answers;
  }

  /**
   * Answer the bundle's golden examples anew: is everything here as it was where the bundle was made?
   *
   * @returns the largest difference of a logit, each text alone and all in one batch; a text's logits beyond 10 count
   *   relative to a tenth of the largest.
   * @throws PocketRNNError an example becomes other ids, another label, or logits beyond the bundle's tolerance.
   */
  async verify() {
    const { examples, parity } = this.#document;
    // Texts that the bundle cannot split are given as ids.
    const external = this.#document.text.tokenizer === EXTERNAL;
    const givenFor = (example) => (external ? example.ids : example.text);
    const together = await this.logits(examples.map(givenFor));
    let largest = 0;
    for (const [i, { text, ids, logits }] of examples.entries()) {
      const fail = (how) => {
        throw new PocketRNNError(
          `${this.name} does not answer its golden example ${JSON.stringify(text.slice(0, 40))} as it did when it was made: ${how}.`,
          "Do not use it in this browser; report the browser and the version of onnxruntime-web.",
        );
      };
      const given = givenFor(examples[i]);
      if (this.encode(given).join() !== ids.join()) fail("it becomes other token ids");
      const likeliest = logits.indexOf(Math.max(...logits));
      for (const answer of [together[i], (await this.logits([given]))[0]]) {
        if (answer.indexOf(Math.max(...answer)) !== likeliest) fail("the label is another one");
        const scale = Math.max(1, Math.max(...logits.map(Math.abs)) / 10);
        const difference = Math.max(...logits.map((logit, k) => Math.abs(answer[k] - logit))) / scale;
        if (!(difference <= parity.tolerance)) fail(`a logit differs by ${difference}`);
        largest = Math.max(largest, difference);
      }
    }
    return largest;
  }

  /** Give back the memory that onnxruntime holds; no further question can be asked. */
  release() {
    return this.#session.release();
  }

  #allows(ids) {
    const { graph, text } = this.#document;
    return isWithin(ids, graph.limits ?? {}, text.padding_id);
  }

  #checkLimits(rows) {
    const { min_tokens, max_tokens } = this.#document.graph.limits;
    const place = rows.findIndex((row) => !this.#allows(row));
    if (place < 0) return;
    const size = rows[place].length;
    const few = size < min_tokens;
    const which = `The text${rows.length > 1 ? ` at position ${place} (counted from 0)` : ""}`;
    if (!few && !(size > max_tokens))
      throw new LimitError(
        `${which} holds no known word, and ${this.name} takes none such.`,
        "Give one with a word of its vocabulary.",
      );
    throw new LimitError(
      `${which} becomes ${size} token id${size > 1 ? "s" : ""}, ` +
        `but ${this.name} takes ${few ? `at least ${min_tokens}` : `at most ${max_tokens}`}.`,
      few ? "Give a longer one." : "Shorten it, or export the classifier with max_tokens in its text rules.",
    );
  }

  #probabilities(logits) {
    if (this.#document.activation === "sigmoid") return Array.from(logits, (x) => 0.5 * (Math.tanh(0.5 * x) + 1));
    const largest = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }

  /** One run of the graph on rows of ids; its output tensor. */
  async #run(rows) {
    const { graph, text } = this.#document;
    const width = rows.reduce((most, row) => Math.max(most, row.length), 0);
    const tokens = new BigInt64Array(rows.length * width).fill(BigInt(text.padding_id));
    rows.forEach((row, i) => row.forEach((id, j) => (tokens[i * width + j] = BigInt(id))));
    const feed = { tokens: new this.#ort.Tensor("int64", tokens, [rows.length, width]) };
    if (graph.inputs.includes("lengths")) {
      const lengths = BigInt64Array.from(rows, (row) => BigInt(row.length));
      feed.lengths = new this.#ort.Tensor("int64", lengths, [rows.length]);
    }
    // A session does not take a second run while one is under way, so they wait for each other.
    const run = this.#lastRun.then(() => this.#session.run(feed, ["logits"]));
    this.#lastRun = run.catch(() => undefined);
    try {
      return (await run).logits;
    } catch (error) {
      throw new PocketRNNError(
        `The graph of ${this.name} failed on ${rows.length} texts of up to ${width} tokens: ${error.message}.`,
        "If a text is very long, shorten it; else check the bundle with: pocketrnn verify",
        { cause: error },
      );
    }
  }

  /** Does the graph take and give what classifier.json says, for the highest token id as well? */
  async #checkGraph() {
    const { graph, labels, text } = this.#document;
    const { inputNames, outputNames } = this.#session;
    if ([...inputNames].sort().join() !== [...graph.inputs].sort().join() || outputNames.join() !== "logits")
      throw new BundleError(
        `${graph.file} takes ${inputNames.join(", ")} and gives ${outputNames.join(", ")}; ${CLASSIFIER_JSON} says ${graph.inputs.join(", ")} and logits.`,
        "Export the bundle again.",
      );
    let answer;
    try {
      answer = await this.#run([shortestText(graph, text.padding_id)]);
    } catch (error) {
      throw new BundleError(
        `The graph of ${this.name} cannot be run with the highest token id, ${graph.embedding_rows - 1}: ${error.cause?.message}.`,
        "Export the bundle again.",
        { cause: error },
      );
    }
    if (answer.type !== "float32" || answer.dims.join() !== `1,${labels.length}`)
      throw new BundleError(
        `The graph of ${this.name} gives ${answer.type} logits of shape [${answer.dims}], not float32 [1,${labels.length}].`,
        "Export the bundle again.",
      );
  }
}

/** Whether a token is a text that the tokenizer would cut. */
function isText(token, tokenizer) {
  if (tokenizer === "characters") return [...token].length > 1;
  return tokenizer === "space" ? words(token).length > 1 && token.includes(" ") : words(token).length > 1;
}

function checkedText(text) {
  if (!isString(text))
    throw new InputError(`A text must be a string, not ${typeof text}.`, "Use predict or predictProba for several texts.");
  return text;
}

/** The labels that reach their threshold; where one label is right, at most the likeliest. */
function labelsReached(labels, probabilities, activation, thresholds = 0.5) {
  const likeliest = probabilities.indexOf(Math.max(...probabilities));
  return labels.filter((_, i) => {
    const needed = typeof thresholds === "number" ? thresholds : thresholds[i];
    return probabilities[i] >= needed && (activation === "sigmoid" || i === likeliest);
  });
}

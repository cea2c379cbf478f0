/**
 * pocketrnn in a browser, for bundles: onnxruntime-web runs the graph, and pocketrnn's engine makes the ids of texts.
 *
 *     import * as ort from "./ort/ort.wasm.bundle.min.mjs";
 *     import { Classifier } from "./pocketrnn.js";
 *     const classifier = await Classifier.load("bundle/", { ort });
 *     await classifier.classify("Wall St. Bears Claw Back");      // { label, probability, top: [{ label, probability }] }
 *
 * No build step, no request but for the engine, pocketrnn.wasm beside this module, and two files of the bundle: its graph and
 * text.prnn, its text rules, which `pocketrnn pack BUNDLE --text-rules` writes. onnxruntime-web is handed in, so that the page
 * decides where it comes from. The format is docs/format.md; runtime/pocketrnn/ is the same in Python.
 */

import { makeContradictionError, isListOf, readDocument } from "./answers.js";
import { BundleError, viewBytes, InputError, isString, openPacked, PocketRNNError, STATUS } from "./engine.js";
import { checkGraph } from "./graph_check.js";
import { checkText, EXTERNAL, checkList, OF_TEXTS, TextClassifier } from "./texts.js";

export { BundleError, InputError, LimitError, PocketRNNError } from "./engine.js";

const TEXT_RULES = "text.prnn";
// Bytes that a file may have. The graph's limit is protobuf's.
const LARGEST_FILE = 2 ** 31 - 1;
// The most that `min_tokens` of a graph's limits may be: a text with this many ids is classified when a bundle is opened.
const MOST_FEWEST = 2 ** 16;
const MAKE_AGAIN = "Copy the bundle again from where it was made, or export it again.";
const PACK_RULES = "Check the address; text.prnn is written by: pocketrnn pack BUNDLE --text-rules -o text.prnn";

// ------------------------------------------------------------------------------------ the bundle, read and checked

/** Compute sha256 in hexadecimal digits. Pages from plain http hosts other than localhost have no crypto.subtle. The check is
 * not left out there: the function below computes it, in 0.2 s for 5 MB. */
async function sha256(bytes) {
  const subtle = globalThis.crypto?.subtle;
  const digest = subtle ? new Uint8Array(await subtle.digest("SHA-256", bytes)) : sha256InJavaScript(bytes);
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256 by FIPS 180-4. Its constants are the first 32 bits of the fractional parts of the square roots of the first 8 primes
 * and of the cube roots of the first 64; a double holds all of these exactly. */
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

/** A function that reads a file of the bundle by its name. */
function makeFileReader(source) {
  if (typeof source !== "string" && !(source instanceof URL))
    return async (name) => {
      const content = source?.[name];
      if (content === undefined)
        throw new BundleError(`${name} was not given.`, `Give a bundle's folder, or { "${TEXT_RULES}": bytes, ... }.`);
      return viewBytes(content);
    };
  const folder = new URL(String(source).replace(/\/?$/, "/"), globalThis.document?.baseURI ?? globalThis.location?.href);
  return async (name) => {
    const url = new URL(name, folder);
    const remedy = name === TEXT_RULES ? PACK_RULES : "Check the address.";
    let response;
    try {
      // Asked again each time: an old graph from the cache beside new text rules would be refused.
      response = await fetch(url, { cache: "no-cache" });
    } catch (error) {
      throw new BundleError(`${url} cannot be read: ${error.message}.`, remedy, { cause: error });
    }
    if (!response.ok) throw new BundleError(`${url} cannot be read: status ${response.status}.`, remedy);
    const size = Number(response.headers.get("content-length"));
    if (size > LARGEST_FILE)
      throw new BundleError(`${url} has ${size} bytes, but at most ${LARGEST_FILE} are allowed.`, MAKE_AGAIN);
    return new Uint8Array(await response.arrayBuffer());
  };
}

const isInteger = (value, least = 0, most = 2 ** 31 - 1) => Number.isInteger(value) && value >= least && value <= most;
const isAny = (value, test) => value === undefined || test(value);

/** The part of the text rules' document about the graph that running it needs. */
const OF_BUNDLES = {
  ...OF_TEXTS,
  text: (text) => OF_TEXTS.text(text) && isInteger(text.padding_id),
  graph: (graph) =>
    isString(graph?.file) &&
    /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(graph.file) &&
    /^[0-9a-f]{64}$/.test(graph.sha256) &&
    ["tokens", "tokens,lengths"].includes(String(graph.inputs)) &&
    typeof graph.padding === "boolean" &&
    isAny(graph.batch, (batch) => batch === 1) &&
    isAny(graph.alone, (alone) => isListOf(alone, (id) => isInteger(id))) &&
    isAny(graph.limits?.max_batch, (most) => isInteger(most, 1)),
};

/** Whether a token is text that the tokenizer would split. */
function isText(token, tokenizer) {
  if (tokenizer === "characters") return [...token].length > 1;
  return (tokenizer === "space" ? / / : /\s/).test(token.trim());
}

/** The ids of the shortest text that the graph takes, with the highest id; before it a lower one, if the highest is the
 * padding's. */
function makeShortestText({ ids: rows, least, most }, real_token, padding) {
  const ids = new Array(least).fill(rows - 1);
  if (!real_token || padding !== rows - 1) return ids;
  if (least < most) ids.push(ids[0]);
  return [rows - 2, ...ids.slice(1)];
}

// ------------------------------------------------------------------------------------------------------ the answers

// The shapes of runs, as in runtime/pocketrnn/engines/batching.py, where they were measured.
const MAX_TOKENS = 4096;
const SHORTEST = 0.8;
const SLACK = 8;

/** Divide texts among runs by their length; if padding is not allowed, only texts of equal length share a run. A text for which
 * `alone` is true has a run to itself. */
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
export class Classifier extends TextClassifier {
  #session;
  #ort;
  #lastRun = Promise.resolve();

  constructor(packed, document, session, ort) {
    super(packed, document);
    this.#session = session;
    this.#ort = ort;
  }

  /**
   * Read and check a bundle.
   *
   * @param source the address of a folder with text.prnn and the bundle's graph, or the content of these files by name:
   *   `{ "text.prnn": ArrayBuffer, "model.onnx": ArrayBuffer }`.
   * @param options.ort the module onnxruntime-web.
   * @param options.sessionOptions what to hand to onnxruntime's InferenceSession.create.
   * @param options.wasm where pocketrnn.wasm is, if not beside this module, as for native.js.
   * @throws BundleError there is no such bundle, it is damaged, or its graph does not fit its text rules.
   */
  static async load(source, { ort, sessionOptions = {}, wasm } = {}) {
    if (!ort?.InferenceSession)
      throw new InputError("onnxruntime-web was not given.", "Import it, and call Classifier.load(folder, { ort }).");
    const file = makeFileReader(source);
    return openPacked(await file(TEXT_RULES), wasm, async (packed) => {
      const document = readDocument(packed, OF_BUNDLES);
      const { graph } = document;
      if (packed.least > MOST_FEWEST) throw makeContradictionError();
      const content = await file(graph.file);
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
      const classifier = new Classifier(packed, document, session, ort);
      await classifier.#checkGraph();
      return classifier;
    });
  }

  /**
   * The token ids of one text; never empty.
   *
   * @param text a string; or a list of the text's tokens, which are looked up, or of all its ids.
   * @throws InputError it is neither, the rules could give no such ids, or it is a string and the bundle splits none.
   */
  encode(text) {
    if (!isString(text)) return this.#encodeReadyText(text);
    this.#checkSplits();
    return super.encode(text);
  }

  words(text) {
    this.#checkSplits();
    return super.words(text);
  }

  #checkSplits() {
    if (this.manifest.text.tokenizer === EXTERNAL)
      throw new InputError(
        `${this.name} does not split texts: its tokenizer is external.`,
        "Give each text as a list of its tokens or ids.",
      );
  }

  #encodeReadyText(text) {
    const values = Array.isArray(text) || (ArrayBuffer.isView(text) && !(text instanceof DataView)) ? [...text] : undefined;
    if (values === undefined) checkText(text);
    const packed = this._engine;
    const kind = values.length === 0 || isString(values[0]) ? "tokens" : "ids";
    for (const [index, value] of values.entries())
      if (kind === "tokens" ? !isString(value) : !Number.isInteger(value))
        throw new InputError(
          `The text is a list of ${kind} with ${String(value).slice(0, 40)} at index ${index}.`,
          "Give strings only, which are tokens, or whole numbers only, which are ids.",
        );
      else if (kind === "ids" && !isInteger(value, 0, packed.ids - 1))
        throw new InputError(
          `The text has the id ${value} at index ${index}, and the ids of ${this.name} are 0 to ${packed.ids - 1}.`,
          "Give the ids that it was trained with.",
        );
      else if (kind === "tokens") this.#checkToken(value);
    if (kind === "tokens") return this._asked(() => packed.encodeTokens(values));
    const status = packed.checkIds(values);
    if (status !== STATUS.OK)
      throw new InputError(packed.sentence(status), "Give all ids of a text, as encode does, or give its tokens.");
    return values;
  }

  /** Refuse a text that is given as one token: the bundle's tokenizer gives no such token. */
  #checkToken(token) {
    const { tokenizer } = this.manifest.text;
    if (tokenizer !== EXTERNAL && isText(token, tokenizer) && !this._engine.holds(token))
      throw new InputError(
        `The text has the token ${JSON.stringify(token).slice(0, 40)}, which ${tokenizer} would cut.`,
        "A list of strings is one text as tokens: give several texts to predict, as a list of strings.",
      );
  }

  /**
   * The logits that the graph computes: for each text, given as to `encode`, a Float32Array in the order of `labels`.
   *
   * @throws LimitError a text is beyond the graph's limits.
   */
  async logits(texts) {
    const rows = checkList(texts).map((text) => this.encode(text));
    const answers = new Array(rows.length);
    const { graph } = this.manifest;
    const ids = new Set(graph.alone);
    const alone = (place) => rows[place].some((id) => ids.has(id));
    for (const [place, row] of rows.entries()) this._checkLimits(row, rows.length > 1 ? place : undefined);
    const most = graph.batch ?? graph.limits?.max_batch;
    for (const places of runs(rows.map((row) => row.length), graph.padding, MAX_TOKENS, most, alone)) {
      const some = places.map((place) => rows[place]);
      const { data } = await this.#run(some);
      const classes = this.labels.length;
      places.forEach((place, i) => (answers[place] = data.slice(i * classes, (i + 1) * classes)));
    }
    this._answers.checkFinite(answers);
    return answers;
  }

  /** Free the memory of onnxruntime and of the engine; the classifier answers nothing afterwards. */
  async release() {
    await super.release();
    return this.#session.release();
  }

  /** Run the graph once on rows of ids; returns its output tensor. */
  async #run(rows) {
    const { graph, text } = this.manifest;
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

  /** Check that the graph takes and gives what the document says, also for the highest token id. */
  async #checkGraph() {
    const { graph, labels, text } = this.manifest;
    const packed = this._engine;
    const { inputNames, outputNames } = this.#session;
    if ([...inputNames].sort().join() !== [...graph.inputs].sort().join() || outputNames.join() !== "logits")
      throw new BundleError(
        `${graph.file} takes ${inputNames.join(", ")} and gives ${outputNames.join(", ")}; ${TEXT_RULES} says ${graph.inputs.join(", ")} and logits.`,
        "Export the bundle again.",
      );
    let answer;
    try {
      answer = await this.#run([makeShortestText(packed, graph.limits?.real_token, text.padding_id)]);
    } catch (error) {
      throw new BundleError(
        `The graph of ${this.name} cannot be run with the highest token id, ${packed.ids - 1}: ${error.cause?.message}.`,
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

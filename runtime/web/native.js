/**
 * pocketrnn's native engine in a browser, or in Node: reads the one file that `pocketrnn pack` wrote, and gives the same answers
 * as everywhere.
 *
 *     import { Classifier } from "./native.js";
 *     const classifier = await Classifier.load("news.prnn");
 *     await classifier.classify("Wall St. Bears Claw Back");      // { label, probability, top: [{ label, probability }] }
 *
 * The engine is C, compiled to WebAssembly: pocketrnn.wasm beside this module, from runtime/native by scripts/build_web.
 * Nothing else is needed or asked for. Every classifier has an engine, and memory, of its own. A file that takes sequences of
 * numbers is a NumberClassifier, of numbers.js. pocketrnn.js is for bundles, with onnxruntime-web; its Classifier has the same
 * methods.
 */

import { Answers, contradiction, isListOf, readDocument } from "./answers.js";
import {
  BundleError, bytesOf, checkDigest, EngineError, InputError, isBytes, isString, LimitError, opened, PocketRNNError, STATUS,
} from "./engine.js";

export { BundleError, InputError, LimitError, PocketRNNError } from "./engine.js";

const LIMITS = new Set([STATUS.TOO_SHORT, STATUS.TOO_LONG, STATUS.NO_WORD]);
// So many texts are answered in one call of the engine.
const AT_ONCE = 256;

/**
 * Read a packed file of either kind.
 *
 * @param options.outOfRange of a file that takes sequences of numbers, as for NumberClassifier.load.
 * @returns a Classifier of texts, or a NumberClassifier of sequences of numbers.
 */
export function load(source, { wasm, outOfRange } = {}) {
  return opened(source, wasm, async (packed) => {
    if (!packed.channels) return new Classifier(packed, documentOf(packed));
    // Whoever has texts only does without.
    return (await import("./numbers.js")).NumberClassifier.of(packed, outOfRange);
  });
}

/** What the document of a classifier of texts says besides. */
const OF_TEXTS = {
  text: (value) => isString(value?.tokenizer),
  examples: (value) =>
    isListOf(value, (e) => isString(e?.text) && isListOf(e.ids, Number.isInteger) && isListOf(e.logits, Number.isFinite)),
};

/** What the file says of itself, held against what its engine reads. */
function documentOf(packed) {
  if (packed.channels)
    throw new BundleError("The packed file takes sequences of numbers.", "Use NumberClassifier of numbers.js, or load for either kind.");
  const document = readDocument(packed, OF_TEXTS);
  if (document.examples.some(({ logits }) => logits.length !== packed.classes)) throw contradiction();
  return document;
}

/** A classifier read from a packed file. Make one with `Classifier.load`. */
export class Classifier {
  #packed;
  #document;
  #answers;

  constructor(packed, document) {
    this.#packed = packed;
    this.#document = document;
    this.#answers = new Answers(document, () => this.#engine);
  }

  /**
   * Read and check a packed file.
   *
   * @param source its address, or its bytes: an ArrayBuffer, a Uint8Array, a Node Buffer.
   * @param options.wasm where pocketrnn.wasm is, if not beside this module: its address, its bytes, or a WebAssembly.Module.
   * @throws BundleError there is no such file, it is damaged or no packed classifier, or pocketrnn.wasm is missing.
   */
  static async load(source, { wasm } = {}) {
    return opened(source, wasm, (packed) => new Classifier(packed, documentOf(packed)));
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
    this.#answers.checkTop(top);
    return this.#answers.prediction(this.#logits([checkedText(text)])[0], top);
  }

  /** The likeliest label of every text, in the texts' order. */
  async predict(texts) {
    return this.#logits(listed(texts)).map((row) => this.#answers.likeliest(row));
  }

  /** The probabilities of every label for every text: arrays in the order of `labels`. Of a multi-label classifier
   * (activation "sigmoid") they do not add up to 1. */
  async predictProba(texts) {
    return this.#logits(listed(texts)).map((row) => this.#answers.probabilities(row));
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
    return (await this.predictProba(texts)).map((row) => this.#answers.labelsReached(row, threshold));
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
    const { examples } = this.#document;
    const together = this.#logits(examples.map((example) => example.text));
    let largest = 0;
    for (const [i, { text, ids, logits }] of examples.entries()) {
      const which = JSON.stringify(text.slice(0, 40));
      if (this.encode(text).join() !== ids.join()) throw this.#answers.notAsMade(which, "it becomes other token ids");
      for (const answer of [together[i], this.#logits([text])[0]])
        largest = Math.max(largest, this.#answers.difference(which, answer, logits));
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
      answers: this.#answers,
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
      const wrong = statuses.findIndex((status) => status !== STATUS.OK);
      if (wrong >= 0) throw this.#refusal(statuses[wrong], some[wrong], texts.length > 1 ? start + wrong : undefined);
      for (let i = 0; i < some.length; i++) rows.push(logits.slice(i * packed.classes, (i + 1) * packed.classes));
    }
    this.#answers.checkFinite(rows);
    return rows;
  }

  #asked(ask) {
    try {
      return ask();
    } catch (error) {
      throw error instanceof EngineError ? this.#failed(error.message, error.status) : error;
    }
  }

  #failed(sentence, status) {
    if (status === STATUS.NO_STREAM)
      return new InputError(
        `The packed file of ${this.name} cannot answer while a text arrives: it holds no step.`,
        "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
      );
    const whole = "Classify such a text as a whole.";
    const remedy = { [STATUS.UNDECIDED]: whole, [STATUS.WAITING]: whole, [STATUS.SAVED]: "Begin the stream again from its text." }[status];
    if (remedy) return new InputError(sentence, remedy);
    if (status === STATUS.COSTLY) return this.#tooCostly("The text");
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
    if (status === STATUS.COSTLY) return this.#tooCostly(which);
    if (!LIMITS.has(status)) return this.#failed(this.#engine.sentence(status), status);
    if (status === STATUS.NO_WORD)
      return new LimitError(
        `${which} holds no known word, and ${this.name} takes none such.`,
        "Give one with a word of its vocabulary.",
      );
    const size = this.encode(text).length;
    const few = status === STATUS.TOO_SHORT;
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
    this.#classifier.answers.checkTop(top);
    return this.#classifier.answers.prediction(this.#pushed(fragment), top);
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
      this.#classifier.answers.checkFinite([logits]);
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

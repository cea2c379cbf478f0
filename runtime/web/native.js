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

import { makeContradictionError, isListOf, readDocument } from "./answers.js";
import { BundleError, viewBytes, EngineError, InputError, isBytes, isString, openPacked, STATUS } from "./engine.js";
import { spansOf } from "./tags.js";
import { checkText, LIMITS, checkList, OF_TEXTS, listLogitRows, TextClassifier, makeUnitFinder, nameText } from "./texts.js";

export { spansOf } from "./tags.js";
export { BundleError, InputError, LimitError, PocketRNNError } from "./engine.js";

// So many texts are answered in one call of the engine.
const AT_ONCE = 256;

/**
 * Read a packed file of either kind.
 *
 * @param options.outOfRange of a file that takes sequences of numbers, as for NumberClassifier.load.
 * @returns a Classifier of texts, or a NumberClassifier of sequences of numbers.
 */
export function load(source, { wasm, outOfRange } = {}) {
  return openPacked(source, wasm, async (packed) => {
    if (!packed.channels) return new Classifier(packed, checkPackedDocument(packed));
    // Whoever has texts only does without.
    return (await import("./numbers.js")).NumberClassifier.of(packed, outOfRange);
  });
}

/** Read the file's document, and compare it with what its engine reads. */
function checkPackedDocument(packed) {
  if (packed.channels)
    throw new BundleError("The packed file takes sequences of numbers.", "Use NumberClassifier of numbers.js, or load for either kind.");
  const document = readDocument(packed, OF_TEXTS);
  const fits = (e) => listLogitRows(e).every((row) => row.length === packed.classes) && (document.labels_of === undefined ? 1 : e.ids.length) === listLogitRows(e).length;
  if (!document.examples.every(fits)) throw makeContradictionError();
  return document;
}

/** A classifier read from a packed file. Make one with `Classifier.load`. */
export class Classifier extends TextClassifier {
  /**
   * Read and check a packed file.
   *
   * @param source its address, or its bytes: an ArrayBuffer, a Uint8Array, a Node Buffer.
   * @param options.wasm where pocketrnn.wasm is, if not beside this module: its address, its bytes, or a WebAssembly.Module.
   * @throws BundleError there is no such file, it is damaged or no packed classifier, or pocketrnn.wasm is missing.
   */
  static async load(source, { wasm } = {}) {
    return openPacked(source, wasm, (packed) => new Classifier(packed, checkPackedDocument(packed)));
  }

  /**
   * The logits that the engine computes: for each text a Float32Array in the order of `labels`.
   *
   * @throws LimitError a text is beyond the classifier's limits.
   */
  async logits(texts) {
    const rows = (await this.#wholeLogits(texts)).map((row) => this._answers.selectLogits(row));
    this._answers.checkFinite(rows);
    return rows;
  }

  /** The names of the heads, by which `classify` and the others give their answers. Empty for a classifier with one set of
   * labels. */
  get heads() {
    return this._answers.names ?? [];
  }

  /**
   * The same classifier with the labels of one head only; it shares the engine.
   *
   * @throws InputError there is no such head.
   */
  head(name) {
    if (!this.heads.length) throw new InputError(`${this.name} has no heads: it answers with one set of labels.`, "Leave out the head.");
    const other = new Classifier(this._engine, this.manifest);
    other._answers = other._answers.head(name);
    return other;
  }

  /** The logits of all heads. */
  async #wholeLogits(texts) {
    this.#checkWhole();
    const given = checkList(texts);
    const packed = this._engine;
    const rows = [];
    if (packed.takesPairs || packed.features.length) return given.map((one, i) => this.#logitsBeside(one, given.length > 1 ? i : undefined));
    for (let start = 0; start < given.length; start += AT_ONCE) {
      const some = given.slice(start, start + AT_ONCE).map(checkText);
      const { statuses, logits } = this._asked(() => packed.logits(some));
      const wrong = statuses.findIndex((status) => status !== STATUS.OK);
      if (wrong >= 0) this.#refuse(statuses[wrong], some[wrong], given.length > 1 ? start + wrong : undefined);
      for (let i = 0; i < some.length; i++) rows.push(logits.slice(i * packed.classes, (i + 1) * packed.classes));
    }
    return rows;
  }

  /** The logits of a text with its second text or its features. */
  #logitsBeside(given, place) {
    const packed = this._engine;
    const which = nameText(place);
    const [text, beside] = this._parted(given, which);
    const { status, logits } = packed.logitsBeside(text, packed.takesPairs ? beside : encodeFeatures(packed, beside, which));
    if (status !== STATUS.OK) this.#refuse(status, given, place);
    return logits;
  }

  /**
   * Label each token of a text; for a file that was packed from a tagger.
   *
   * @param given a text; or the list of its tokens, where your code splits texts: `start` and `end` then count tokens.
   * @returns { text, tags, untagged, spans }: for each token { token, label, probability, start, end }, by UTF-16 unit of the text
   *   as it was given; the tokens without a label, which the rules cut off or drop; and what spansOf makes of the tags.
   * @throws LimitError the text is beyond the classifier's limits.
   * @throws InputError the file labels texts, or the places of the tokens are not known.
   */
  async tag(given) {
    if (this.manifest.labels_of !== "tokens")
      throw new InputError(`${this.name} gives a label for a text, not for its tokens.`, "Use classify() or predict().");
    return this.#tagged(given);
  }

  /** The tags of each of several texts, in their order. */
  async predictTags(texts) {
    const given = checkList(texts);
    return Promise.all(given.map((text) => this.tag(text)));
  }

  #tagged(given) {
    const isText = isString(given);
    if (!isText && !isListOf(given, isString)) throw new InputError(`A text must be a string or a list of strings, not ${typeof given}.`, "Give the text, or its tokens.");
    const packed = this._engine;
    let found;
    try {
      found = packed.tags(given);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      if (isText) this.#refuse(error.status, given);
      throw this._makeError(error.message, error.status);
    }
    const [begins, ends] = isText ? [makeUnitFinder(given), makeUnitFinder(given)] : [(at) => at, (at) => at];
    const all = found.map(({ start, end, label, probability }) => {
      const [from, to] = [begins(start), ends(end)];
      return { token: isText ? given.slice(from, to) : given[from], label: this.labels[label], probability, start: from, end: to };
    });
    const tags = all.filter(({ label }) => label !== undefined);
    const untagged = all.filter(({ label }) => label === undefined).map(({ token, start, end }) => ({ token, start, end }));
    return { text: given, tags, untagged, spans: spansOf(tags, given) };
  }

  async _rows(texts) {
    if (this.manifest.labels_of !== "tokens") return super._rows(texts);
    return texts.map((text) => this._asked(() => this._engine.tokenLogits(this.encode(text))));
  }

  #checkWhole() {
    if (this.manifest.labels_of === "tokens")
      throw new InputError(`${this.name} gives a label for each token, not for a text.`, "Use tag() or predictTags().");
  }

  /**
   * Make a stream: a text arrives in fragments and is classified after each: `stream.push("Wall St. ")`.
   *
   * @param saved what `stream.save()` gave, here or in another program with the same file, to go on from there.
   * @throws InputError the file was packed of a bundle without streams, or `saved` is damaged or another file's.
   */
  stream(saved) {
    this.#checkWhole();
    if (saved !== undefined && !isBytes(saved)) throw new InputError("saved is not bytes.", "Give what stream.save() gave.");
    return new Stream({
      saved: saved && viewBytes(saved),
      asked: (ask) => this._asked(() => ask(this._engine)),
      answers: this._answers,
    });
  }

  _makeError(sentence, status, which) {
    if (status === STATUS.NO_STREAM)
      return new InputError(
        `The packed file of ${this.name} cannot answer while a text arrives: it holds no step.`,
        "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
      );
    const whole = "Classify such a text as a whole.";
    const remedy = { [STATUS.UNDECIDED]: whole, [STATUS.WAITING]: whole, [STATUS.SAVED]: "Begin the stream again from its text.", [STATUS.PLACES]: "Split the text yourself, and give the list of its tokens." }[status];
    return remedy ? new InputError(sentence, remedy) : super._makeError(sentence, status, which);
  }

  /** Throw the error that says why a text was refused; `place` is its index, undefined if it is the only one. */
  #refuse(status, text, place) {
    if (LIMITS.has(status)) for (const ids of this._listIds(text)) this._checkLimits(ids, place);
    throw this._makeError(this._engine.sentence(status), status, nameText(place));
  }
}

/** The numbers that the program gets for the features of a text, given by name; `which` names the text and begins the sentence. */
function encodeFeatures(packed, values, which) {
  const names = packed.features.map(({ name }) => name);
  const remedy = `Give ${names.join(", ")}.`;
  const unknown = Object.keys(values).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new InputError(`${which} has the feature ${JSON.stringify(unknown)}, which the classifier does not take.`, remedy);
  return packed.features.map(({ name, isCategory }, i) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined || value === null) throw new InputError(`${which} has no value for the feature ${name}.`, remedy);
    const isRight = isCategory ? isString(value) || Number.isInteger(value) : typeof value === "number";
    const stated = `${which} has ${name}=${String(value).slice(0, 40)}`;
    if (!isRight)
      throw new InputError(`${stated} of the type ${typeof value}, but ${name} is a ${isCategory ? "category" : "number"}.`, isCategory ? "Give a string or a whole number." : "Give a number.");
    const { status, number } = packed.encodeFeature(i, isCategory ? String(value) : value);
    if (status === STATUS.UNKNOWN) throw new InputError(`${stated}, which ${name} does not know.`, "Give one of its values, which pocketrnn inspect lists.");
    if (status !== STATUS.OK) throw new InputError(`${stated}, which is not a finite float32.`, "Give a finite number; one that is missing is yours to fill in, as it was in training.");
    return number;
  });
}

// A fragment that ends in the first half of a surrogate pair, whose second half may come with the next.
const BEGUN = /[\ud800-\udbff]$/;

/** A text that arrives in fragments. Make one with `Classifier.stream`. Each answer is for all the text so far, and costs only
 * the new tokens. After an error the stream is as before. */
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
   * @param options as in `Classifier.classify`.
   */
  async push(fragment, top = 1, { among, prior } = {}) {
    const answers = this.#classifier.answers.among(among).applyPrior(prior);
    answers.checkTop(top);
    return answers.prediction(this.#pushed(fragment), top);
  }

  /** Read a further fragment; returns the logits of all the text so far, a Float32Array. */
  async logits(fragment) {
    return this.#pushed(fragment);
  }

  /** The state from which the stream goes on elsewhere with the same file: a Uint8Array of some kilobytes. It holds the
   * unfinished last word; half of a surrogate pair at its end is saved as a character of its own. */
  save() {
    return this.#classifier.asked((packed) =>
      packed.saved(this.#begun ? packed.push(this.#bytes, this.#begun).stream : this.#bytes),
    );
  }

  /** Forget the text so far. */
  reset() {
    this.#bytes = this.#classifier.asked((packed) => packed.stream());
    this.#begun = "";
  }

  #pushed(fragment) {
    if (!isString(fragment) && !isBytes(fragment))
      throw new InputError(`A fragment must be a string or bytes, not ${typeof fragment}.`, "Give what has arrived of the text.");
    const whole = isString(fragment) ? this.#begun + fragment : viewBytes(fragment);
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

/** Shared by texts.js and numbers.js: a file's document, how its logits become labels, and a classifier that uses both. */

import { BundleError, EngineError, InputError, isString, LimitError, MAKE_AGAIN, PocketRNNError, STATUS } from "./engine.js";

export const isListOf = (value, test) => Array.isArray(value) && value.every(test);

const ACTIVATIONS = ["softmax", "sigmoid", "values"];
const isName = (value) => isString(value) && value !== "";
const LABELLED = {
  labels: (value) => isListOf(value, isString) && value.length > 0,
  activation: (value) => ACTIVATIONS.includes(value),
};
const HEADS = {
  heads: (value) => isListOf(value, (head) => isName(head?.name) && !findFaultyMember(head, LABELLED) && hasThresholds(head)) && value.length > 1,
};
const DOCUMENT = {
  name: isName,
  graph: (value) => typeof value === "object" && value !== null,
  parity: (value) => Number.isFinite(value?.tolerance) && value.tolerance >= 0,
};

const findFaultyMember = (document, needed) => Object.keys(needed).find((name) => !needed[name](document?.[name]));
const hasThresholds = ({ thresholds, labels }) =>
  thresholds === undefined ||
  (isListOf(thresholds, (one) => Number.isFinite(one) && one >= 0 && one <= 1) && thresholds.length === labels.length);

/** The error for a file whose document contradicts what its engine reads. */
export const makeContradictionError = () =>
  new BundleError("The packed file contradicts itself: its document is not what its engine reads.", MAKE_AGAIN);

/** Read a file's document, and compare it with what its engine reads. `more` names further members and what they must be. */
export function readDocument(packed, more) {
  let document;
  try {
    document = JSON.parse(packed.string("document"));
  } catch (error) {
    throw new BundleError(`The packed file holds no valid document: ${error.message}.`, MAKE_AGAIN);
  }
  const needed = { ...DOCUMENT, ...(document?.heads === undefined ? LABELLED : HEADS), ...more };
  const fault = findFaultyMember(document, needed) ?? (document.heads || hasThresholds(document) ? undefined : "thresholds");
  if (fault) throw new BundleError(`The packed file holds no valid document: ${fault} is missing or wrong.`, MAKE_AGAIN);
  const { labels_of } = document;
  const ofTokens = packed.call("labels_tokens", packed.classifier) === 1;
  if (labels_of !== undefined && !ofTokens)
    throw new BundleError(`${document.name} gives a label for each token, not for a text.`, "Pack the bundle, and use tag() of native.js.");
  if (labels_of !== (ofTokens ? "tokens" : undefined)) throw makeContradictionError();
  const givesValues = packed.call("gives_values", packed.classifier) === 1;
  const read = packed.heads();
  const stated = document.heads ?? [{ ...document, name: undefined }];
  const isAsRead = ({ name, labels, activation }, i) =>
    read[i]?.name === name &&
    read[i].labels === labels.length &&
    labels.every((label, k) => packed.string("label", read[i].first + k) === label) &&
    activation === ACTIVATIONS[givesValues ? 2 : Number(read[i].isMultiLabel)];
  if (read.length !== stated.length || !stated.every(isAsRead)) throw makeContradictionError();
  return document;
}

/** How a file's logits become labels; `engine` is a function that gives the open engine. */
export function makeAnswers(document, engine) {
  if (!document.heads) return new Answers(document, engine);
  let first = 0;
  const parts = document.heads.map((head) => {
    const part = new Answers({ ...head, parity: document.parity, name: `${document.name} (${head.name})` }, engine, first);
    first += head.labels.length;
    return [head.name, part];
  });
  return new HeadAnswers(document, new Map(parts));
}

// The label of what is none of the others: it stays among those that are chosen.
const UNDETERMINED = "und";

/** How the logits of one classifier become labels. */
export class Answers {
  #document;
  #engine;
  #first;
  #kept;
  #weights;

  /** `first` is the index of its first logit among all logits of the engine. */
  constructor(document, engine, first = 0) {
    this.#document = document;
    this.#engine = engine;
    this.#first = first;
  }

  get labels() {
    return this.#document.labels;
  }

  get activation() {
    return this.#document.activation;
  }

  get thresholds() {
    return this.#document.thresholds;
  }

  /** Its own logits among all of the engine. */
  selectLogits(logits) {
    return logits.slice(this.#first, this.#first + this.labels.length);
  }

  /** The same answers with fewer labels: those of `chosen`, and `und`. A label after a minus is left out; if all are so written,
   * every other label stays. Without `chosen`, all labels stay. */
  among(chosen) {
    if (chosen === undefined) return this;
    const { name, labels, activation } = this.#document;
    if (isString(chosen) || typeof chosen?.[Symbol.iterator] !== "function")
      throw new InputError("among is not a list of labels.", 'Give one: ["en", "de"].');
    if (activation !== "softmax")
      throw new InputError(
        `among is for classifiers that give exactly one label, and ${name} does not.`,
        "Leave it out.",
      );
    const given = Array.from(chosen);
    const leftOut = given.filter((label) => !labels.includes(label) && label[0] === "-").map((label) => label.slice(1));
    const named = given.filter((label) => labels.includes(label));
    const unknown = [...given.filter((label) => !labels.includes(label) && label[0] !== "-"), ...leftOut].find((label) => !labels.includes(label));
    if (unknown !== undefined) throw new InputError(`${name} has no label ${JSON.stringify(unknown)}.`, `Its labels: ${labels.join(", ")}.`);
    const wanted = named.length || !leftOut.length ? [...named, UNDETERMINED] : labels;
    const kept = labels.filter((label) => wanted.includes(label) && !leftOut.includes(label));
    if (!kept.length || !given.length) throw new InputError("among has no label.", "Name at least one.");
    const other = new Answers(this.#document, this.#engine, this.#first);
    other.#kept = new Set(kept.map((label) => labels.indexOf(label)));
    other.#weights = this.#weights;
    return other;
  }

  /** The same answers with a prior: how often each label is expected, in any unit, or the name of a prior of the file. The
   * labels that it does not name share the number of its rarest one. Without a prior, nothing changes. */
  applyPrior(prior) {
    if (prior === undefined) return this;
    const { name, labels, activation, priors = {} } = this.#document;
    if (activation !== "softmax")
      throw new InputError(
        `prior is for classifiers that give exactly one label, and ${name} does not.`,
        "Leave it out.",
      );
    if (isString(prior) && !Object.hasOwn(priors, prior)) {
      const names = Object.keys(priors);
      throw new InputError(`${name} has no prior ${JSON.stringify(prior)}.`, names.length ? `Its priors: ${names.join(", ")}.` : "It has none: give numbers for its labels.");
    }
    const expected = Object.entries(isString(prior) ? priors[prior] : (prior ?? {}));
    const wrong = expected.find(([label, number]) => !labels.includes(label) || !(Number.isFinite(number) && number >= 0));
    if (wrong) throw new InputError(`The prior of ${JSON.stringify(wrong[0])} is ${wrong[1]}.`, `Use numbers from 0 for labels: ${labels.join(", ")}.`);
    const above = expected.map(([, number]) => number).filter((number) => number > 0);
    if (!above.length) throw new InputError("The prior gives every label the weight 0.", "Give at least one label a weight above 0.");
    const weights = new Map(expected);
    const rare = Math.min(...above) / Math.max(1, labels.length - weights.size);
    const other = new Answers(this.#document, this.#engine, this.#first);
    other.#kept = this.#kept;
    other.#weights = labels.map((label) => Math.log((weights.get(label) ?? rare) / Math.max(...above)));
    return other;
  }

  /** The logits with the prior added; a label that is not chosen gets minus infinity, which is a probability of 0. */
  #chosen(logits) {
    if (!this.#kept && !this.#weights) return logits;
    return logits.map((logit, i) => (this.#kept?.has(i) ?? true ? logit + (this.#weights?.[i] ?? 0) : -Infinity));
  }

  checkLabels() {
    const { name, activation } = this.#document;
    if (activation === "values") throw new InputError(`${name} gives values, not labels.`, "Use values() or predict().");
  }

  checkTop(top) {
    this.checkLabels();
    const most = this.#kept?.size ?? this.#document.labels.length;
    if (!Number.isInteger(top) || top < 1 || top > most)
      throw new InputError(`top is ${top}.`, `Use a whole number from 1 to ${most}.`);
  }

  /** The likeliest labels: `{ label, probability, top: [{ label, probability }, ...] }`. */
  prediction(logits, top) {
    const { labels } = this.#document;
    const probabilities = this.probabilities(logits);
    const chosen = this.#chosen(logits);
    const likeliest = labels
      .map((_, i) => i)
      .filter((i) => this.#kept?.has(i) ?? true)
      .sort((i, j) => chosen[j] - chosen[i] || i - j)
      .slice(0, top)
      .map((i) => ({ label: labels[i], probability: probabilities[i] }));
    return { ...likeliest[0], top: likeliest };
  }

  /** The likeliest label; values are given as they are. */
  likeliest(logits) {
    const { labels, activation } = this.#document;
    const chosen = this.#chosen(logits);
    return activation === "values" ? logits : labels[chosen.indexOf(Math.max(...chosen))];
  }

  probabilities(logits) {
    this.checkLabels();
    return this.#engine().probabilities(this.#chosen(logits), this.#first);
  }

  /** The labels that reach their threshold, or `threshold` if it is given. If exactly one label is right, only the likeliest is
   * tried; of two whose different thresholds add up to 1, the one that reaches its threshold is given. */
  labelsReached(probabilities, threshold) {
    const { labels, activation, thresholds = 0.5 } = this.#document;
    const wanted = threshold ?? thresholds;
    const isDecided = wanted.length === 2 && wanted[0] !== wanted[1] && Math.abs(wanted[0] + wanted[1] - 1) < 1e-9;
    if (activation === "softmax" && isDecided) return [labels[Number(probabilities[1] >= wanted[1])]];
    const likeliest = probabilities.indexOf(Math.max(...probabilities));
    return labels.filter((_, i) => {
      const needed = typeof wanted === "number" ? wanted : wanted[i];
      return probabilities[i] >= needed && (activation === "sigmoid" || i === likeliest);
    });
  }

  /** Refuse rows without probabilities: a logit may be minus infinity, but the largest may not be infinite, and none may be NaN.
   * Values must be finite. */
  checkFinite(rows) {
    const { name, activation } = this.#document;
    const are = (row) => (activation === "values" ? row.every(Number.isFinite) : Number.isFinite(Math.max(...row)));
    if (!rows.every(are))
      throw new PocketRNNError(
        `The graph of ${name} answered with ${activation === "values" ? "numbers" : "logits"} that are NaN or infinite.`,
        "Check the file with: pocketrnn verify",
      );
  }

  /** How far an answer to a golden example is from the stored one; an error beyond the tolerance. */
  difference(which, answer, logits) {
    const { activation, parity } = this.#document;
    const largest = (row) => row.indexOf(Math.max(...row));
    if (activation !== "values" && largest(answer) !== largest(logits)) throw this.makeDifferenceError(which, "the label is another one");
    const scale = Math.max(1, Math.max(...logits.map(Math.abs)) / 10);
    const difference = Math.max(...logits.map((logit, k) => Math.abs(answer[k] - logit))) / scale;
    if (!(difference <= parity.tolerance)) throw this.makeDifferenceError(which, `a logit differs by ${difference}`);
    return difference;
  }

  makeDifferenceError(which, how) {
    return new PocketRNNError(
      `${this.#document.name} does not answer its golden example ${which} as it did when it was made: ${how}.`,
      "Do not use it in this browser; report the browser and its version.",
    );
  }
}

/** How the logits of several heads become labels: where `Answers` gives one answer, it gives an object with one for each head. */
class HeadAnswers {
  #document;
  #parts;

  constructor(document, parts) {
    this.#document = document;
    this.#parts = parts;
  }

  /** The answers of one head. */
  head(name) {
    const found = this.#parts.get(name);
    if (!found) throw new InputError(`${this.#document.name} has no head ${JSON.stringify(name)}.`, `Its heads: ${this.names.join(", ")}.`);
    return found;
  }

  get names() {
    return [...this.#parts.keys()];
  }

  get labels() {
    return [...this.#parts].flatMap(([name, part]) => part.labels.map((label) => `${name}: ${label}`));
  }

  get activation() {
    return "heads";
  }

  selectLogits(logits) {
    return logits;
  }

  among(chosen) {
    return this.#checkNone(chosen, "among is");
  }

  applyPrior(prior) {
    return this.#checkNone(prior, "a prior is");
  }

  #checkNone(option, what) {
    const [name] = this.names;
    if (option !== undefined)
      throw new InputError(`${this.#document.name} has the heads ${this.names.join(", ")}, but ${what} of one.`, `Choose it: head(${JSON.stringify(name)}).`);
    return this;
  }

  checkLabels() {}

  checkTop(top) {
    const parts = [...this.#parts.values()];
    parts.reduce((most, part) => (part.labels.length > most.labels.length ? part : most)).checkTop(top);
  }

  prediction(logits, top) {
    return this.#each((part) => part.prediction(part.selectLogits(logits), Math.min(top, part.labels.length)));
  }

  likeliest(logits) {
    return this.#each((part) => part.likeliest(part.selectLogits(logits)));
  }

  probabilities(logits) {
    return this.#each((part) => part.probabilities(part.selectLogits(logits)));
  }

  labelsReached(probabilities, threshold) {
    return this.#each((part, name) => part.labelsReached(probabilities[name], threshold));
  }

  checkFinite(rows) {
    this.#each((part) => part.checkFinite(rows.map((row) => part.selectLogits(row))));
  }

  difference(which, answer, logits) {
    return Math.max(...Object.values(this.#each((part) => part.difference(which, part.selectLogits(answer), part.selectLogits(logits)))));
  }

  makeDifferenceError(which, how) {
    return this.head(this.names[0]).makeDifferenceError(which, how);
  }

  #each(made) {
    return Object.fromEntries([...this.#parts].map(([name, part]) => [name, made(part, name)]));
  }
}

/** A classifier of texts or of sequences of numbers. A subclass computes the logits in its method `logits`, whose errors name
 * the item; `row` is the word for an item. */
export class AnyClassifier {
  #packed;
  #document;
  #row;
  _answers;

  constructor(packed, document, row) {
    this.#packed = packed;
    this.#document = document;
    this.#row = row;
    this._answers = makeAnswers(document, () => this._engine);
  }

  /** The name of the classifier. */
  get name() {
    return this.#document.name;
  }

  /** The classes, in the order of the logits: labels, or the names of values; with several heads, the labels of all, as in
   * `mood: bad`. */
  get labels() {
    return this._answers.labels;
  }

  /** How logits become answers: "softmax", "sigmoid", "values" or "heads". */
  get activation() {
    return this._answers.activation;
  }

  /** The content of the bundle's classifier.json without the vocabulary, and without the golden examples of numbers. */
  get manifest() {
    return this.#document;
  }

  /** For each label the probability from which `predictLabels` gives it; undefined if the file has no thresholds. */
  get thresholds() {
    return this._answers.thresholds;
  }

  /**
   * Classify one text or sequence: `{ label, probability, top: [{ label, probability }, ...] }`, with the `top` likeliest
   * labels; with several heads, an object with one such answer for each.
   *
   * @param options.among labels, of which the answer is one. `und`, the label of what is none of the others, stays; one after
   *   a minus is left out, "-und"; with such ones alone, all others stay.
   * @param options.prior how often each label is expected, in any unit, { en: 70, de: 30 }; or the name of a prior of the file.
   */
  async classify(given, top = 1, { among, prior } = {}) {
    const answers = this._answers.among(among).applyPrior(prior);
    answers.checkTop(top);
    return answers.prediction(await this._computeItemLogits(given), top);
  }

  /** The likeliest label of each, in their order; options as in `classify`. A file that gives values gives these. */
  async predict(given, { among, prior } = {}) {
    const answers = this._answers.among(among).applyPrior(prior);
    return (await this.logits(given)).map((row) => answers.likeliest(row));
  }

  /** The probabilities of all labels for each: arrays in the order of `labels`, with 0 for the labels that `among` leaves out.
   * Those of a multi-label classifier (activation "sigmoid") do not add up to 1. */
  async predictProba(given, { among, prior } = {}) {
    const answers = this._answers.among(among).applyPrior(prior);
    return (await this.logits(given)).map((row) => answers.probabilities(row));
  }

  /**
   * All labels of each that reach their threshold, in the order of `labels`, for a multi-label classifier. If exactly one label
   * is right (activation "softmax"), the likeliest one or none.
   *
   * @param threshold one for all labels; without it those that the file keeps, or else 0.5.
   * @param options as in `classify`.
   */
  async predictLabels(given, threshold, { among, prior } = {}) {
    return (await this.predictProba(given, { among, prior })).map((row) => this._answers.labelsReached(row, threshold));
  }

  /** The logits of a single text or sequence; its errors name no index. */
  async _computeItemLogits(given) {
    return (await this.logits([given]))[0];
  }

  /** Free the engine's memory; the classifier answers nothing afterwards. */
  async release() {
    this.#packed = undefined;
  }

  get _engine() {
    if (!this.#packed) throw new InputError(`${this.name} was released.`, "Load it again.");
    return this.#packed;
  }

  _asked(ask) {
    try {
      return ask();
    } catch (error) {
      throw error instanceof EngineError ? this._makeError(error.message, error.status) : error;
    }
  }

  /** The error for a status of the engine, with its sentence; `which` names the item and begins the sentence. */
  _makeError(sentence, status, which = `The ${this.#row}`) {
    if (status === STATUS.COSTLY)
      return new LimitError(
        `${which} would need more memory or time than the engine allows for ${this.name}.`,
        `Shorten the ${this.#row}; if a short ${this.#row} is refused, too, do not use the file.`,
      );
    if (status === STATUS.LARGE)
      return new LimitError(
        `${which} makes ${this.name} compute an integer beyond 32 bits, which a packed file cannot hold.`,
        `Give the ${this.#row} to the bundle that the file was made from, or shorten the ${this.#row}.`,
      );
    return new PocketRNNError(`The engine of ${this.name} failed: ${sentence}`, "Check the file with: pocketrnn verify");
  }
}

/** What texts.js and numbers.js share of answers: what a file says of itself, and logits to labels. */

import { BundleError, InputError, isString, MAKE_AGAIN, PocketRNNError } from "./engine.js";

export const isListOf = (value, test) => Array.isArray(value) && value.every(test);

const ACTIVATIONS = ["softmax", "sigmoid", "values"];
const DOCUMENT = {
  name: (value) => isString(value) && value !== "",
  labels: (value) => isListOf(value, isString) && value.length > 0,
  activation: (value) => ACTIVATIONS.includes(value),
  graph: (value) => typeof value === "object" && value !== null,
  parity: (value) => Number.isFinite(value?.tolerance) && value.tolerance >= 0,
};

const areThresholds = ({ thresholds, labels }) =>
  isListOf(thresholds, (one) => Number.isFinite(one) && one >= 0 && one <= 1) && thresholds.length === labels.length;

/** What is thrown where a file says other than its engine reads. */
export const contradiction = () =>
  new BundleError("The packed file contradicts itself: its document is not what its engine reads.", MAKE_AGAIN);

/** What a file says of itself, held against what its engine reads. `more` has further members of it, with what they must be. */
export function readDocument(packed, more) {
  let document;
  try {
    document = JSON.parse(packed.string("document"));
  } catch (error) {
    throw new BundleError(`The packed file holds no valid document: ${error.message}.`, MAKE_AGAIN);
  }
  const needed = { ...DOCUMENT, ...more };
  const fault =
    Object.keys(needed).find((name) => !needed[name](document?.[name])) ??
    (document.thresholds === undefined || areThresholds(document) ? undefined : "thresholds");
  if (fault) throw new BundleError(`The packed file holds no valid document: ${fault} is missing or wrong.`, MAKE_AGAIN);
  const { labels, activation } = document;
  const read = packed.call("gives_values", packed.classifier) ? 2 : packed.call("is_multi_label", packed.classifier);
  if (labels.length !== packed.classes || labels.some((label, i) => packed.string("label", i) !== label) || activation !== ACTIVATIONS[read])
    throw contradiction();
  return document;
}

/** What logits of one classifier mean. */
export class Answers {
  #document;
  #engine;

  /** `engine` gives the engine that is asked, as long as there is one. */
  constructor(document, engine) {
    this.#document = document;
    this.#engine = engine;
  }

  checkTop(top) {
    const most = this.#document.labels.length;
    if (!Number.isInteger(top) || top < 1 || top > most)
      throw new InputError(`top is ${top}.`, `Use a whole number from 1 to ${most}.`);
  }

  /** The likeliest labels: `{ label, probability, top: [{ label, probability }, ...] }`. */
  prediction(logits, top) {
    const { labels } = this.#document;
    const probabilities = this.probabilities(logits);
    const likeliest = labels
      .map((_, i) => i)
      .sort((i, j) => logits[j] - logits[i] || i - j)
      .slice(0, top)
      .map((i) => ({ label: labels[i], probability: probabilities[i] }));
    return { ...likeliest[0], top: likeliest };
  }

  likeliest(logits) {
    return this.#document.labels[logits.indexOf(Math.max(...logits))];
  }

  probabilities(logits) {
    return this.#engine().probabilities(logits);
  }

  /** The labels that reach their threshold, of which `threshold` is one for all; where one label is right, at most the likeliest. */
  labelsReached(probabilities, threshold) {
    const { labels, activation, thresholds = 0.5 } = this.#document;
    const wanted = threshold ?? thresholds;
    const likeliest = probabilities.indexOf(Math.max(...probabilities));
    return labels.filter((_, i) => {
      const needed = typeof wanted === "number" ? wanted : wanted[i];
      return probabilities[i] >= needed && (activation === "sigmoid" || i === likeliest);
    });
  }

  /** A single logit of minus infinity is a probability of 0; NaN, or infinity as the largest one, is none at all. A value is
   * finite. */
  checkFinite(rows) {
    const { name, activation } = this.#document;
    const are = (row) => (activation === "values" ? row.every(Number.isFinite) : Number.isFinite(Math.max(...row)));
    if (!rows.every(are))
      throw new PocketRNNError(
        `The graph of ${name} answered with ${activation === "values" ? "numbers" : "logits"} that are NaN or infinite.`,
        "Check the file with: pocketrnn verify",
      );
  }

  /** How far the answer to a golden example is from what it was; refused beyond the tolerance. */
  difference(which, answer, logits) {
    const { activation, parity } = this.#document;
    const largest = (row) => row.indexOf(Math.max(...row));
    if (activation !== "values" && largest(answer) !== largest(logits)) throw this.notAsMade(which, "the label is another one");
    const scale = Math.max(1, Math.max(...logits.map(Math.abs)) / 10);
    const difference = Math.max(...logits.map((logit, k) => Math.abs(answer[k] - logit))) / scale;
    if (!(difference <= parity.tolerance)) throw this.notAsMade(which, `a logit differs by ${difference}`);
    return difference;
  }

  notAsMade(which, how) {
    return new PocketRNNError(
      `${this.#document.name} does not answer its golden example ${which} as it did when it was made: ${how}.`,
      "Do not use it in this browser; report the browser and its version.",
    );
  }
}

/** The methods of a classifier of texts, whether the engine (native.js) or a bundle's graph (pocketrnn.js) computes the logits. */

import { AnyClassifier, isListOf } from "./answers.js";
import { checkDigest, InputError, isString, LimitError, STATUS } from "./engine.js";

/** The tokenizer of a bundle whose texts are split by other code: it takes tokens or ids. */
export const EXTERNAL = "external";
export const LIMITS = new Set([STATUS.TOO_SHORT, STATUS.TOO_LONG, STATUS.NO_WORD]);

/** The rows of logits of a golden example: one row for a text; if each token has a label, one for each id. */
export const listLogitRows = ({ logits }) => (isListOf(logits, Array.isArray) && logits.length ? logits : [logits]);

/** Whether a golden example has a text and its ids, or two of each. */
function isTextAndIds(example) {
  const [texts, ids] = isString(example?.text) ? [[example.text], [example.ids]] : [example?.text, example?.ids];
  return isListOf(texts, isString) && isListOf(ids, (some) => isListOf(some, Number.isInteger)) && ids.length === texts.length && texts.length <= 2;
}

/** The input of a golden example: a text, two texts, or a text with its features. */
const getExampleInput = ({ text, features }) => (features ? [text, features] : text);

/** Further members of the document of a classifier of texts. */
export const OF_TEXTS = {
  text: (value) => isString(value?.tokenizer),
  examples: (value) =>
    isListOf(value, (e) => isTextAndIds(e) && listLogitRows(e).every((row) => isListOf(row, Number.isFinite))),
};

/** A classifier of texts. */
export class TextClassifier extends AnyClassifier {
  constructor(packed, document) {
    super(packed, document, "text");
  }

  /** The token ids of one text; never empty. For two texts, those of each; for a text with features, those of the text. */
  encode(text) {
    const packed = this._engine;
    const one = (given) => this._asked(() => packed.encode(checkText(given)));
    if (packed.takesPairs) return this._parted(text).map(one);
    return one(packed.features.length ? this._parted(text)[0] : text);
  }

  /** Words for what it takes in addition to a text; undefined if it takes only a text. */
  get takesBeside() {
    const { takesPairs, features } = this._engine;
    return takesPairs ? "two texts" : features.length ? `${features.map(({ name }) => name).join(", ")} beside a text` : undefined;
  }

  /** Divide an input into the text and what comes with it: a second text, or its features. */
  _parted(given, which = "The text") {
    const { takesPairs } = this._engine;
    const what = takesPairs ? "two texts" : "a text with its features";
    if (!Array.isArray(given) || given.length !== 2 || (takesPairs ? !given.every(isString) : !isString(given[0]) || typeof (given[1] ?? 0) !== "object"))
      throw new InputError(`${which} is not ${what}.`, `Give a list of both: ${takesPairs ? "[first, second]" : "[text, { name: value }]"}.`);
    return given;
  }

  /** Where the words of a text are, at which it may be cut: [[start, end], ...] by UTF-16 unit. For a classifier of characters,
   * these are its code points. */
  words(text) {
    const places = this._engine.words(checkText(text));
    const units = makeUnitFinder(text);
    return Array.from({ length: places.length / 2 }, (_, i) => [units(places[2 * i]), units(places[2 * i + 1])]);
  }

  /** Whether the classifier takes this text; one beyond its limits is refused with a LimitError. */
  takes(text) {
    return this._listIds(text).every((ids) => this.#findFault(ids) === STATUS.OK);
  }

  /**
   * Compare the file with the text rules with its sha256, and classify the golden examples again: are the answers the same as
   * where the file was made? Pages from plain http hosts other than localhost cannot compute the sha256; there, only the
   * file's checksums are compared, as whenever it is opened.
   *
   * @returns the largest difference of a logit, each text alone and all in one call; a text's logits beyond 10 count
   *   relative to a tenth of the largest.
   * @throws BundleError the sha256 does not match.
   * @throws PocketRNNError an example becomes other ids, another label, or logits beyond the classifier's tolerance.
   */
  async verify() {
    await checkDigest(this._engine.file);
    const { examples, text: rules } = this.manifest;
    // Texts that are split elsewhere are given as ids.
    const given = examples.map((example) => (rules.tokenizer === EXTERNAL ? example.ids : getExampleInput(example)));
    const together = await this._rows(given);
    let largest = 0;
    for (const [i, example] of examples.entries()) {
      const which = JSON.stringify(String(example.text).slice(0, 40));
      if (JSON.stringify(this.encode(given[i])) !== JSON.stringify(example.ids)) throw this._answers.makeDifferenceError(which, "it becomes other token ids");
      for (const rows of [together[i], (await this._rows([given[i]]))[0]])
        listLogitRows(example).forEach((logits, k) => (largest = Math.max(largest, this._answers.difference(which, rows[k], this._answers.selectLogits(logits)))));
    }
    return largest;
  }

  /** The ids of each text of an input. */
  _listIds(given) {
    const ids = this.encode(given);
    return this._engine.takesPairs ? ids : [ids];
  }

  /** The rows of logits of each text, as a golden example has them. */
  async _rows(texts) {
    return (await this.logits(texts)).map((row) => [row]);
  }

  _makeError(sentence, status, which) {
    if (LIMITS.has(status)) return new LimitError(sentence, "Give a text within the limits of the manifest.");
    return super._makeError(sentence, status, which);
  }

  /** Refuse ids beyond the classifier's limits; `place` is the text's index, undefined if it is the only one. */
  _checkLimits(ids, place) {
    const status = this.#findFault(ids);
    if (status === STATUS.OK) return;
    const which = nameText(place);
    if (status === STATUS.NO_WORD)
      throw new LimitError(
        `${which} holds no known word besides padding, but ${this.name} needs one.`,
        "Give a text with at least one word of the classifier's vocabulary.",
      );
    const few = status === STATUS.TOO_SHORT;
    throw new LimitError(
      `${which} becomes ${ids.length} token id${ids.length > 1 ? "s" : ""}, ` +
        `but ${this.name} takes ${few ? `at least ${this._engine.least}` : `at most ${this._engine.most}`}.`,
      few ? "Give a longer text." : "Shorten the text, or export the classifier with max_tokens in its text rules.",
    );
  }

  #findFault(ids) {
    const { least, most } = this._engine;
    const { graph, text } = this.manifest;
    if (ids.length < least) return STATUS.TOO_SHORT;
    if (ids.length > most) return STATUS.TOO_LONG;
    return graph.limits?.real_token && ids.every((id) => id === text.padding_id) ? STATUS.NO_WORD : STATUS.OK;
  }
}

/** A function from a byte offset in a text to the offset in UTF-16 units; fastest if it is called with rising offsets. */
export function makeUnitFinder(text) {
  let [bytes, units] = [0, 0];
  return (place) => {
    if (place < bytes) [bytes, units] = [0, 0];
    for (; bytes < place; units++) {
      const code = text.codePointAt(units);
      bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      units += code > 0xffff;
    }
    return units;
  };
}

/** The name of a text, to begin a sentence with. */
export const nameText = (place) => `The text${place === undefined ? "" : ` at position ${place} (counted from 0)`}`;

export function checkText(text) {
  if (!isString(text))
    throw new InputError(`A text must be a string, not ${typeof text}.`, "Use predict or predictProba for several texts.");
  return text;
}

export function checkList(texts) {
  if (isString(texts) || typeof texts?.[Symbol.iterator] !== "function")
    throw new InputError("This takes a list of texts.", "Use classify for one text, or give a list.");
  return Array.from(texts);
}

/**
 * Packed files that take sequences of numbers: what a sensor gives, window by window or as a whole.
 *
 *     import { NumberClassifier } from "./numbers.js";
 *     const classifier = await NumberClassifier.load("walking.prnn");
 *     await classifier.classify([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]]);   // { label, probability, top }
 *     const stream = classifier.stream();
 *     for (const { start, answer } of await stream.push([0.1, 0.2, 9.7])) console.log(start, answer.label);
 *
 * A sequence is rows of a number for each channel, or a typed array of all of them, step after step. The module's own input
 * is made of it by the rules in the file, as everywhere.
 */

import { AnyClassifier, makeContradictionError, isListOf, readDocument } from "./answers.js";
import {
  ALIGN, alignUp, BundleError, viewBytes, checkDigest, InputError, isBytes, isString, openPacked, STATUS,
} from "./engine.js";

export { BundleError, InputError, LimitError, PocketRNNError } from "./engine.js";

/** A sequence of numbers has other channels, another length or other values than the classifier takes. */
export class SequenceError extends InputError {}

const WHOLE = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array];
// The engine's type of a sample, by the kind of array that it stands in.
const TYPES = new Map([[Float64Array, 1], [Int32Array, 3]]);
const FAULTS = [
  undefined,
  ["infinite", "Give finite numbers."],
  ["missing (NaN)", "Fill the gap, or export the classifier with missing=, the value that stands for a gap."],
  ["too large for float32", "Check the sensor's unit."],
];
const TOO_LARGE = 3;
const SHOWN_CHANNELS = 6;
const MOST_INT32 = 2 ** 31 - 1;

const isPositiveWhole = (value) => Number.isSafeInteger(value) && value >= 1;
const formatNumber = (number) => number.toLocaleString("en-US");
const quoteName = (name) => (name.includes("'") && !name.includes('"') ? `"${name}"` : `'${name.replaceAll("'", "\\'")}'`);
const isGap = (value) => value === null || value === undefined;
const isNumber = (value) => typeof value === "number";
/** Whether numbers can be read from it as from an array; true also of a Float16Array, if the browser has one. */
const isNumbers = (value) => ArrayBuffer.isView(value) && isNumber(value.length) && !isNumber(value.getInt8) && typeof value[0] !== "bigint";
const isWhole = (value) => WHOLE.includes(value.constructor);

/** A value as a message shows it. */
function formatValue(value) {
  const text = (isNumbers(value) ? `${value.constructor.name} of ${value.length}` : JSON.stringify(value)) ?? String(value);
  const spaced = text.replace(/,(?=\S)/g, ", ");
  return spaced.length <= 40 ? spaced : `${spaced.slice(0, 37)}...`;
}

// -------------------------------------------------------------------------------------------------------- the engine

/** Write samples into the engine's memory, step after step; returns their address. */
function writeSamples(packed, samples) {
  const at = packed.base + ALIGN;
  packed.reserve(ALIGN + samples.byteLength);
  packed.bytes.set(viewBytes(samples), at);
  return at;
}

/** Compute the logits of samples: a status, and the logits. `ask` calls the engine: (at, steps, logits, work, size) -> status. */
function answerSamples(packed, samples, ask) {
  const at = writeSamples(packed, samples);
  const logits = alignUp(at + samples.byteLength);
  const work = alignUp(logits + 4 * packed.classes);
  const status = packed.callWithMemory(work, () => ask(at, samples.length / packed.channels, logits, work, packed.base));
  return { status, logits: new Float32Array(packed.bytes.buffer, logits, packed.classes).slice() };
}

/** The logits of samples as the sensor gives them, a Float64Array or Int32Array. */
const computeLogitsOfSamples = (packed, samples) =>
  answerSamples(packed, samples, (at, steps, ...rest) =>
    packed.call("classify_numbers", packed.classifier, at, TYPES.get(samples.constructor), steps, ...rest),
  );

/** The logits of samples as the program gets them, a Float32Array. */
const computeLogitsOfPrepared = (packed, samples) =>
  answerSamples(packed, samples, (...all) => packed.call("logits_of_samples", packed.classifier, ...all));

/** Turn samples of the sensor into what the program gets: a status, and float32. */
function prepareSamples(packed, samples) {
  const at = writeSamples(packed, samples);
  const out = alignUp(at + samples.byteLength);
  packed.reserve(out + 4 * samples.length - packed.base);
  const steps = samples.length / packed.channels;
  const status = packed.call("prepare", packed.classifier, at, TYPES.get(samples.constructor), steps, out);
  return { status, prepared: new Float32Array(packed.bytes.buffer, out, samples.length).slice() };
}

/** Read further samples of the sensor: returns a status, the stream after them, and the logits of all samples so far. */
function pushSamples(packed, stream, samples) {
  const at = packed.base + ALIGN;
  const given = alignUp(at + stream.length);
  const logits = alignUp(given + samples.byteLength);
  const work = alignUp(logits + 4 * packed.classes);
  packed.reserve(work - packed.base);
  packed.bytes.set(stream, at);
  packed.bytes.set(viewBytes(samples), given);
  const type = TYPES.get(samples.constructor);
  const steps = samples.length / packed.channels;
  const status = packed.callWithMemory(work, () =>
    packed.call("stream_push_numbers", packed.classifier, at, given, type, steps, logits, work, packed.base),
  );
  return { status, stream: packed.copyStream(at), logits: new Float32Array(packed.bytes.buffer, logits, packed.classes).slice() };
}

/** Find the samples that the file's rules refuse: the kind of fault (an index of FAULTS, 0 for none), their count, and the index
 * of the first. */
function findFault(packed, samples) {
  const at = writeSamples(packed, samples);
  const type = TYPES.get(samples.constructor);
  const kind = packed.call("fault_of_samples", packed.classifier, at, type, samples.length / packed.channels, packed.base);
  const [count, first] = packed.wordsAt(packed.base, 2);
  return { kind, count, first };
}

/** The golden examples: the program's input and the logits of each. */
function readExamples(packed) {
  const copied = (at, count) => new Float32Array(packed.bytes.buffer, at, count).slice();
  return Array.from({ length: packed.call("examples", packed.classifier) }, (_, i) => {
    packed.check(packed.call("number_example", packed.classifier, i, packed.base, packed.base + 4, packed.base + 8));
    const [samples, steps, logits] = packed.wordsAt(packed.base, 3);
    return { samples: copied(samples, steps * packed.channels), logits: copied(logits, packed.classes) };
  });
}

// ------------------------------------------------------------------------------------------------------ the document

const isRules = (value) =>
  isListOf(value?.channels, isString) &&
  ["steps", "window", "hop"].every((name) => value[name] === undefined || isPositiveWhole(value[name])) &&
  (value.integer_scale === undefined || isListOf(value.integer_scale, Number.isFinite)) &&
  (value.units === undefined || isListOf(value.units, isString)) &&
  (value.training_range === undefined ||
    (value.training_range.length === value.channels.length && isListOf(value.training_range, (pair) => isListOf(pair, Number.isFinite))));

/** Read the file's document, and compare it with what its engine reads. */
function checkPackedDocument(packed) {
  if (!packed.channels) throw new BundleError("The packed file is of a classifier of texts.", "Use Classifier.load, or load for either kind.");
  const document = readDocument(packed, { numbers: isRules });
  const { channels, steps, window, hop } = document.numbers;
  packed.call("window", packed.classifier, packed.base, packed.base + 4);
  const [ofWindow, ofHop] = packed.wordsAt(packed.base, 2);
  if (
    channels.length !== packed.channels ||
    channels.some((name, i) => packed.string("channel", i) !== name) ||
    (window ?? 0) !== ofWindow ||
    (hop ?? window ?? 0) !== ofHop ||
    (steps !== undefined && (packed.least !== steps || packed.most !== steps))
  )
    throw makeContradictionError();
  return document;
}

// --------------------------------------------------------------------------------------------------------- sequences

const makeNotASequenceError = (value, channels) =>
  new SequenceError(`${formatValue(value)} is not a sequence of numbers [time, channels].`, `Give an array or rows of ${channels.length} numbers.`);

/** Check the rows of a sequence: [time][channels], or [time] for one channel, as arrays or typed arrays. */
function checkRows(sequence, channels) {
  const rows = Array.from(sequence);
  if (channels.length === 1 && rows.every((row) => isNumber(row) || isGap(row))) return rows.map((row) => [row]);
  const isRow = (row) => isNumbers(row) || isListOf(row, (value) => isNumber(value) || isGap(value));
  const flat = rows.every((row) => isNumber(row) || isGap(row));
  if (!flat && !(rows.every(isRow) && rows.every((row) => row.length === rows[0].length))) throw makeNotASequenceError(sequence, channels);
  checkShape(flat ? [rows.length] : [rows.length, rows[0].length], channels);
  return rows;
}

function checkShape(shape, channels) {
  if (shape.length === 2 && shape[1] === channels.length) return;
  const wanted = `${channels.length} channel${channels.length === 1 ? "" : "s"} (${channels.slice(0, SHOWN_CHANNELS).join(", ")})`;
  throw new SequenceError(
    `The sequence has the shape [${shape.join(", ")}], but the classifier takes ${wanted}.`,
    "Give rows of a number for each channel, or a typed array of all of them, step after step.",
  );
}

/**
 * A sequence as the engine takes it, step after step: an Int32Array if the sensor's whole numbers are given, else a
 * Float64Array.
 *
 * @throws SequenceError it is not such a sequence.
 */
function convertToSamples(sequence, rules) {
  const { channels, integer_scale: scale } = rules;
  if (isString(sequence) || typeof sequence?.[Symbol.iterator] !== "function")
    throw new SequenceError(`${formatValue(sequence)} is not a sequence of numbers.`, "Give an array [time, channels], or a list of rows.");
  if (ArrayBuffer.isView(sequence) && !isNumbers(sequence)) throw makeNotASequenceError("An array of BigInt", channels);
  if (sequence.length === 0) throw new SequenceError("The sequence is empty.", "Give at least one time step.");
  const isFlat = isNumbers(sequence);
  if (isFlat && sequence.length % channels.length) checkShape([sequence.length], channels);
  const rows = isFlat ? [sequence] : checkRows(sequence, channels);
  if (!rows.length) throw new SequenceError("The sequence is empty.", "Give at least one time step.");
  // An array of JavaScript's does not say whether 1 is what a sensor gives or a number in the channel's own unit.
  if (scale && !rows.every(isNumbers))
    throw new SequenceError(
      "Whether the numbers are a sensor's whole numbers is not known of plain arrays.",
      "Give an Int16Array or Int32Array of whole numbers as the sensor gives them, or a Float64Array of numbers in the channels' units.",
    );
  const whole = Boolean(scale) && isWhole(rows[0]);
  if (scale && rows.some((row) => isWhole(row) !== whole)) throw makeNotASequenceError(sequence, channels);
  const samples = new (whole ? Int32Array : Float64Array)(isFlat ? sequence.length : rows.length * channels.length);
  rows.forEach((row, step) => {
    for (let i = 0; i < row.length; i++) {
      if (whole && row[i] > MOST_INT32) throw new SequenceError(`${row[i]} has more than 32 bits.`, "Give a Float64Array.");
      samples[step * channels.length + i] = isGap(row[i]) ? NaN : row[i];
    }
  });
  return samples;
}

/** What arrives of a recording, as rows: a single step may be given as a number for each channel. */
function convertStepToRows(samples, channels) {
  const isStep = channels > 1 && Array.isArray(samples) && samples.length === channels && samples.every((one) => isNumber(one) || isGap(one));
  return isStep ? [samples] : samples;
}

function checkList(sequences) {
  if (isString(sequences) || typeof sequences?.[Symbol.iterator] !== "function")
    throw new SequenceError(`${formatValue(sequences)} is not a list of sequences.`, "Give a list of arrays [time, channels].");
  return Array.from(sequences);
}

// Numbers that are this many times the width of the training range outside of it are far (docs/format.md).
const FAR = 4;
const WAYS = ["warn", "refuse", "ignore"];

/** The first sample that is far outside of the training range: `{ at, value, least, most }`; undefined if there is none, or if
 * no range is known. `samples` are step after step. */
export function farOf(samples, { channels, training_range: ranges, integer_scale: scale }) {
  if (!ranges) return undefined;
  const whole = isWhole(samples);
  const beyond = ranges.map(([least, most]) => FAR * ((most > least ? most - least : Math.abs(least)) || 1));
  for (let at = 0; at < samples.length; at++) {
    const channel = at % channels.length;
    const [least, most] = ranges[channel];
    const value = samples[at] * (whole && scale ? scale[channel] : 1);
    if (value < least - beyond[channel] || value > most + beyond[channel]) return { at, value, least, most };
  }
  return undefined;
}

/** A classifier of sequences of numbers, read from a packed file. Make one with `NumberClassifier.load`. */
export class NumberClassifier extends AnyClassifier {
  #outOfRange;
  #farSaid;

  constructor(packed, document, outOfRange) {
    super(packed, document, "sequence");
    if (!WAYS.includes(outOfRange)) throw new InputError(`outOfRange is ${formatValue(outOfRange)}.`, `Use one of: ${WAYS.join(", ")}.`);
    this.#outOfRange = outOfRange;
  }

  /**
   * Read and check a packed file.
   *
   * @param source its address, or its bytes: an ArrayBuffer, a Uint8Array, a Node Buffer.
   * @param options.wasm where pocketrnn.wasm is, if not beside this module: its address, its bytes, or a WebAssembly.Module.
   * @param options.outOfRange how numbers far outside of the range of the training rows are treated, if the file has that range:
   *   `warn` says it once on the console, `refuse` refuses the sequence, `ignore` does neither.
   * @throws BundleError there is no such file, it is damaged or takes texts, or pocketrnn.wasm is missing.
   */
  static async load(source, { wasm, outOfRange } = {}) {
    return openPacked(source, wasm, (packed) => NumberClassifier.of(packed, outOfRange));
  }

  /** Make it from a file that the engine has opened; for `load`. */
  static of(packed, outOfRange = "warn") {
    return new NumberClassifier(packed, checkPackedDocument(packed), outOfRange);
  }

  /** The channels of a sequence, in their order. */
  get channels() {
    return this.manifest.numbers.channels;
  }

  /** The warning about numbers far outside of the training range; undefined if none were given. */
  get farSaid() {
    return this.#farSaid;
  }

  /** Whether it gives values, as a regression or a forecast does, and not labels. */
  get givesValues() {
    return this.manifest.activation === "values";
  }

  /**
   * What the program gets for a sequence: a Float32Array, step after step.
   *
   * @throws SequenceError it is not such a sequence, or beyond the classifier's limits. */
  prepared(sequence) {
    const samples = this.#convertToSamples(sequence);
    const { status, prepared } = prepareSamples(this._engine, samples);
    if (status !== STATUS.OK) this.#checkSamples(samples, 0);
    const { steps, pad_side: side, pad_value: padding = 0 } = this.#rules;
    const count = samples.length / this.channels.length;
    const whole = side !== undefined && count < steps ? steps : count;
    if (whole < this._engine.least) throw this.#refusal(STATUS.TOO_SHORT, count);
    if (whole > this._engine.most) throw this.#refusal(STATUS.TOO_LONG, count);
    if (whole === count) return prepared;
    const filled = new Float32Array(whole * this.channels.length).fill(padding);
    filled.set(prepared, side === "left" ? filled.length - prepared.length : 0);
    return filled;
  }

  /** The values of each sequence: a Float32Array in the order of `labels`. */
  async values(sequences) {
    if (!this.givesValues) throw new InputError(`${this.name} gives labels, not values.`, "Use predict() or predictProba().");
    return this.logits(sequences);
  }

  /**
   * The logits that the engine computes: for each sequence a Float32Array in the order of `labels`.
   *
   * @throws SequenceError one is not such a sequence, or beyond the classifier's limits.
   */
  async logits(sequences) {
    return checkList(sequences).map((sequence, i) => {
      try {
        return this.#logitsOf(this.#convertToSamples(sequence));
      } catch (error) {
        if (!(error instanceof SequenceError)) throw error;
        const problem = error.problem.replace("The sequence", `The sequence at position ${i}`);
        throw new SequenceError(problem === error.problem ? `The sequence at position ${i}: ${problem}` : problem, error.remedy);
      }
    });
  }

  /**
   * Make a stream: a recording arrives and is classified window by window. If neither the file nor you set a window, and the
   * file was packed with --streaming, each answer is for all samples so far and costs only the new ones.
   *
   * @param options.window how many steps are answered at once; by default as the file says.
   * @param options.hop how far the next window begins after; by default as the file says, else the window.
   * @param options.top how many labels an answer has.
   * @param options.saved what `CarriedStream.save` gave, to go on from there.
   * @throws InputError neither the file nor you say a window, and no state is carried; or a window cannot be one; or `saved` is
   *   damaged or another file's.
   */
  stream({ window, hop, top = 1, saved } = {}) {
    const rules = this.#rules;
    const size = window ?? rules.window ?? rules.steps;
    if (!this.givesValues) this._answers.checkTop(top);
    if (size === undefined && isGap(hop) && this.manifest.stream !== undefined) return this.#carried(top, saved);
    if (size !== undefined && saved !== undefined)
      throw new InputError("saved and window are both given, but a stream in windows cannot be saved.", "Leave one of them out.");
    if (size === undefined)
      throw new InputError(
        `${this.name} states no window for recordings.`,
        "Give the steps of a window: stream({ window: 128, hop: 64 }); or export the classifier with a window.",
      );
    const after = hop ?? (isGap(window) ? rules.hop : undefined) ?? size;
    for (const [name, number] of Object.entries({ window: size, hop: after }))
      if (!isPositiveWhole(number)) throw new InputError(`${name} is ${formatValue(number)}.`, "Give a whole number from 1.");
    return new NumberStream({
      window: size,
      hop: after,
      channels: this.channels.length,
      convertToSamples: (given) => convertToSamples(given, rules),
      checkSamples: (samples, first) => {
        this.#checkSamples(samples, first, TOO_LARGE);
        this.#checkRange(samples, first);
      },
      answer: (samples) => this.#answer(this.#logitsOf(samples), top),
    });
  }

  #carried(top, saved) {
    if (saved !== undefined && !isBytes(saved)) throw new InputError("saved is not bytes.", "Give what stream.save() gave.");
    return new CarriedStream({
      convertToSamples: (given) => convertToSamples(convertStepToRows(given, this.channels.length), this.#rules),
      begun: () => this._asked(() => this._engine.stream(saved && viewBytes(saved))),
      pushSamples: (stream, samples, first) => this.#pushed(stream, samples, first),
      saved: (stream) => this._engine.saved(stream),
      answer: (logits) => this.#answer(logits, top),
    });
  }

  #pushed(before, samples, first) {
    this.#checkRange(samples, first);
    const { status, stream, logits } = pushSamples(this._engine, before, samples);
    if (status !== STATUS.OK) {
      this.#checkSamples(samples, first);
      throw this.#refusal(status, first + samples.length / this.channels.length);
    }
    this._answers.checkFinite([logits]);
    return { stream, logits };
  }

  /** The answers to the windows of a whole recording; see `stream`. Steps at the end that fill no window are not answered. */
  async recording(recording, { window, hop, top = 1 } = {}) {
    const stream = this.stream({ window, hop, top });
    if (stream instanceof CarriedStream) return stream.push(recording);
    const steps = convertToSamples(recording, this.#rules).length / this.channels.length;
    if (steps < stream.window)
      throw new SequenceError(
        `The recording has ${formatNumber(steps)} steps, fewer than a window of ${formatNumber(stream.window)}.`,
        "Give a longer one; or another window: recording(..., { window }).",
      );
    return stream.push(recording);
  }

  /**
   * Compare the file with its sha256, and classify its golden examples again: are the answers the same as where the file was
   * made? Pages from plain http hosts other than localhost cannot compute the sha256; there, only the file's
   * checksums are compared, as whenever it is opened.
   *
   * @returns the largest difference of a logit; logits beyond 10 count relative to a tenth of the largest.
   * @throws BundleError the sha256 does not match.
   * @throws PocketRNNError an example has another label, or logits beyond the classifier's tolerance.
   */
  async verify() {
    const packed = this._engine;
    await checkDigest(packed.file);
    const found = readExamples(packed).map(({ samples, logits }, i) => {
      const { status, logits: answer } = computeLogitsOfPrepared(packed, samples);
      if (status !== STATUS.OK) throw this._makeError(this._engine.sentence(status), status);
      return this._answers.difference(`number ${i + 1}`, answer, logits);
    });
    return Math.max(0, ...found);
  }

  get #rules() {
    return this.manifest.numbers;
  }

  /** A sequence as the engine takes it, compared with the training range. */
  #convertToSamples(sequence) {
    const samples = convertToSamples(sequence, this.#rules);
    this.#checkRange(samples, 0);
    return samples;
  }

  /** Refuse samples far outside of the training range, or warn once. `first` is the index of their first step. */
  #checkRange(samples, first) {
    const far = this.#outOfRange === "ignore" || this.#farSaid ? undefined : farOf(samples, this.#rules);
    if (!far) return;
    const { channels, units } = this.#rules;
    const [step, channel] = [first + Math.floor(far.at / channels.length), far.at % channels.length];
    const within = `${far.least} to ${far.most}${units ? ` ${units[channel]}` : ""}`;
    const problem =
      `Channel ${quoteName(channels[channel])} is ${far.value} at step ${step} (counted from 0), far outside of ${within}, in which ` +
      `${this.name} was trained.`;
    const remedy = "Check the unit; integer_scale converts whole numbers of a sensor to it.";
    if (this.#outOfRange === "refuse") throw new SequenceError(problem, remedy);
    this.#farSaid = `${problem} ${remedy}`;
    console.warn(this.#farSaid);
  }

  async _computeItemLogits(sequence) {
    return this.#logitsOf(this.#convertToSamples(sequence));
  }

  #answer(logits, top) {
    return this.givesValues ? logits : this._answers.prediction(logits, top);
  }

  #logitsOf(samples) {
    const { status, logits } = computeLogitsOfSamples(this._engine, samples);
    if (status !== STATUS.OK) {
      // What is wrong with its numbers is told before its length.
      this.#checkSamples(samples, 0);
      throw this.#refusal(status, samples.length / this.channels.length);
    }
    this._answers.checkFinite([logits]);
    return logits;
  }

  /** Refuse the samples that the rules refuse, by channel and step; `first` is the index of the first step. Faults from `below`
   * on are passed over. */
  #checkSamples(samples, first, below = Infinity) {
    const { kind, count, first: at } = findFault(this._engine, samples);
    if (!kind || kind >= below) return;
    const [what, remedy] = FAULTS[kind];
    const { channels } = this;
    const step = first + Math.floor(at / channels.length);
    const more = count > 1 ? `, and ${formatNumber(count - 1)} more are` : "";
    throw new SequenceError(`Channel ${quoteName(channels[at % channels.length])} is ${what} at step ${step} (counted from 0)${more}.`, remedy);
  }

  /** The error that says why a sequence was refused. */
  #refusal(status, steps) {
    if (status !== STATUS.TOO_SHORT && status !== STATUS.TOO_LONG) return this._makeError(this._engine.sentence(status), status);
    const fixed = this.#rules.steps;
    const few = status === STATUS.TOO_SHORT;
    if (fixed !== undefined)
      return new SequenceError(
        `The sequence has ${formatNumber(steps)} steps, but the classifier takes ${this.#rules.pad_side ? "at most" : "exactly"} ${formatNumber(fixed)}.`,
        few
          ? `Give exactly ${formatNumber(fixed)} steps; or, if the module was trained on padded sequences, export it with pad_side, and shorter sequences are padded.`
          : `Cut the sequence to ${formatNumber(fixed)} steps; or, to answer a long recording window by window, call recording() or stream().`,
      );
    const bound = few ? `at least ${formatNumber(this._engine.least)}` : `at most ${formatNumber(this._engine.most)}`;
    return new SequenceError(
      `The sequence has ${formatNumber(steps)} steps, and ${this.name} takes ${bound}.`,
      few ? "Give a longer sequence." : "Divide the sequence, or answer a recording in windows with stream({ window }).",
    );
  }

  _makeError(sentence, status, which) {
    if (status === STATUS.SAVED) return new InputError(sentence, "Begin the stream again from its samples.");
    return super._makeError(sentence, status, which);
  }
}

/** A recording that arrives in pieces of any length; `NumberClassifier.stream` makes one. `window` and `hop` are in steps. */
export class NumberStream {
  #classifier;
  #held;
  // The step at which what is held begins, and that of the next window.
  #first = 0;
  #next = 0;

  constructor({ window, hop, ...classifier }) {
    this.window = window;
    this.hop = hop;
    this.#classifier = classifier;
  }

  /**
   * Read samples; returns the answers to the windows that they complete, in order: `[{ start, stop, answer }, ...]`; no answer,
   * one or several. `start` is a window's first step, counted from 0, and `stop` the one after its last.
   *
   * @param samples the next steps, or one step: a number for each channel.
   * @throws SequenceError they are not such samples. The stream is then as it was before.
   */
  async push(samples) {
    const { channels, convertToSamples, checkSamples, answer } = this.#classifier;
    const given = convertToSamples(convertStepToRows(samples, channels));
    const before = this.#held ?? given.subarray(0, 0);
    if (before.length && before.constructor !== given.constructor)
      throw new SequenceError(
        "Some of the samples of the recording are whole numbers of a sensor, and some are not.",
        "Give all of a recording as integers, or all as floats.",
      );
    // Here, and not in each window that holds it: what is refused is not part of the recording.
    checkSamples(given, this.#first + before.length / channels);
    const held = new given.constructor(before.length + given.length);
    held.set(before.length ? before : []);
    held.set(given, before.length);
    const steps = held.length / channels;
    const found = [];
    let next = this.#next;
    for (; next + this.window <= this.#first + steps; next += this.hop) {
      const at = (next - this.#first) * channels;
      found.push({ start: next, stop: next + this.window, answer: answer(held.subarray(at, at + this.window * channels)) });
    }
    // Of a window that begins later, nothing is held yet.
    const dropped = Math.min(next - this.#first, steps);
    [this.#held, this.#first, this.#next] = [held.slice(dropped * channels), this.#first + dropped, next];
    return found;
  }
}

/** A recording that arrives; each answer is for all samples so far and costs only the new ones. `NumberClassifier.stream` makes
 * one. */
export class CarriedStream {
  #classifier;
  #stream;

  constructor(classifier) {
    this.#classifier = classifier;
    this.#stream = classifier.begun();
  }

  /** How many steps have been read. */
  get steps() {
    // Word 12 of a stream's head, of 64 bits; runtime/native/src/text_stream.inc.
    return Number(new DataView(this.#stream.buffer, this.#stream.byteOffset).getBigUint64(48, true));
  }

  /**
   * Read samples; returns the answer to all samples so far, as if they were one window: `[{ start: 0, stop, answer }]`.
   *
   * @param samples the next steps, or one step: a number for each channel.
   * @throws SequenceError they are not such samples. The stream is then as it was before.
   */
  async push(samples) {
    const { convertToSamples, pushSamples, answer } = this.#classifier;
    const { stream, logits } = pushSamples(this.#stream, convertToSamples(samples), this.steps);
    this.#stream = stream;
    return [{ start: 0, stop: this.steps, answer: answer(logits) }];
  }

  /** The state from which the stream goes on elsewhere with the same file: a Uint8Array. */
  save() {
    return this.#classifier.saved(this.#stream);
  }
}

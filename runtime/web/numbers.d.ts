/** Types of numbers.js, where everything is described. */

import { InputError, type AmongOptions, type Bytes, type LoadOptions, type Prediction } from "./native.js";

export { BundleError, InputError, LimitError, PocketRNNError } from "./native.js";

/** A sequence of numbers has other channels, another length or other values than the classifier takes. */
export class SequenceError extends InputError {}
/** The content of the bundle's classifier.json, but the golden examples; docs/format.md describes it. */
export interface NumberManifest {
  name: string;
  labels: string[];
  activation: "softmax" | "sigmoid" | "values";
  value_units?: string[];
  thresholds?: number[];
  numbers: {
    channels: string[];
    units?: string[];
    steps?: number;
    window?: number;
    hop?: number;
    rate?: number;
    training_range?: [number, number][];
    [member: string]: unknown;
  };
  graph: { [member: string]: unknown };
  parity: { tolerance: number; [member: string]: unknown };
  [member: string]: unknown;
}

/** A typed array; whole numbers in one are multiplied by the file's `integer_scale`. */
export type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;
/** A number for each channel; null, undefined and NaN are missing samples. */
export type Row = Numbers | readonly (number | null | undefined)[];
/** Rows; or a typed array of all numbers, step after step; or of one channel, its numbers. */
export type Sequence = Numbers | Iterable<Row> | readonly (number | null | undefined)[];

export interface WindowOptions {
  /** How many steps are answered at once; by default as the file says. */
  window?: number;
  /** How far the next window begins after; by default as the file says, else the window. */
  hop?: number;
  /** How many labels an answer has. */
  top?: number;
}
export interface StreamOptions extends WindowOptions {
  /** The bytes that `CarriedStream.save` gave. */
  saved?: Bytes;
}

/** The answer to one window of a recording: its first step, counted from 0, and the one after its last; of a file that gives
 * values, `answer` holds these. */
export interface Window {
  start: number;
  stop: number;
  answer: Prediction | Float32Array;
}

export interface NumberLoadOptions extends LoadOptions {
  /** The treatment of numbers far outside of the range of the training rows: said once on the console unless said otherwise. */
  outOfRange?: "warn" | "refuse" | "ignore";
}

/** The first of samples (step after step) that is far outside of the training range of a classifier's rules; undefined
 * where none is, or no range is known. */
export function farOf(
  samples: Numbers,
  rules: { channels: string[]; training_range?: [number, number][]; integer_scale?: number[] },
): { at: number; value: number; least: number; most: number } | undefined;

/** A classifier of sequences of numbers, read from a packed file. */
export class NumberClassifier {
  private constructor();
  /** Read and check a packed file, by its address or its bytes. */
  static load(source: string | URL | Bytes, options?: NumberLoadOptions): Promise<NumberClassifier>;
  readonly name: string;
  /** The classes, in the order of the logits; of values, their names. */
  readonly labels: string[];
  /** How probabilities are made of logits; "values" are none. */
  readonly activation: "softmax" | "sigmoid" | "values";
  readonly channels: string[];
  readonly manifest: NumberManifest;
  /** For each label the probability from which `predictLabels` gives it, where the file keeps them. */
  readonly thresholds: number[] | undefined;
  /** The warning about numbers far outside of the training range. */
  readonly farSaid: string | undefined;
  /** Whether it gives values, of a regression or a forecast, and not labels. */
  readonly givesValues: boolean;
  /** The program's input for a sequence: float32, step after step. */
  prepared(sequence: Sequence): Float32Array;
  /** Classify one sequence, giving the `top` likeliest labels (1 unless said). */
  classify(sequence: Sequence, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** The likeliest label of every sequence; of a file that gives values, `values`. */
  predict(sequences: Iterable<Sequence>): Promise<string[] | Float32Array[]>;
  /** The values of every sequence. */
  values(sequences: Iterable<Sequence>): Promise<Float32Array[]>;
  /** The probabilities of every label for every sequence. */
  predictProba(sequences: Iterable<Sequence>): Promise<number[][]>;
  /** Every label of every sequence that reaches its threshold; of a single-label classifier the likeliest one or none. */
  predictLabels(sequences: Iterable<Sequence>, threshold?: number): Promise<string[][]>;
  /** The engine's own answers. */
  logits(sequences: Iterable<Sequence>): Promise<Float32Array[]>;
  /** A recording that arrives, answered window by window; or from a carried state, where nothing says of windows. */
  stream(options?: StreamOptions): NumberStream | CarriedStream;
  /** The answers to the windows of a whole recording. */
  recording(recording: Sequence, options?: WindowOptions): Promise<Window[]>;
  /** Check the sha256 and answer the golden examples anew; the largest difference of a logit. */
  verify(): Promise<number>;
  /** Give back the engine's memory. */
  release(): Promise<void>;
}

/** A recording that arrives, answered for all samples so far; made by `NumberClassifier.stream`. */
export class CarriedStream {
  private constructor();
  /** How many steps were read. */
  readonly steps: number;
  /** The answer to all samples so far, as one window: steps, or one step. */
  push(samples: Sequence | Row): Promise<Window[]>;
  /** All that is needed to go on elsewhere, with the same file. */
  save(): Uint8Array;
}

/** A recording that arrives in windows; made by `NumberClassifier.stream`. */
export class NumberStream {
  private constructor();
  readonly window: number;
  readonly hop: number;
  /** The answers to the windows that are whole with these samples: steps, or one step. */
  push(samples: Sequence | Row): Promise<Window[]>;
}

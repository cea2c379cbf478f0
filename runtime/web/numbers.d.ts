/** Types of numbers.js, which describes all of them. */

import { InputError, type AmongOptions, type Bytes, type LoadOptions, type Prediction } from "./native.js";

export { BundleError, InputError, LimitError, PocketRNNError } from "./native.js";

/** A sequence of numbers has other channels, another length or other values than the classifier takes. */
export class SequenceError extends InputError {}
/** The content of the bundle's classifier.json without the golden examples; docs/format.md describes it. */
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

/** A typed array; whole numbers are multiplied by the file's `integer_scale`. */
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
/** Rows; or a typed array of all numbers, step after step; or the numbers of a single channel. */
export type Sequence = Numbers | Iterable<Row> | readonly (number | null | undefined)[];

export interface WindowOptions {
  /** How many steps each answer is for; by default as in the file. */
  window?: number;
  /** How many steps after a window the next one begins; by default as in the file, else the window's length. */
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
  /** How numbers far outside of the range of the training rows are treated: by default with one warning on the console. */
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
  /** The labels, or the names of values, in the order of the logits. */
  readonly labels: string[];
  /** How logits become probabilities; "values" if they do not. */
  readonly activation: "softmax" | "sigmoid" | "values";
  readonly channels: string[];
  readonly manifest: NumberManifest;
  /** For each label the probability from which `predictLabels` gives it; undefined if the file has no thresholds. */
  readonly thresholds: number[] | undefined;
  /** The warning about numbers far outside of the training range. */
  readonly farSaid: string | undefined;
  /** Whether it gives values, as a regression or a forecast does, and not labels. */
  readonly givesValues: boolean;
  /** The program's input for a sequence: float32, step after step. */
  prepared(sequence: Sequence): Float32Array;
  /** Classify one sequence; the answer has the `top` likeliest labels (default 1). */
  classify(sequence: Sequence, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** The likeliest label of each sequence; the values, if the file gives values. */
  predict(sequences: Iterable<Sequence>): Promise<string[] | Float32Array[]>;
  /** The values of each sequence. */
  values(sequences: Iterable<Sequence>): Promise<Float32Array[]>;
  /** The probabilities of all labels for each sequence. */
  predictProba(sequences: Iterable<Sequence>): Promise<number[][]>;
  /** For each sequence the labels that reach their threshold; for a single-label classifier the likeliest one or none. */
  predictLabels(sequences: Iterable<Sequence>, threshold?: number): Promise<string[][]>;
  /** The logits that the engine computes. */
  logits(sequences: Iterable<Sequence>): Promise<Float32Array[]>;
  /** Make a stream: a recording arrives and is classified window by window; without a window, all samples so far are. */
  stream(options?: StreamOptions): NumberStream | CarriedStream;
  /** The answers to the windows of a whole recording. */
  recording(recording: Sequence, options?: WindowOptions): Promise<Window[]>;
  /** Check the sha256 and classify the golden examples again; returns the largest difference of a logit. */
  verify(): Promise<number>;
  /** Free the engine's memory. */
  release(): Promise<void>;
}

/** A recording that arrives; each answer is for all samples so far. Made by `NumberClassifier.stream`. */
export class CarriedStream {
  private constructor();
  /** How many steps have been read. */
  readonly steps: number;
  /** Read steps, or one step; returns the answer to all samples so far, as one window. */
  push(samples: Sequence | Row): Promise<Window[]>;
  /** The state from which the stream goes on elsewhere with the same file. */
  save(): Uint8Array;
}

/** A recording that arrives in windows; made by `NumberClassifier.stream`. */
export class NumberStream {
  private constructor();
  readonly window: number;
  readonly hop: number;
  /** Read steps, or one step; returns the answers to the windows that they complete. */
  push(samples: Sequence | Row): Promise<Window[]>;
}

/** Types of native.js, which describes all of them. */

import type { NumberClassifier } from "./numbers.js";

/** One label with its probability. */
export interface Answer {
  label: string;
  probability: number;
}

/** One text's answer: the likeliest label, and as many likeliest ones as were asked for. */
export interface Prediction extends Answer {
  top: Answer[];
}

/** A part of a text, counted in UTF-16 units of the text as given, without `end`; of a list of tokens, counted in tokens. */
export interface Place {
  start: number;
  end: number;
}

/** One token's label. */
export interface Tag extends Answer, Place {
  token: string;
}

/** Consecutive tokens that are one thing; the label has no prefix. */
export interface Span extends Place {
  label: string;
  text: string;
}

/** The tags of one text; `untagged` are the tokens that the rules cut off or drop. */
export interface Tags {
  text: string | string[];
  tags: Tag[];
  untagged: (Place & { token: string })[];
  spans: Span[];
}

/** The spans that labels mark: in BIO, IOBES, BILOU or BMES, or without prefixes. */
export function spansOf(tags: Tag[], text: string | string[]): Span[];

/** A golden example: the classifier's answer where it was made; if each token has a label, logits for each id. */
export interface Example {
  text: string;
  ids: number[];
  logits: number[] | number[][];
}

/** The content of the bundle's classifier.json without the vocabulary; docs/format.md describes it. */
export interface Manifest {
  name: string;
  labels: string[];
  activation: "softmax" | "sigmoid";
  thresholds?: number[];
  /** The heads of a file with several, in place of labels and activation. */
  heads?: { name: string; labels: string[]; activation: "softmax" | "sigmoid"; thresholds?: number[] }[];
  priors?: Record<string, Record<string, number>>;
  /** True if each token has a label, and the text none: Classifier.tag. */
  labels_of?: "tokens";
  text: { tokenizer: string; [member: string]: unknown };
  graph: { [member: string]: unknown };
  parity: { tolerance: number; [member: string]: unknown };
  examples: Example[];
  [member: string]: unknown;
}

/** The base of all errors of this module. */
export class PocketRNNError extends Error {
  constructor(problem: string, remedy: string, options?: { cause?: unknown });
  /** A sentence that says what is wrong. */
  readonly problem: string;
  /** A sentence that says what to do. */
  readonly remedy: string;
}
/** An argument cannot be used. */
export class InputError extends PocketRNNError {}
/** A text has fewer or more tokens than the classifier takes, or no known word. */
export class LimitError extends InputError {}
/** A packed file is missing, damaged, of another format or inconsistent. */
export class BundleError extends InputError {}

export type Bytes = ArrayBuffer | ArrayBufferView;

export interface LoadOptions {
  /** Where pocketrnn.wasm is, if not beside this module: its address, its bytes, or the compiled module. */
  wasm?: string | URL | Bytes | WebAssembly.Module;
}

/** Read and check a packed file of either kind, by its address or its bytes. */
export function load(
  source: string | URL | Bytes,
  options?: LoadOptions & { outOfRange?: "warn" | "refuse" | "ignore" },
): Promise<Classifier | NumberClassifier>;

export interface AmongOptions {
  /** The labels among which the answer is; `und` stays. A label after a minus is left out: "-und". */
  among?: Iterable<string>;
  /** How often each label is expected, in any unit; or the name of a prior in the file. */
  prior?: string | Record<string, number>;
}

/** An input: a text; two texts, for a file of pairs; or a text with the value of each feature by its name. */
export type Given = string | [first: string, second: string] | [text: string, features: Record<string, number | string>];

/** A classifier read from a packed file. */
export class Classifier {
  private constructor();
  /** Read and check a packed file, by its address or its bytes. */
  static load(source: string | URL | Bytes, options?: LoadOptions): Promise<Classifier>;
  readonly name: string;
  /** The classes, in the order of the logits. */
  readonly labels: string[];
  readonly manifest: Manifest;
  /** How logits become probabilities. */
  readonly activation: "softmax" | "sigmoid" | "heads";
  /** The names of the heads; empty for a classifier with one set of labels. With several, `classify` and what follows it answer with
   * an object by head, which these types leave out: `head` gives a classifier of one. */
  readonly heads: string[];
  /** The same classifier with the labels of one head only. */
  head(name: string): Classifier;
  /** The token ids of one text; never empty. For two texts, those of each. */
  encode(text: string): number[];
  encode(text: Given): number[] | [number[], number[]];
  /** Where the words of a text begin and end, in UTF-16 units. */
  words(text: string): [start: number, end: number][];
  /** Whether the classifier takes this text. */
  takes(text: Given): boolean;
  /** Words for what it takes in addition to a text; undefined if it takes only a text. */
  readonly takesBeside: string | undefined;
  /** Classify one text; the answer has the `top` likeliest labels (default 1). */
  classify(text: Given, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** The likeliest label of each text. */
  predict(texts: Iterable<Given>, options?: AmongOptions): Promise<string[]>;
  /** The probabilities of all labels for each text; 0 for a label that is left out. */
  predictProba(texts: Iterable<Given>, options?: AmongOptions): Promise<number[][]>;
  /** For each label the probability from which `predictLabels` gives it; undefined if the file has no thresholds. */
  readonly thresholds: number[] | undefined;
  /** For each text the labels that reach their threshold; for a single-label classifier the likeliest one or none,
   * or, of two labels whose different thresholds add up to 1, the one that reaches its threshold. */
  predictLabels(texts: Iterable<Given>, threshold?: number, options?: AmongOptions): Promise<string[][]>;
  /** The logits that the engine computes. */
  logits(texts: Iterable<Given>): Promise<Float32Array[]>;
  /** Label each token of a text, which may be given as a list of tokens. */
  tag(given: string | string[]): Promise<Tags>;
  /** The tags of each of several texts. */
  predictTags(texts: Iterable<string | string[]>): Promise<Tags[]>;
  /** Check the sha256 and classify the golden examples again; returns the largest difference of a logit. */
  verify(): Promise<number>;
  /** Make a stream: a text arrives in fragments; `saved` is what a stream's `save` returned. */
  stream(saved?: Bytes): Stream;
  /** Free the engine's memory. */
  release(): Promise<void>;
}

/** A text that arrives in fragments; made by `Classifier.stream`. */
export class Stream {
  private constructor();
  /** Read a further fragment, a string or UTF-8, and classify all the text so far. */
  push(fragment: string | Bytes, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** Read a further fragment; returns the logits of all the text so far. */
  logits(fragment: string | Bytes): Promise<Float32Array>;
  /** The state from which the stream goes on elsewhere with the same file. */
  save(): Uint8Array;
  /** Forget the text so far. */
  reset(): void;
}

/** Types of native.js, where everything is described. */

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

/** A part of a text: by UTF-16 unit of the text as it was given, `end` not included; of a list of tokens, by token. */
export interface Place {
  start: number;
  end: number;
}

/** One token's label. */
export interface Tag extends Answer, Place {
  token: string;
}

/** Some tokens that follow each other and are one thing; the label is without its prefix. */
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

/** The spans that labels stand for: BIO, IOBES, BILOU, BMES and plain ones. */
export function spansOf(tags: Tag[], text: string | string[]): Span[];

/** A golden example: what the classifier answered where it was made; where labels are of tokens, logits for each id. */
export interface Example {
  text: string;
  ids: number[];
  logits: number[] | number[][];
}

/** The content of the bundle's classifier.json, but the vocabulary; docs/format.md describes it. */
export interface Manifest {
  name: string;
  labels: string[];
  activation: "softmax" | "sigmoid";
  thresholds?: number[];
  /** Of several heads, in the place of labels and activation. */
  heads?: { name: string; labels: string[]; activation: "softmax" | "sigmoid"; thresholds?: number[] }[];
  priors?: Record<string, Record<string, number>>;
  /** Where each token has a label, and a text none: Classifier.tag. */
  labels_of?: "tokens";
  text: { tokenizer: string; [member: string]: unknown };
  graph: { [member: string]: unknown };
  parity: { tolerance: number; [member: string]: unknown };
  examples: Example[];
  [member: string]: unknown;
}

/** Every error of this module. */
export class PocketRNNError extends Error {
  constructor(problem: string, remedy: string, options?: { cause?: unknown });
  /** One sentence of what is wrong. */
  readonly problem: string;
  /** One sentence of what to do. */
  readonly remedy: string;
}
/** Something handed in cannot be used. */
export class InputError extends PocketRNNError {}
/** A text has fewer or more tokens than the classifier takes, or no known word. */
export class LimitError extends InputError {}
/** A packed file is missing, damaged, of another format or inconsistent with itself. */
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
  /** Labels, of which the answer is one; `und` stays. One after a minus is left out, "-und". */
  among?: Iterable<string>;
  /** How often each label is expected, in any unit; or the name of a prior of the file. */
  prior?: string | Record<string, number>;
}

/** What is classified: a text; two, of a file of pairs; or a text with the value of each feature by its name. */
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
  /** How probabilities are made of logits. */
  readonly activation: "softmax" | "sigmoid" | "heads";
  /** The names of the heads; empty for a classifier with one set of labels. With several, `classify` and what follows it answer with
   * an object by head, which these types leave out: `head` gives a classifier of one. */
  readonly heads: string[];
  /** The same classifier, answering with the labels of one of its heads. */
  head(name: string): Classifier;
  /** The token ids of one text; never empty. Of two texts those of each. */
  encode(text: string): number[];
  encode(text: Given): number[] | [number[], number[]];
  /** Where the words of a text stand: begins and ends by UTF-16 unit. */
  words(text: string): [start: number, end: number][];
  /** Whether the classifier takes this text. */
  takes(text: Given): boolean;
  /** What it takes beside one text, in words; undefined where it takes nothing. */
  readonly takesBeside: string | undefined;
  /** Classify one text, giving the `top` likeliest labels (1 unless said). */
  classify(text: Given, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** The likeliest label of every text. */
  predict(texts: Iterable<Given>, options?: AmongOptions): Promise<string[]>;
  /** The probabilities of every label for every text; 0 for a label that is left out. */
  predictProba(texts: Iterable<Given>, options?: AmongOptions): Promise<number[][]>;
  /** For each label the probability from which `predictLabels` gives it, where the file keeps them. */
  readonly thresholds: number[] | undefined;
  /** Every label of every text that reaches its threshold; of a single-label classifier the likeliest one or none. */
  predictLabels(texts: Iterable<Given>, threshold?: number, options?: AmongOptions): Promise<string[][]>;
  /** The engine's own answers. */
  logits(texts: Iterable<Given>): Promise<Float32Array[]>;
  /** A label for each token of a text, or of the list of its tokens. */
  tag(given: string | string[]): Promise<Tags>;
  /** The same for each of several. */
  predictTags(texts: Iterable<string | string[]>): Promise<Tags[]>;
  /** Check the sha256 and answer the golden examples anew; the largest difference of a logit. */
  verify(): Promise<number>;
  /** A text that arrives in fragments; `saved` is what a stream's `save` gave. */
  stream(saved?: Bytes): Stream;
  /** Give back the engine's memory. */
  release(): Promise<void>;
}

/** A text that arrives in fragments; made by `Classifier.stream`. */
export class Stream {
  private constructor();
  /** Read a further fragment, a string or UTF-8, and classify all the text so far. */
  push(fragment: string | Bytes, top?: number, options?: AmongOptions): Promise<Prediction>;
  /** The same, as the engine's own answer. */
  logits(fragment: string | Bytes): Promise<Float32Array>;
  /** All that is needed to go on elsewhere, with the same file. */
  save(): Uint8Array;
  /** Forget the text. */
  reset(): void;
}

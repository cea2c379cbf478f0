/** Check the graph of a bundle before onnxruntime-web reads it. */

import { BundleError } from "./engine.js";

// The check of what an ONNX file may hold; see docs/format.md, "Allowed contents of a graph". It is a protobuf message, which is walked
// as
// runtime/pocketrnn/graph_check/onnx_protobuf.py does it: strictly, so that nothing in it is left for others to find.
const OPERATORS = new Set(
  `
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape
    Conv Cos Cosh CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
    HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization
    Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization
    RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND
    Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
  `
    .trim()
    .split(/\s+/),
);
const LARGEST_ALLOCATION = 2 ** 24;
const LARGEST_STRUCTURE = 2 ** 24;
const MOST_FIELDS = 2 ** 18;
const MOST_OPERATORS = 2 ** 14;
const KNOWN_VALUES = 64;

// For each message its fields: the wire types that they may have (v, q, b, i), and * if they may stand more than once.
const fields = (groups) =>
  new Map(Object.entries(groups).flatMap(([letters, numbers]) => numbers.map((number) => [number, letters])));
const MESSAGES = {
  ModelProto: fields({ v: [1, 5], b: [2, 3, 4, 6, 7], "b*": [8, 14, 25, 26] }),
  GraphProto: fields({ b: [2, 10], "b*": [1, 5, 11, 12, 13, 14, 16] }),
  NodeProto: fields({ b: [3, 4, 6, 7, 8], "b*": [1, 2, 5, 9, 10] }),
  AttributeProto: fields({ b: [1, 4, 5, 6, 13, 14, 21], "b*": [9, 10, 11, 15], i: [2], v: [3, 20], "ib*": [7], "vb*": [8] }),
  TensorProto: fields({ v: [2, 14], "vb*": [1, 5, 7, 11], "ib*": [4], "qb*": [10], b: [8, 9, 12], "b*": [13, 16] }),
};
const WIRES = { 0: "v", 1: "q", 2: "b", 5: "i" };
const ARRAYS = { 1: Float32Array, 6: Int32Array, 7: BigInt64Array, 11: Float64Array };

/** Refuse a graph that could do more than classify texts; `file` is its name. */
export function checkGraph(content, file) {
  new GraphWalk(content, file).check();
}

class GraphWalk {
  #view;
  #file;
  #nodes = [];
  #constants = new Map();
  #weights = 0;
  #fields = 0;

  constructor(content, file) {
    this.#view = content;
    this.#file = file;
  }

  check() {
    const content = this.#view;
    if (String.fromCharCode(...content.subarray(4, 8)) === "ORTM")
      this.#refuse("is not an ONNX file: it is marked as of onnxruntime's own format");
    for (const { number, begin, end } of this.#each("ModelProto", 0, content.length)) {
      if (number === 25) this.#refuse("holds functions of its own");
      if (number === 7) this.#graph(begin, end);
    }
    if (content.length - this.#weights > LARGEST_STRUCTURE) this.#refuse("holds more than 16 MiB beside its weights");
    if (!this.#nodes.length) this.#refuse("holds no operator");
    for (const { domain, operator, holdsGraphs } of this.#nodes) {
      const name = domain === "" || domain === "ai.onnx" ? operator : `${domain}.${operator}`;
      if (!OPERATORS.has(name)) this.#refuse(`holds the operator ${name.slice(0, 60)}, which a classifier's graph does not need`);
      if (holdsGraphs) this.#refuse(`holds a graph inside the operator ${operator}`);
    }
    this.#checkSizes();
  }

  #refuse(what) {
    throw new BundleError(`${this.#file} ${what}.`, "Export the bundle again.");
  }

  #count() {
    if (++this.#fields > MOST_FIELDS) this.#refuse("has more than 262,144 parts");
  }

  /** Read an unsigned integer, as a number if that is exact, else as a BigInt; and where it ends. */
  #varint(at, end) {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (at >= end) this.#refuse("is not an ONNX file: it ends within a number");
      const byte = this.#view[at++];
      if (i < 7) value += (byte & 127) * 2 ** (7 * i);
      else value = BigInt.asUintN(64, BigInt(value) | (BigInt(byte & 127) << BigInt(7 * i)));
      if (byte < 128) return [value, at];
    }
    return this.#refuse("is not an ONNX file: a number in it has more than 10 bytes");
  }

  /** The fields of a message: `value` of a varint, `begin` and `end` of the bytes of all others. */
  *#each(message, at, end) {
    const known = MESSAGES[message];
    const seen = new Set();
    while (at < end) {
      this.#count();
      let tag;
      [tag, at] = this.#varint(at, end);
      const number = Number(BigInt(tag) >> 3n);
      const wire = Number(BigInt(tag) & 7n);
      const letters = known.get(number);
      if (!letters?.includes(WIRES[wire] ?? "?"))
        this.#refuse(`is not an ONNX file that a classifier may have: field ${number} of type ${wire} in ${message}`);
      if (seen.has(number) && !letters.includes("*"))
        this.#refuse(`is not an ONNX file: field ${number} of ${message} stands in it twice`);
      seen.add(number);
      let size = { 1: 8, 5: 4 }[wire];
      if (size === undefined) [size, at] = this.#varint(at, end);
      if (wire === 0) {
        yield { number, value: Number(BigInt.asIntN(64, BigInt(size))) };
        continue;
      }
      if (size > end - at) this.#refuse("is not an ONNX file: it is cut short");
      yield { number, begin: at, end: at + size };
      at += size;
    }
  }

  #text({ begin, end }) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.#view.subarray(begin, end));
    } catch {
      return this.#refuse("holds a name that is not UTF-8");
    }
  }

  /** The signed integers of a field: one, or several that are packed. */
  #integers({ value, begin, end }) {
    if (value !== undefined) return [value];
    const values = [];
    while (begin < end) {
      this.#count();
      let one;
      [one, begin] = this.#varint(begin, end);
      values.push(Number(BigInt.asIntN(64, BigInt(one))));
    }
    return values;
  }

  #graph(begin, end) {
    for (const field of this.#each("GraphProto", begin, end)) {
      if (field.number === 1) this.#nodes.push(this.#node(field));
      if (this.#nodes.length > MOST_OPERATORS) this.#refuse("has more than 16,384 operators");
      if (field.number === 5) {
        const { name, values } = this.#tensor(field);
        this.#constants.set(name, values);
      }
    }
  }

  #node({ begin, end }) {
    const node = { domain: "", operator: "", inputs: [], outputs: [], attributes: new Map(), holdsGraphs: false };
    for (const field of this.#each("NodeProto", begin, end)) {
      if (field.number === 1) node.inputs.push(this.#text(field));
      if (field.number === 2) node.outputs.push(this.#text(field));
      if (field.number === 4) node.operator = this.#text(field);
      if (field.number === 5) this.#attribute(node, field);
      if (field.number === 7) node.domain = this.#text(field);
    }
    return node;
  }

  #attribute(node, { begin, end }) {
    let name = "";
    let values = [];
    for (const field of this.#each("AttributeProto", begin, end)) {
      if (field.number === 1) name = this.#text(field);
      if (field.number === 3 || field.number === 8) values = values.concat(this.#integers(field));
      if (field.number === 5 || field.number === 10) ({ values } = this.#tensor(field));
      if (field.number === 6 || field.number === 11) node.holdsGraphs = true;
    }
    if (values.length) node.attributes.set(name, values);
  }

  /** A tensor's name and, if they are few, its numbers. */
  #tensor({ begin, end }) {
    let name = "";
    let kind = 0;
    let stored = 0;
    const dims = [];
    const found = new Map();
    for (const field of this.#each("TensorProto", begin, end)) {
      const { number } = field;
      if (number === 1) for (const dim of this.#integers(field)) dims.push(dim);
      if (number === 2) kind = field.value;
      if (number === 8) name = this.#text(field);
      if (number === 13 || (number === 14 && field.value !== 0))
        this.#refuse("keeps weights in further files, which no digest covers");
      if (![4, 5, 7, 9, 10, 11].includes(number)) continue;
      found.set(number, [...(stored > 10 * KNOWN_VALUES ? [] : (found.get(number) ?? [])), field]);
      const size = field.value === undefined ? field.end - field.begin : 1;
      stored += size;
      if ([4, 9, 10].includes(number)) this.#weights += size;
    }
    const size = dims.reduce((product, dim) => product * dim, 1);
    if (dims.some((dim) => dim < 0) || !(size <= 2 * stored))
      this.#refuse(`holds a tensor of the shape [${dims.slice(0, 8)}] in ${stored} bytes`);
    if (found.size > 1) this.#refuse("holds a tensor whose numbers stand in it twice");
    const few = size <= KNOWN_VALUES && stored <= 10 * KNOWN_VALUES;
    return { name, values: few ? this.#numbers(kind, found) : [] };
  }

  #numbers(kind, found) {
    const whole = found.get({ 6: 5, 7: 7 }[kind]);
    if (whole) return whole.flatMap((field) => this.#integers(field));
    const places = found.get(9) ?? found.get({ 1: 4, 11: 10 }[kind]) ?? [];
    const bytes = Uint8Array.from(places.flatMap(({ begin, end }) => [...this.#view.subarray(begin, end)]));
    const type = ARRAYS[kind];
    if (!type || bytes.length % type.BYTES_PER_ELEMENT) return [];
    return Array.from(new type(bytes.buffer), Number);
  }

  #checkSizes() {
    const known = new Map(this.#constants);
    for (const { operator, inputs, outputs, attributes } of this.#nodes) {
      const given = inputs.map((name) => known.get(name) ?? []);
      const [first = [], second = [], third = []] = given;
      let made = [];
      if (operator === "Constant") [made = []] = attributes.values();
      if (["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"].includes(operator)) made = first;
      if (operator === "Concat") for (const values of given) made = made.concat(values).slice(0, KNOWN_VALUES + 1);
      if (made.length && made.length <= KNOWN_VALUES) for (const name of outputs) known.set(name, made);
      let size = computePaddingGrowth(attributes.get("pads") ?? []);
      if (operator === "ConstantOfShape") size = multiplySizes(first);
      if (["Expand", "Tile", "OneHot"].includes(operator)) size = multiplySizes(second);
      if (operator === "Pad") size = Math.max(size, computePaddingGrowth(second));
      if (operator === "Range" && second.length) {
        const step = third[0] ?? 1;
        size = step === 0 ? NaN : (second[0] - (first[0] ?? 0)) / step;
      }
      // NaN, too, is not within the limit.
      if (!(size <= LARGEST_ALLOCATION))
        this.#refuse(`lets the operator ${operator} make more than 16,777,216 numbers out of constants`);
    }
  }
}

const multiplySizes = (sizes) => sizes.reduce((all, size) => all * Math.max(1, size), 1);

/** The product, over all axes, of what the padding adds: the first half holds the amounts before, the second half those after. */
function computePaddingGrowth(pads) {
  const half = Math.ceil(pads.length / 2);
  return pads.slice(0, half).reduce((all, pad, i) => all * (1 + Math.max(0, pad + (pads[i + half] ?? 0))), 1);
}

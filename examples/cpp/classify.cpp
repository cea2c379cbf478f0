// A classifier in C++, from a bundle: onnxruntime runs the graph, pocketrnn's engine in C makes the ids.
//
//   engine=../../runtime/native/src
//   gcc -O2 -Wno-psabi -c $engine/pocketrnn.c
//   g++ -std=c++17 -O2 -I$engine classify.cpp pocketrnn.o -o classify $(pkg-config --cflags --libs libonnxruntime nlohmann_json libcrypto)
//   ./classify FOLDER VECTORS.jsonl     compare; 1 if a text is answered differently
//   ./classify FOLDER < TEXTS           one text a line: its label and probability
//
// FOLDER holds the bundle's graph and text.prnn, which `pocketrnn pack BUNDLE --text-rules` writes. An example, not a supported
// runtime: it shows how little a reader needs. It checks what a stranger could do with a bundle.
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>
#include <openssl/sha.h>
#include <pocketrnn.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using json = nlohmann::json;
using Strings = std::vector<std::string>;

// A pipe would make a reader wait for ever, a device may never end, and a sparse file takes no room on a disk.
std::string read(const std::string& path, uintmax_t largest) {
  std::error_code failed;
  if (!std::filesystem::is_regular_file(path, failed)) throw std::runtime_error(path + " is missing, or no regular file.");
  const uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed || size > largest) throw std::runtime_error(path + " is too large.");
  std::ifstream file(path, std::ios::binary);
  std::string content(size, '\0');
  if (!file.read(content.data(), static_cast<std::streamsize>(size)) || file.peek() != EOF)
    throw std::runtime_error(path + " cannot be read, or was written to while it was read.");
  return content;
}

std::string sha256(const std::string& bytes) {
  unsigned char digest[32];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string text;
  for (unsigned char byte : digest) text += {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
  return text;
}

// The check of what an ONNX file may hold; see docs/format.md, "Allowed contents of a graph". It is a protobuf message, which is walked
// here in the
// way of runtime/pocketrnn/graph_check/onnx_protobuf.py: strictly, so that nothing in it is left for others to find.
namespace graph {

using Bytes = std::string_view;
using Values = std::vector<double>;

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error("The graph " + what + "."); }

const std::set<std::string> operators = {
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "Attention",
    "AveragePool", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast",
    "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat", "Constant", "ConstantOfShape", "Conv", "Cos", "Cosh",
    "CumSum", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand",
    "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax",
    "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LSTM", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul", "MatMulInteger", "Max", "MaxPool",
    "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or",
    "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Range",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "ReverseSequence", "RotaryEmbedding", "Round",
    "Scatter", "ScatterElements", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where", "Xor"};
constexpr double largest_allocation = 1 << 24;
constexpr size_t known_values = 64, most_fields = 1 << 18, most_operators = 1 << 14, largest_structure = 1 << 24;

struct Kind {
  std::string wires, message;  // the wire types of a field (v, q, b, i; *: more than once), and the message inside
};
using Fields = std::map<uint64_t, Kind>;

Fields fields(std::initializer_list<std::pair<std::vector<uint64_t>, Kind>> groups) {
  Fields all;
  for (const auto& [numbers, kind] : groups)
    for (uint64_t number : numbers) all[number] = kind;
  return all;
}

const std::map<std::string, Fields> messages = {
    {"ModelProto", fields({{{1, 5}, {"v", ""}}, {{2, 3, 4, 6}, {"b", ""}}, {{8, 14, 26}, {"b*", ""}},
                           {{7}, {"b", "GraphProto"}}, {{25}, {"b*", "FunctionProto"}}})},
    {"GraphProto", fields({{{2, 10}, {"b", ""}}, {{11, 12, 13, 14, 16}, {"b*", ""}}, {{1}, {"b*", "NodeProto"}},
                           {{5}, {"b*", "TensorProto"}}})},
    {"NodeProto", fields({{{3, 4, 6, 7, 8}, {"b", ""}}, {{1, 2, 9, 10}, {"b*", ""}}, {{5}, {"b*", "AttributeProto"}}})},
    {"AttributeProto", fields({{{1, 4, 13, 14, 21}, {"b", ""}}, {{9, 15}, {"b*", ""}}, {{2}, {"i", ""}}, {{3, 20}, {"v", ""}},
                               {{5}, {"b", "TensorProto"}}, {{6}, {"b", "GraphProto"}}, {{7}, {"ib*", ""}}, {{8}, {"vb*", ""}},
                               {{10}, {"b*", "TensorProto"}}, {{11}, {"b*", "GraphProto"}}})},
    {"TensorProto", fields({{{2, 14}, {"v", ""}}, {{1, 5, 7, 11}, {"vb*", ""}}, {{4}, {"ib*", ""}}, {{10}, {"qb*", ""}},
                            {{8, 9, 12}, {"b", ""}}, {{13, 16}, {"b*", ""}}})}};

struct Node {
  std::string domain, name;
  Strings inputs, outputs;
  std::map<std::string, Values> attributes;
  bool holds_graphs = false;
};

class Walk {
 public:
  explicit Walk(Bytes content) {
    if (content.substr(0, 8).size() == 8 && content.substr(4, 4) == "ORTM")
      refuse("is not an ONNX file: it is marked as of onnxruntime's own format");
    each("ModelProto", content, [&](uint64_t number, uint64_t, Bytes model) {
      if (number == 25) refuse("holds functions of its own");
      if (number == 7) walk_graph(model);
    });
    if (content.size() - weights > largest_structure) refuse("holds more than 16 MiB beside its weights");
    if (nodes.empty()) refuse("holds no operator");
    for (const auto& node : nodes) {
      if ((node.domain != "" && node.domain != "ai.onnx") || !operators.count(node.name))
        refuse("holds the operator " + node.domain + (node.domain == "" ? "" : ".") + node.name +
               ", which a classifier's graph has no need of");
      if (node.holds_graphs) refuse("holds a graph inside the operator " + node.name);
    }
    check_sizes();
  }

 private:
  std::vector<Node> nodes;
  std::map<std::string, Values> constants;
  size_t weights = 0, count = 0;

  void counted() {
    if (++count > most_fields) refuse("has more than 262,144 parts");
  }

  static uint64_t varint(Bytes& rest) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (rest.empty()) refuse("is not an ONNX file: it ends within a number");
      const unsigned char byte = rest[0];
      rest.remove_prefix(1);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    refuse("is not an ONNX file: a number in it has more than 10 bytes");
  }

  // Calls `use` with the number, the value of a varint, and the bytes of anything else.
  template <typename Use>
  void each(const std::string& message, Bytes rest, Use use) {
    const Fields& known = messages.at(message);
    std::set<uint64_t> seen;
    while (!rest.empty()) {
      counted();
      const uint64_t tag = varint(rest), number = tag >> 3, wire = tag & 7;
      const auto kind = known.find(number);
      const char letter = wire == 0 ? 'v' : wire == 1 ? 'q' : wire == 2 ? 'b' : wire == 5 ? 'i' : '?';
      if (kind == known.end() || kind->second.wires.find(letter) == std::string::npos)
        refuse("is not an ONNX file that a classifier may have: field " + std::to_string(number) + " of type " +
               std::to_string(wire) + " in " + message);
      if (!seen.insert(number).second && kind->second.wires.back() != '*')
        refuse("is not an ONNX file: field " + std::to_string(number) + " of " + message + " stands in it twice");
      if (wire == 0) {
        use(number, varint(rest), Bytes());
        continue;
      }
      const uint64_t size = wire == 1 ? 8 : wire == 5 ? 4 : varint(rest);
      if (size > rest.size()) refuse("is not an ONNX file: it is cut short");
      // Never null, so that bytes that are none are told from a varint.
      use(number, 0, Bytes(rest.data(), size));
      rest.remove_prefix(size);
    }
  }

  std::vector<int64_t> integers(uint64_t value, Bytes packed) {
    if (packed.data() == nullptr) return {static_cast<int64_t>(value)};
    std::vector<int64_t> values;
    while (!packed.empty()) {
      counted();
      values.push_back(static_cast<int64_t>(varint(packed)));
    }
    return values;
  }

  void walk_graph(Bytes content) {
    each("GraphProto", content, [&](uint64_t number, uint64_t, Bytes inside) {
      if (number == 1) nodes.push_back(node(inside));
      if (nodes.size() > most_operators) refuse("has more than 16,384 operators");
      if (number == 5) {
        auto [name, values] = tensor(inside);
        constants[name] = values;
      }
    });
  }

  Node node(Bytes content) {
    Node made;
    each("NodeProto", content, [&](uint64_t number, uint64_t, Bytes inside) {
      if (number == 1) made.inputs.emplace_back(inside);
      if (number == 2) made.outputs.emplace_back(inside);
      if (number == 4) made.name = inside;
      if (number == 5) attribute(made, inside);
      if (number == 7) made.domain = inside;
    });
    return made;
  }

  void attribute(Node& node, Bytes content) {
    std::string name;
    Values values;
    each("AttributeProto", content, [&](uint64_t number, uint64_t value, Bytes inside) {
      if (number == 1) name = inside;
      if (number == 3 || number == 8)
        for (int64_t integer : integers(value, inside)) values.push_back(static_cast<double>(integer));
      if (number == 5 || number == 10) values = tensor(inside).second;
      if (number == 6 || number == 11) node.holds_graphs = true;
    });
    if (!values.empty()) node.attributes[name] = values;
  }

  std::pair<std::string, Values> tensor(Bytes content) {
    std::string name;
    uint64_t kind = 0, stored = 0;
    double size = 1;
    std::map<uint64_t, std::string> small;
    std::set<uint64_t> places;
    Values whole;
    each("TensorProto", content, [&](uint64_t number, uint64_t value, Bytes inside) {
      if (number == 1)
        for (int64_t dim : integers(value, inside)) size = dim < 0 ? NAN : size * static_cast<double>(dim);
      if (number == 2) kind = value;
      if (number == 8) name = inside;
      if (number == 13 || (number == 14 && value != 0)) refuse("keeps weights in further files, which no digest covers");
      if (number != 4 && number != 5 && number != 7 && number != 9 && number != 10 && number != 11) return;
      places.insert(number);
      const size_t bytes = inside.data() == nullptr ? 1 : inside.size();
      stored += bytes;
      if (number == 4 || number == 9 || number == 10) weights += bytes;
      if (stored > 10 * known_values) return;
      if (number == 5 || number == 7)
        for (int64_t integer : integers(value, inside)) whole.push_back(static_cast<double>(integer));
      else
        small[number] += inside;
    });
    if (!(size <= 2.0 * static_cast<double>(stored))) refuse("holds a tensor of the shape of more numbers than it has");
    if (places.size() > 1) refuse("holds a tensor whose numbers stand in it twice");
    if (size > known_values || stored > 10 * known_values) return {name, {}};
    if (places.count(kind == 6 ? 5 : 7) && (kind == 6 || kind == 7)) return {name, whole};
    const std::string& raw = small[places.count(9) ? 9 : kind == 1 ? 4 : 10];
    if (kind == 1) return {name, numbers<float>(raw)};
    if (kind == 6) return {name, numbers<int32_t>(raw)};
    if (kind == 7) return {name, numbers<int64_t>(raw)};
    if (kind == 11) return {name, numbers<double>(raw)};
    return {name, {}};
  }

  template <typename Number>
  static Values numbers(const std::string& raw) {
    if (raw.size() % sizeof(Number)) return {};
    std::vector<Number> values(raw.size() / sizeof(Number));
    std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(values.data()));
    return {values.begin(), values.end()};
  }

  static double product(const Values& sizes) {
    double all = 1;
    for (double size : sizes) all *= std::max(1.0, size);
    return all;
  }

  static double padded(const Values& pads) {
    double all = 1;
    const size_t half = (pads.size() + 1) / 2;
    for (size_t i = 0; i < half; i++) all *= 1 + std::max(0.0, pads[i] + (i + half < pads.size() ? pads[i + half] : 0));
    return all;
  }

  void check_sizes() const {
    auto known = constants;
    for (const auto& node : nodes) {
      std::vector<Values> given;
      for (const auto& name : node.inputs) given.push_back(known.count(name) ? known[name] : Values());
      given.resize(std::max<size_t>(3, given.size()));
      Values made;
      if (node.name == "Constant" && !node.attributes.empty()) made = node.attributes.begin()->second;
      if (std::set<std::string>{"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"}.count(node.name)) made = given[0];
      if (node.name == "Concat")
        for (const auto& values : given)
          for (double value : values)
            if (made.size() <= known_values) made.push_back(value);
      if (!made.empty() && made.size() <= known_values)
        for (const auto& name : node.outputs) known[name] = made;
      double size = node.attributes.count("pads") ? padded(node.attributes.at("pads")) : 0;
      if (node.name == "ConstantOfShape") size = product(given[0]);
      if (node.name == "Expand" || node.name == "Tile" || node.name == "OneHot") size = product(given[1]);
      if (node.name == "Pad") size = std::max(size, padded(given[1]));
      if (node.name == "Range" && !given[1].empty()) {
        const double start = given[0].empty() ? 0 : given[0][0], step = given[2].empty() ? 1 : given[2][0];
        size = step == 0 ? NAN : (given[1][0] - start) / step;
      }
      // NaN, too, is not within the limit.
      if (!(size <= largest_allocation))
        refuse("lets the operator " + node.name + " make more than 16,777,216 numbers of constants");
    }
  }
};

}  // namespace graph

void check(int status) {
  if (status != PRNN_OK) throw std::runtime_error(prnn_error(status));
}

// The text rules of a bundle, its labels and its document: text.prnn, opened by the engine.
class TextRules {
 public:
  explicit TextRules(const std::string& path) : file(read(path, (1u << 31) - 1)) {
    // Without memory the file is checked, and what it needs is said.
    size_t size = 0;
    const int status = prnn_open(&rules, file.data(), file.size(), nullptr, &size);
    if (status != PRNN_MEMORY) throw std::runtime_error(path + ": " + prnn_error(status));
    memory.resize(size);
    check(prnn_open(&rules, file.data(), file.size(), memory.data(), &size));
    uint32_t ids;
    prnn_limits(rules, &least, &most, &ids);
    size_t bytes;
    const char* text = prnn_document(rules, &bytes);
    document = json::parse(text, text + bytes);
    if (document.contains("labels_of"))
      throw std::runtime_error(path + ": labels of tokens, and not of texts. Pack the bundle, and use prnn_tag.");
  }

  // A text as JSON: a string; a list of its tokens; or a list of its ids, to which nothing is done.
  std::vector<int64_t> encode(const json& given) {
    if (given.is_string()) {
      if (document.at("text").at("tokenizer") == "external")
        throw std::runtime_error("This bundle does not split texts: give a list of tokens or ids.");
      const auto text = given.get<std::string>();
      return made([&](auto... rest) { return prnn_encode(rules, text.data(), text.size(), rest...); });
    }
    if (!given.is_array()) throw std::runtime_error("A text is neither a string nor a list of tokens or ids.");
    const bool is_tokens = given.empty() || given[0].is_string();
    for (const json& value : given)
      if (is_tokens ? !value.is_string() : !value.is_number_integer())
        throw std::runtime_error("The text is a list of " + std::string(is_tokens ? "tokens" : "ids") + " with " +
                                 value.dump().substr(0, 40) + ".");
    if (!is_tokens) return checked(given);
    std::string tokens;
    std::vector<uint32_t> ends;
    for (const json& token : given) {
      tokens += token.get<std::string>();
      ends.push_back(static_cast<uint32_t>(tokens.size()));
    }
    return made([&](auto... rest) { return prnn_encode_tokens(rules, tokens.data(), ends.data(), ends.size(), rest...); });
  }

  // Refuses ids beyond the limits of the graph.
  void check_limits(const std::vector<int64_t>& ids) const {
    if (ids.size() < least || ids.size() > most)
      throw std::runtime_error("The text becomes " + std::to_string(ids.size()) +
                               (ids.size() == 1 ? " token id" : " token ids") + ", but the classifier takes " +
                               (ids.size() < least ? "at least " + std::to_string(least) : "at most " + std::to_string(most)) +
                               ".");
    const json& graph = document.at("graph");
    const auto padding = document.at("text").at("padding_id").get<int64_t>();
    if (graph.contains("limits") && graph["limits"].contains("real_token") &&
        std::all_of(ids.begin(), ids.end(), [padding](int64_t id) { return id == padding; }))
      throw std::runtime_error("The text holds no known word, but the classifier needs one.");
  }

  std::string label(size_t index) const {
    size_t bytes;
    const char* label = prnn_label(rules, static_cast<uint32_t>(index), &bytes);
    return {label, bytes};
  }

  std::vector<float> probabilities(std::vector<float> logits) const {
    check(prnn_probabilities(rules, logits.data(), logits.data()));
    return logits;
  }

  size_t classes() const { return prnn_classes(rules); }

  json document;

 private:
  // The ids that the engine makes, with as much memory as it asks for.
  template <typename Make>
  std::vector<int64_t> made(Make make) {
    const int32_t* ids;
    size_t count, size;
    int status;
    while (size = work.size(), (status = make(&ids, &count, static_cast<void*>(work.data()), &size)) == PRNN_MEMORY) work.resize(size);
    check(status);
    return {ids, ids + count};
  }

  // Ids that are the rules' for some text: nothing was left out that stands around every text.
  std::vector<int64_t> checked(const json& given) const {
    uint32_t fewest, largest, rows;
    prnn_limits(rules, &fewest, &largest, &rows);
    std::vector<int32_t> ids;
    for (const json& id : given) {
      if (id < 0 || id >= rows) throw std::runtime_error("The text has the id " + id.dump() + ", which is out of range.");
      ids.push_back(id);
    }
    check(prnn_check_ids(rules, ids.data(), ids.size()));
    return {ids.begin(), ids.end()};
  }

  std::string file;
  std::vector<char> memory, work = std::vector<char>(1 << 16);
  const prnn* rules = nullptr;
  uint32_t least = 0, most = 0;
};

class Classifier {
 public:
  explicit Classifier(const std::string& folder) : rules(folder + "/text.prnn") {
    const json& graph = rules.document.at("graph");
    const auto file = graph.at("file").get<std::string>();
    if (!std::regex_match(file, std::regex("[A-Za-z0-9_][A-Za-z0-9._-]*")))
      throw std::runtime_error("The graph's file is not a plain file name.");
    inputs = graph.at("inputs").size();
    if (graph["inputs"] != json{"tokens"} && graph["inputs"] != json{"tokens", "lengths"})
      throw std::runtime_error("The graph's inputs are not known.");
    const std::string content = read(folder + "/" + file, (1u << 31) - 1);
    if (sha256(content) != graph.at("sha256")) throw std::runtime_error("The graph was changed after it was made.");
    graph::Walk{content};
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session = Ort::Session(environment, content.data(), content.size(), options);
  }

  // One text at a time, so that no row is ever padded.
  std::vector<float> logits(const std::vector<int64_t>& ids) {
    rules.check_limits(ids);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const int64_t size = static_cast<int64_t>(ids.size()), shape[] = {1, size}, one[] = {1};
    std::vector<int64_t> tokens = ids, lengths = {size};
    std::vector<Ort::Value> given;
    given.push_back(Ort::Value::CreateTensor<int64_t>(memory, tokens.data(), tokens.size(), shape, 2));
    given.push_back(Ort::Value::CreateTensor<int64_t>(memory, lengths.data(), 1, one, 1));
    const char* names[] = {"tokens", "lengths"};
    const char* output[] = {"logits"};
    const auto answer = session.Run({}, names, given.data(), inputs, output, 1);
    if (answer[0].GetTensorTypeAndShapeInfo().GetElementCount() != rules.classes())
      throw std::runtime_error("The graph does not give a logit for each label.");
    const float* data = answer[0].GetTensorData<float>();
    return {data, data + rules.classes()};
  }

  TextRules rules;

 private:
  size_t inputs = 0;
  Ort::Env environment{ORT_LOGGING_LEVEL_ERROR};
  Ort::Session session{nullptr};
};

template <typename Numbers>
size_t place_of_largest(const Numbers& numbers) {
  return static_cast<size_t>(std::max_element(numbers.begin(), numbers.end()) - numbers.begin());
}

bool close(const std::vector<float>& given, const json& expected) {
  if (given.size() != expected.size()) return false;
  for (size_t i = 0; i < given.size(); i++)
    if (!(std::abs(double(given[i]) - expected[i].get<double>()) <= 1e-5)) return false;
  return true;
}

int main(int count, char** arguments) try {
  if (count < 2 || count > 3) throw std::runtime_error("Give a folder with text.prnn and a graph, and then the test vectors, if any.");
  Classifier classifier(arguments[1]);
  TextRules& rules = classifier.rules;
  std::string line;
  if (count == 2) {
    while (std::getline(std::cin, line)) {
      // For a bundle that does not split texts, each line is a JSON list of tokens or ids.
      const bool is_external = rules.document["text"]["tokenizer"] == "external";
      const auto logits = classifier.logits(rules.encode(is_external ? json::parse(line) : json(line)));
      const size_t best = place_of_largest(logits);
      std::cout << rules.label(best) << '\t' << rules.probabilities(logits)[best] << '\n';
    }
    return 0;
  }
  std::ifstream file(arguments[2]);
  int texts = 0, wrong = 0;
  while (std::getline(file, line)) {
    const json vector = json::parse(line);
    const auto ids = rules.encode(vector["text"]);
    const auto logits = classifier.logits(ids);
    const bool right = ids == vector["ids"] && close(logits, vector["logits"]) &&
                       close(rules.probabilities(logits), vector["probabilities"]) &&
                       rules.label(place_of_largest(logits)) == vector["label"];
    texts++;
    if (!right) wrong++, std::cout << "Answered differently: " << vector["text"] << '\n';
  }
  std::cout << texts - wrong << " of " << texts << " test vectors right\n";
  return texts == 0 || wrong > 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 2;
}

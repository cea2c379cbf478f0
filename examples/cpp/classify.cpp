// A third implementation of docs/format.md: reads a bundle, and answers the test vectors as they say.
//
//   g++ -std=c++17 -O2 classify.cpp -o classify $(pkg-config --cflags --libs libonnxruntime nlohmann_json libcrypto icu-uc)
//   ./classify BUNDLE VECTORS.jsonl     compare; 1 if a text is answered differently
//   ./classify BUNDLE < TEXTS           one text a line: its label and probability
//
// An example, not a supported runtime: it shows how little a reader needs. It checks what could give a wrong answer in
// silence, and what a stranger could do with a bundle; the rest of the format's checks it leaves to `pocketrnn verify`.
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>
#include <openssl/sha.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

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
#include <unordered_map>
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

bool is_space(UChar32 c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_newer_than_14(UChar32 c) {
  UVersionInfo age;
  u_charAge(c, age);
  return age[0] > 14;
}

// What Unicode 14.0 does not know is neither cased nor case-ignorable, so the text may be cut there.
icu::UnicodeString lower(const icu::UnicodeString& text) {
  icu::UnicodeString done, fragment;
  for (int i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const UChar32 c = text.char32At(i);
    if (!is_newer_than_14(c)) { fragment += c; continue; }
    done += fragment.toLower(icu::Locale::getRoot());
    done += c;
    fragment.remove();
  }
  return done += fragment.toLower(icu::Locale::getRoot());
}

// Whether a step of the text rules keeps a code point.
bool is_kept(const json& ranges, UChar32 c) {
  for (const auto& range : ranges) {
    const auto ends = icu::UnicodeString::fromUTF8(range.get<std::string>());
    if (ends.char32At(0) <= c && c <= ends.char32At(ends.length() - 1)) return true;
  }
  return false;
}

void clean(icu::UnicodeString& text, const json& step) {
  if (step.contains("lowercase")) {
    text = lower(text);
    return;
  }
  const auto by = icu::UnicodeString::fromUTF8(step["by"].get<std::string>());
  if (step.contains("replace")) {
    text.findAndReplace(icu::UnicodeString::fromUTF8(step["replace"].get<std::string>()), by);
    return;
  }
  icu::UnicodeString kept;
  for (int i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const UChar32 c = text.char32At(i);
    if (is_kept(step["keep"], c)) kept += c;
    else kept += by;
  }
  text = kept;
}

// At most so many items, cut off on a side.
template <typename Item>
void cut(std::vector<Item>& items, const json& rules, const char* most) {
  if (!rules.contains(most) || rules[most].is_null() || items.size() <= rules[most].get<size_t>()) return;
  const auto number = static_cast<std::ptrdiff_t>(rules[most].get<size_t>());
  if (rules.value("cut_side", "right") == "right") items.erase(items.begin() + number, items.end());
  else items.erase(items.begin(), items.end() - number);
}

struct Text {
  json rules;
  std::unordered_map<std::string, int64_t> ids;

  Strings tokens(const std::string& given) const {
    const std::string tokenizer = rules["tokenizer"];
    auto text = icu::UnicodeString::fromUTF8(given);
    if (rules["lowercase"]) text = lower(text);
    for (const auto& step : rules.value("steps", json::array())) clean(text, step);
    static const std::pair<const char*, const char*> replacements[] = {
        {"'", " '  "}, {"\"", ""},    {".", " . "}, {"<br />", " "}, {",", " , "}, {"(", " ( "},
        {")", " ) "},  {"!", " ! "}, {"?", " ? "}, {";", " "},      {":", " "}};
    if (tokenizer == "basic_english")
      for (auto [from, to] : replacements) text.findAndReplace(icu::UnicodeString(from), icu::UnicodeString(to));
    Strings tokens(1);
    for (int i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
      const UChar32 c = text.char32At(i);
      const bool splits = tokenizer == "characters" || (tokenizer == "space" ? c == ' ' : is_space(c));
      if (splits && (tokenizer == "space" || !tokens.back().empty())) tokens.emplace_back();
      if (tokenizer == "characters" || !splits) icu::UnicodeString(c).toUTF8String(tokens.back());
    }
    if (tokenizer != "space" && tokens.back().empty()) tokens.pop_back();
    return counted(tokens);
  }

  // What is done to tokens that the tokenizer gave, or that were given in its place.
  Strings counted(Strings tokens) const {
    if (rules.contains("stop_words")) {
      const auto words = rules["stop_words"].get<std::set<std::string>>();
      tokens.erase(std::remove_if(tokens.begin(), tokens.end(), [&](const auto& token) { return words.count(token); }),
                   tokens.end());
    }
    cut(tokens, rules, "max_tokens");
    const size_t single = tokens.size(), most = std::min<size_t>(single, rules["ngrams"]);
    for (size_t n = 2; n <= most; n++)
      for (size_t i = 0; i + n <= single; i++) {
        tokens.push_back(tokens[i]);
        for (size_t j = i + 1; j < i + n; j++) tokens.back() += " " + tokens[j];
      }
    return tokens;
  }

  // A text as JSON: a string; a list of its tokens; or a list of its ids, to which nothing is done.
  std::vector<int64_t> encode(const json& given, int64_t rows) const {
    const bool is_external = rules["tokenizer"] == "external";
    if (given.is_string()) {
      if (is_external) throw std::runtime_error("This bundle does not split texts: give a list of tokens or ids.");
      return encoded_tokens(tokens(given));
    }
    if (!given.is_array()) throw std::runtime_error("A text is no string, and no list of tokens or ids.");
    const bool is_tokens = given.empty() || given[0].is_string();
    for (const json& value : given)
      if (is_tokens ? !value.is_string() : !value.is_number_integer())
        throw std::runtime_error("The text is a list of " + std::string(is_tokens ? "tokens" : "ids") + " with " +
                                 value.dump().substr(0, 40) + ".");
    if (is_tokens) return encoded_tokens(counted(given.get<Strings>()));
    std::vector<int64_t> ids;
    for (const json& id : given) {
      if (id < 0 || id >= rows) throw std::runtime_error("The text has the id " + id.dump() + ", which is out of range.");
      ids.push_back(id);
    }
    check_whole(ids);
    return ids;
  }

  // Refuses ids that the rules give for no text: something that stands around them was left out, or nothing was cut.
  void check_whole(const std::vector<int64_t>& ids) const {
    const auto size = static_cast<int64_t>(ids.size()), none = int64_t(-1), padding = rules["padding_id"].get<int64_t>();
    const int64_t first = rules.value("first_id", none), last = rules.value("last_id", none);
    const int64_t least = rules.value("min_width", int64_t(1)), width = rules.value("max_width", none);
    int64_t most = width < 0 ? INT64_MAX : width;
    if (!rules["max_tokens"].is_null()) {
      int64_t made = (first >= 0) + (last >= 0);
      for (int64_t n = 0; n < rules["ngrams"]; n++) made += std::max<int64_t>(0, rules["max_tokens"].get<int64_t>() - n);
      most = std::min(most, std::max(made, least));
    }
    const std::string has = "The text has " + std::to_string(size) + " ids, and the rules ";
    if (size < least) throw std::runtime_error(has + "fill every text up to " + std::to_string(least) + ".");
    if (size > most) throw std::runtime_error(has + "cut every text to " + std::to_string(most) + ".");
    auto from = ids.begin(), to = ids.end();
    const bool pads = rules.contains("min_width"), left = rules.value("pad_side", "right") == "left";
    while (pads && left && from < to && *from == padding) ++from;
    while (pads && !left && from < to && to[-1] == padding) --to;
    const std::string cut = size == width ? rules.value("cut_side", "right") : "";
    if (first >= 0 && first != padding && cut != "left" && (from == to || *from != first))
      throw std::runtime_error("The text does not begin with the id " + std::to_string(first) + ".");
    if (last >= 0 && last != padding && cut != "right" && (from == to || to[-1] != last))
      throw std::runtime_error("The text does not end with the id " + std::to_string(last) + ".");
  }

  std::vector<int64_t> encoded_tokens(const Strings& tokens) const {
    std::vector<int64_t> encoded;
    if (rules.contains("first_id")) encoded.push_back(rules["first_id"]);
    for (const auto& token : tokens) {
      const auto known = ids.find(token);
      if (known != ids.end()) encoded.push_back(known->second);
      else if (!rules["unknown_id"].is_null()) encoded.push_back(rules["unknown_id"]);
    }
    if (rules.contains("last_id")) encoded.push_back(rules["last_id"]);
    cut(encoded, rules, "max_width");
    const size_t width = rules.value("min_width", size_t(0));
    if (encoded.size() < width)
      encoded.insert(rules.value("pad_side", "right") == "left" ? encoded.begin() : encoded.end(),
                     width - encoded.size(), rules["padding_id"].get<int64_t>());
    if (encoded.empty()) encoded.push_back(rules["empty_id"]);
    return encoded;
  }
};

// What an ONNX file may hold; docs/format.md, "What a graph may hold". It is a protobuf message, which is walked here in the
// way of runtime/pocketrnn/graph_check/onnx_wire.py: strictly, so that nothing in it is left for others to find.
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
      refuse("is no ONNX file: it is marked as of onnxruntime's own format");
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
      if (rest.empty()) refuse("is no ONNX file: it ends within a number");
      const unsigned char byte = rest[0];
      rest.remove_prefix(1);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    refuse("is no ONNX file: a number in it has more than 10 bytes");
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
        refuse("is no ONNX file that a classifier may have: field " + std::to_string(number) + " of type " +
               std::to_string(wire) + " in " + message);
      if (!seen.insert(number).second && kind->second.wires.back() != '*')
        refuse("is no ONNX file: field " + std::to_string(number) + " of " + message + " stands in it twice");
      if (wire == 0) {
        use(number, varint(rest), Bytes());
        continue;
      }
      const uint64_t size = wire == 1 ? 8 : wire == 5 ? 4 : varint(rest);
      if (size > rest.size()) refuse("is no ONNX file: it is cut short");
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

// JSON of which no other reader can read something else. nlohmann's reader takes a byte order mark, the last of two members
// of one name, and, for numbers outside a double, nothing.
json parsed(const std::string& content) {
  if (content.substr(0, 3) == "\xef\xbb\xbf") throw std::runtime_error("classifier.json is not JSON: a byte order mark.");
  std::vector<std::set<std::string>> open;
  const auto once = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
      throw std::runtime_error("classifier.json is not JSON: the member " + value.get<std::string>() + " stands twice.");
    return true;
  };
  try {
    return json::parse(content, once);
  } catch (const json::out_of_range& error) {
    throw std::runtime_error(std::string("classifier.json is not JSON: too large a number: ") + error.what());
  } catch (const json::parse_error& error) {
    throw std::runtime_error(std::string("classifier.json is not JSON: ") + error.what());
  }
}

// A whole number within bounds; 1.0 is one.
int64_t whole(const json& members, const char* name, int64_t least, int64_t most) {
  const json& value = members.at(name);
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number == std::floor(number) && number >= double(least) && number <= double(most)))
    throw std::runtime_error(std::string("classifier.json is not valid: ") + name + " is " + value.dump().substr(0, 60) + ".");
  return static_cast<int64_t>(number);
}

// Which texts the graph takes: how many token ids they may have, and whether one must be another than the padding's.
struct Limits {
  size_t least = 1, largest = SIZE_MAX;
  bool real_token = false;

  template <typename Ids>
  bool take(const Ids& ids, int64_t padding) const {
    if (ids.size() < least || ids.size() > largest) return false;
    return !real_token || std::any_of(ids.begin(), ids.end(), [padding](const auto& id) { return id != padding; });
  }
};

Limits limits_of(const json& graph) {
  if (!graph.contains("limits")) return {};
  const json& limits = graph["limits"];
  if (!limits.is_object() || limits.empty()) throw std::runtime_error("classifier.json is not valid: limits.");
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  for (const auto& [name, value] : limits.items()) {
    if (name == "real_token" && value == true) continue;
    if (name == "real_token") throw std::runtime_error("classifier.json is not valid: real_token is not true.");
    if (!std::set<std::string>{"min_tokens", "max_tokens", "max_batch"}.count(name))
      throw std::runtime_error("The limit " + name + " is not known.");
    whole(limits, name.c_str(), 1, name == "min_tokens" ? 1 << 16 : most);
  }
  const size_t least = limits.contains("min_tokens") ? whole(limits, "min_tokens", 1, most) : 1;
  const size_t largest = limits.contains("max_tokens") ? whole(limits, "max_tokens", 1, most) : SIZE_MAX;
  if (least > largest)
    throw std::runtime_error("classifier.json contradicts itself: no text has at least " + std::to_string(least) +
                             " and at most " + std::to_string(largest) + " tokens.");
  return {least, largest, limits.contains("real_token")};
}

// A string of the text rules: so many code points, and no half of a surrogate pair, which no UTF-8 holds.
icu::UnicodeString short_string(const json& value, int32_t least, int32_t most) {
  const auto text = value.is_string() ? icu::UnicodeString::fromUTF8(value.get<std::string>()) : icu::UnicodeString();
  if (!value.is_string() || text.countChar32() < least || text.countChar32() > most)
    throw std::runtime_error("classifier.json is not valid: a step holds " + value.dump().substr(0, 60) + ".");
  return text;
}

// Refuses steps that are none, and steps that could make a text more than 64 times as long. Counted backwards: how many
// code points one can become from a step on, as in runtime/pocketrnn/text/cleaning_steps.py.
void check_steps(const json& steps) {
  if (!steps.is_array() || steps.empty() || steps.size() > 4096)
    throw std::runtime_error("classifier.json is not valid: steps are not 1 to 4096 of them.");
  std::map<UChar32, double> weights;
  double rest = 1, largest = 1;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    std::set<std::string> members;
    if (step->is_object())
      for (const auto& [name, value] : step->items()) members.insert(name);
    double grown = 2 * largest;
    if (members == std::set<std::string>{"lowercase"} && step->at("lowercase") == true) {
      rest = grown;
      weights.clear();
    } else if (members == std::set<std::string>{"by", "replace"} || members == std::set<std::string>{"by", "keep"}) {
      grown = 0;
      const auto by = short_string(step->at("by"), 0, 256);
      for (int i = 0; i < by.length(); i = by.moveIndex32(i, 1))
        grown += std::max(weights.count(by.char32At(i)) ? weights[by.char32At(i)] : 0, rest);
      if (step->contains("replace")) {
        const auto what = short_string(step->at("replace"), 1, 256);
        grown /= what.countChar32();
        for (int i = 0; i < what.length(); i = what.moveIndex32(i, 1)) {
          double& weight = weights[what.char32At(i)];
          weight = std::max({weight, rest, grown});
        }
      } else {
        const json& ranges = step->at("keep");
        if (!ranges.is_array() || ranges.empty() || ranges.size() > 4096)
          throw std::runtime_error("classifier.json is not valid: keep is not a list of 1 to 4096 ranges.");
        for (const auto& range : ranges) {
          const auto ends = short_string(range, 1, 2);
          if (ends.char32At(0) > ends.char32At(ends.length() - 1))
            throw std::runtime_error("classifier.json is not valid: keep holds a range that ends before it begins.");
        }
        rest = std::max(rest, grown);
      }
    } else {
      throw std::runtime_error("classifier.json is not valid: steps hold " + step->dump().substr(0, 60) + ", which is no step.");
    }
    largest = std::max(largest, grown);
    if (largest > 64) throw std::runtime_error("classifier.json is not valid: the steps can make a text grow more than 64 times.");
  }
}

// The members of the text rules that may be missing.
void check_more_rules(const json& document, int64_t rows) {
  const json& text = document.at("text");
  const bool is_external = text.at("tokenizer") == "external";
  if (is_external && (text.at("lowercase") != false || text.contains("steps")))
    throw std::runtime_error("The tokenizer external is given no text, so that there is nothing to clean or lower-case.");
  std::string found = is_external || text.at("tokenizer") == "space"
                          ? "the tokenizer " + text.at("tokenizer").get<std::string>() : "";
  for (const char* name : {"steps", "stop_words", "first_id", "last_id", "max_width", "min_width", "cut_side", "pad_side"})
    if (text.contains(name)) found += (found.empty() ? "" : ", ") + std::string(name);
  if (found.empty()) return;
  if (document.contains("stream")) throw std::runtime_error("The text rules hold " + found + ", which a stream cannot follow.");
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  if (text.contains("steps")) check_steps(text["steps"]);
  if (text.contains("stop_words")) {
    const auto words = text["stop_words"].get<Strings>();
    if (words.empty() || words.size() > 1 << 16 || std::set<std::string>(words.begin(), words.end()).size() < words.size())
      throw std::runtime_error("classifier.json is not valid: stop_words.");
  }
  for (const char* name : {"first_id", "last_id"})
    if (text.contains(name)) whole(text, name, 0, rows - 1);
  const int64_t largest = text.contains("max_width") ? whole(text, "max_width", 1, most) : most;
  if (text.contains("min_width") && whole(text, "min_width", 1, 1 << 16) > largest)
    throw std::runtime_error("classifier.json contradicts itself: min_width is above max_width.");
  for (const char* name : {"cut_side", "pad_side"})
    if (text.contains(name) && text[name] != "left" && text[name] != "right")
      throw std::runtime_error(std::string("classifier.json is not valid: ") + name + " is neither left nor right.");
}

// The ids of which a text that holds one takes a run of its own. Here every text does.
void check_alone(const json& ids, int64_t rows) {
  if (!ids.is_array() || ids.empty() || ids.size() > 4096) throw std::runtime_error("classifier.json is not valid: alone.");
  std::set<int64_t> different;
  for (const json& id : ids) different.insert(whole(json{{"alone", id}}, "alone", 0, rows - 1));
  if (different.size() < ids.size()) throw std::runtime_error("classifier.json is not valid: alone holds an id twice.");
}

// classifier.json, parsed, if it is whole and says nothing that this reader does not know.
json checked(const std::string& content) {
  json document = parsed(content);
  if (document.at("format") != "pocketrnn-classifier") throw std::runtime_error("This is no pocketrnn-classifier.");
  if (document.at("version") != 1)
    throw std::runtime_error("The bundle was made by another release: it is of version " + document["version"].dump() +
                             " of the format, and this program reads version 1. Export it again.");
  if (document.contains("numbers")) throw std::runtime_error("The bundle takes sequences of numbers, not texts.");
  if (document.contains("torchscript") && !document["torchscript"].is_object())
    throw std::runtime_error("classifier.json is not valid: torchscript.");
  if (document.contains("thresholds"))
    throw std::runtime_error("The bundle has thresholds, and this program gives the likeliest label.");
  // The file's end alone, since std::regex recurses over what it is given.
  const size_t start = content.size() - std::min<size_t>(content.size(), 200);
  const std::string tail = content.substr(start);
  std::smatch stated;
  if (!std::regex_search(tail, stated, std::regex("\"digest\": *\"([0-9a-f]{64})\"\\s*\\}\\s*$")))
    throw std::runtime_error("classifier.json does not end with its digest.");
  std::string zeroed = content;
  zeroed.replace(start + stated.position(1), 64, 64, '0');
  if (sha256(zeroed) != stated[1]) throw std::runtime_error("classifier.json was changed after it was made.");
  const std::set<std::string> rules = {"tokenizer", "lowercase",  "ngrams",   "max_tokens", "unknown_id",
                                       "empty_id",  "padding_id", "steps",    "stop_words", "first_id",
                                       "last_id",   "max_width",  "min_width", "cut_side",  "pad_side"};
  for (const auto& [name, value] : document.at("text").items())
    if (!rules.count(name)) throw std::runtime_error("The text rule " + name + " is not known.");
  if (!std::set<json>{"basic_english", "whitespace", "characters", "space", "external"}.count(document["text"].at("tokenizer")))
    throw std::runtime_error("The tokenizer is not known.");
  if (!std::set<json>{"softmax", "sigmoid"}.count(document.at("activation")))
    throw std::runtime_error("The activation is not known.");
  constexpr int64_t most = (int64_t(1) << 31) - 1;
  const json& text = document["text"];
  const int64_t rows = whole(document.at("graph"), "embedding_rows", 1, most);
  whole(text, "ngrams", 1, 16);
  if (!text.at("max_tokens").is_null()) whole(text, "max_tokens", 1, most);
  if (!text.at("unknown_id").is_null()) whole(text, "unknown_id", 0, rows - 1);
  for (const char* name : {"empty_id", "padding_id"}) whole(text, name, 0, rows - 1);
  check_more_rules(document, rows);
  if (!std::regex_match(document.at("graph").at("file").get<std::string>(), std::regex("[A-Za-z0-9_][A-Za-z0-9._-]*")))
    throw std::runtime_error("The graph's file is not a plain file name.");
  const Limits limits = limits_of(document["graph"]);
  if (document["graph"].contains("alone")) check_alone(document["graph"]["alone"], rows);
  if (document.contains("stream") && limits.least > 1)
    throw std::runtime_error("classifier.json contradicts itself: the graph takes no text of fewer than " +
                             std::to_string(limits.least) + " tokens, but a stream begins with one.");
  if (document.contains("stream") && limits.real_token)
    throw std::runtime_error("classifier.json contradicts itself: the graph takes no text without a known word, but a "
                             "stream may begin with one.");
  const int64_t padding = whole(text, "padding_id", 0, rows - 1);
  for (const json& example : document.at("examples"))
    if (!limits.take(example.at("ids"), padding))
      throw std::runtime_error("classifier.json contradicts itself: a golden example is beyond the limits of the graph.");
  return document;
}

class Classifier {
 public:
  explicit Classifier(const std::string& folder) : document(checked(read(folder + "/classifier.json", 1 << 27))) {
    const std::string content = read(folder + "/" + document["graph"]["file"].get<std::string>(), (1u << 31) - 1);
    if (sha256(content) != document["graph"]["sha256"]) throw std::runtime_error("The graph was changed after it was made.");
    graph::Walk{content};
    limits = limits_of(document["graph"]);
    padding = whole(document["text"], "padding_id", 0, (int64_t(1) << 31) - 1);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session = Ort::Session(environment, content.data(), content.size(), options);
    text.rules = document["text"];
    for (const auto& token : document["vocabulary"]) text.ids.emplace(token, text.ids.size());
  }

  // One text at a time, so that no row is ever padded.
  std::vector<float> logits(const std::vector<int64_t>& ids) {
    if (ids.size() < limits.least || ids.size() > limits.largest)
      throw std::runtime_error("The text becomes " + std::to_string(ids.size()) +
                               (ids.size() == 1 ? " token id" : " token ids") + ", but the classifier takes " +
                               (ids.size() < limits.least ? "at least " + std::to_string(limits.least)
                                                          : "at most " + std::to_string(limits.largest)) + ".");
    if (!limits.take(ids, padding))
      throw std::runtime_error("The text holds no known word, and the classifier takes none such.");
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const int64_t size = static_cast<int64_t>(ids.size()), shape[] = {1, size}, one[] = {1};
    std::vector<int64_t> tokens = ids, lengths = {size};
    std::vector<Ort::Value> inputs;
    inputs.push_back(Ort::Value::CreateTensor<int64_t>(memory, tokens.data(), tokens.size(), shape, 2));
    inputs.push_back(Ort::Value::CreateTensor<int64_t>(memory, lengths.data(), 1, one, 1));
    const char* names[] = {"tokens", "lengths"};
    const char* output[] = {"logits"};
    const auto answer = session.Run({}, names, inputs.data(), document["graph"]["inputs"].size(), output, 1);
    const float* data = answer[0].GetTensorData<float>();
    return {data, data + document["labels"].size()};
  }

  std::vector<double> probabilities(const std::vector<float>& logits) const {
    std::vector<double> result;
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (double logit : logits) total += std::exp(logit - largest);
    for (double logit : logits)
      result.push_back(document["activation"] == "softmax" ? std::exp(logit - largest) / total
                                                           : 0.5 * (std::tanh(0.5 * logit) + 1));
    return result;
  }

  std::vector<int64_t> encode(const json& given) const {
    return text.encode(given, whole(document["graph"], "embedding_rows", 1, (int64_t(1) << 31) - 1));
  }

  std::string label(const std::vector<float>& logits) const {
    return document["labels"][std::max_element(logits.begin(), logits.end()) - logits.begin()];
  }

  const json document;
  Text text;

 private:
  Limits limits;
  int64_t padding = 0;
  Ort::Env environment{ORT_LOGGING_LEVEL_ERROR};
  Ort::Session session{nullptr};
};

bool close(const std::vector<double>& given, const json& expected) {
  if (given.size() != expected.size()) return false;
  for (size_t i = 0; i < given.size(); i++)
    if (!(std::abs(given[i] - expected[i].get<double>()) <= 1e-5)) return false;
  return true;
}

int main(int count, char** arguments) try {
  if (count < 2 || count > 3) throw std::runtime_error("Give a bundle's folder, and then the test vectors, if any.");
  Classifier classifier(arguments[1]);
  std::string line;
  if (count == 2) {
    while (std::getline(std::cin, line)) {
      // Of a bundle that does not split texts, each line is a JSON list of tokens or ids.
      const bool is_external = classifier.document["text"]["tokenizer"] == "external";
      const auto logits = classifier.logits(classifier.encode(is_external ? json::parse(line) : json(line)));
      const auto probabilities = classifier.probabilities(logits);
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      std::cout << classifier.label(logits) << '\t' << probabilities[best] << '\n';
    }
    return 0;
  }
  std::ifstream file(arguments[2]);
  int texts = 0, wrong = 0;
  while (std::getline(file, line)) {
    const json vector = json::parse(line);
    const auto ids = classifier.encode(vector["text"]);
    const auto logits = classifier.logits(ids);
    const bool split = !vector["text"].is_string() || classifier.text.tokens(vector["text"]) == vector["tokens"].get<Strings>();
    const bool right = split && ids == vector["ids"] &&
                       close({logits.begin(), logits.end()}, vector["logits"]) &&
                       close(classifier.probabilities(logits), vector["probabilities"]) &&
                       classifier.label(logits) == vector["label"];
    texts++;
    if (!right) wrong++, std::cout << "Answered differently: " << vector["text"] << '\n';
  }
  std::cout << texts - wrong << " of " << texts << " test vectors right\n";
  return texts == 0 || wrong > 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 2;
}

// A third implementation of docs/format.md: reads a bundle, and answers the test vectors as they say.
//
//   g++ -std=c++17 -O2 classify.cpp -o classify $(pkg-config --cflags --libs libonnxruntime nlohmann_json libcrypto icu-uc)
//   ./classify BUNDLE VECTORS.jsonl     compare; 1 if a text is answered differently
//   ./classify BUNDLE < TEXTS           one text a line: its label and probability
//
// An example, not a supported runtime: it shows how little a reader needs. It checks what could give a wrong answer in
// silence, and leaves the rest of the format's checks to `pocketrnn verify`.
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>
#include <openssl/sha.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

using json = nlohmann::json;
using Strings = std::vector<std::string>;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read.");
  return {std::istreambuf_iterator<char>(file), {}};
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
  icu::UnicodeString done, piece;
  for (int i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const UChar32 c = text.char32At(i);
    if (!is_newer_than_14(c)) { piece += c; continue; }
    done += piece.toLower(icu::Locale::getRoot());
    done += c;
    piece.remove();
  }
  return done += piece.toLower(icu::Locale::getRoot());
}

struct Text {
  json rules;
  std::unordered_map<std::string, int64_t> ids;

  Strings tokens(const std::string& given) const {
    const std::string tokenizer = rules["tokenizer"];
    auto text = icu::UnicodeString::fromUTF8(given);
    if (rules["lowercase"]) text = lower(text);
    static const std::pair<const char*, const char*> replacements[] = {
        {"'", " '  "}, {"\"", ""},    {".", " . "}, {"<br />", " "}, {",", " , "}, {"(", " ( "},
        {")", " ) "},  {"!", " ! "}, {"?", " ? "}, {";", " "},      {":", " "}};
    if (tokenizer == "basic_english")
      for (auto [from, to] : replacements) text.findAndReplace(icu::UnicodeString(from), icu::UnicodeString(to));
    Strings tokens(1);
    for (int i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
      const UChar32 c = text.char32At(i);
      const bool splits = tokenizer == "characters" || is_space(c);
      if (splits && !tokens.back().empty()) tokens.emplace_back();
      if (tokenizer == "characters" || !splits) icu::UnicodeString(c).toUTF8String(tokens.back());
    }
    if (tokens.back().empty()) tokens.pop_back();
    if (!rules["max_tokens"].is_null()) tokens.resize(std::min<size_t>(tokens.size(), rules["max_tokens"]));
    const size_t single = tokens.size(), most = std::min<size_t>(single, rules["ngrams"]);
    for (size_t n = 2; n <= most; n++)
      for (size_t i = 0; i + n <= single; i++) {
        tokens.push_back(tokens[i]);
        for (size_t j = i + 1; j < i + n; j++) tokens.back() += " " + tokens[j];
      }
    return tokens;
  }

  std::vector<int64_t> encode(const std::string& text) const {
    std::vector<int64_t> encoded;
    for (const auto& token : tokens(text)) {
      const auto known = ids.find(token);
      if (known != ids.end()) encoded.push_back(known->second);
      else if (!rules["unknown_id"].is_null()) encoded.push_back(rules["unknown_id"]);
    }
    if (encoded.empty()) encoded.push_back(rules["empty_id"]);
    return encoded;
  }
};

// classifier.json, parsed, if it is whole and says nothing that this reader does not know.
json checked(const std::string& content) {
  json document = json::parse(content);
  if (document.at("format") != "pocketrnn-classifier" || document.at("version") != 1)
    throw std::runtime_error("This is no pocketrnn-classifier of version 1.");
  // The file's end alone, since std::regex recurses over what it is given.
  const size_t start = content.size() - std::min<size_t>(content.size(), 200);
  const std::string tail = content.substr(start);
  std::smatch stated;
  if (!std::regex_search(tail, stated, std::regex("\"digest\": *\"([0-9a-f]{64})\"\\s*\\}\\s*$")))
    throw std::runtime_error("classifier.json does not end with its digest.");
  std::string zeroed = content;
  zeroed.replace(start + stated.position(1), 64, 64, '0');
  if (sha256(zeroed) != stated[1]) throw std::runtime_error("classifier.json was changed after it was made.");
  const std::set<std::string> rules = {"tokenizer",  "lowercase", "ngrams",    "max_tokens",
                                       "unknown_id", "empty_id",  "padding_id"};
  for (const auto& [name, value] : document.at("text").items())
    if (!rules.count(name)) throw std::runtime_error("The text rule " + name + " is not known.");
  if (!std::set<json>{"basic_english", "whitespace", "characters"}.count(document["text"].at("tokenizer")))
    throw std::runtime_error("The tokenizer is not known.");
  if (!std::set<json>{"softmax", "sigmoid"}.count(document.at("activation")))
    throw std::runtime_error("The activation is not known.");
  if (!std::regex_match(document.at("graph").at("file").get<std::string>(), std::regex("[A-Za-z0-9_][A-Za-z0-9._-]*")))
    throw std::runtime_error("The graph's file is not a plain file name.");
  return document;
}

class Classifier {
 public:
  explicit Classifier(const std::string& folder) : document(checked(read(folder + "/classifier.json"))) {
    const std::string graph = read(folder + "/" + document["graph"]["file"].get<std::string>());
    if (sha256(graph) != document["graph"]["sha256"]) throw std::runtime_error("The graph was changed after it was made.");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session = Ort::Session(environment, graph.data(), graph.size(), options);
    text.rules = document["text"];
    for (const auto& token : document["vocabulary"]) text.ids.emplace(token, text.ids.size());
  }

  // One text at a time, so that no row is ever padded.
  std::vector<float> logits(const std::vector<int64_t>& ids) {
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

  std::string label(const std::vector<float>& logits) const {
    return document["labels"][std::max_element(logits.begin(), logits.end()) - logits.begin()];
  }

  const json document;
  Text text;

 private:
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
      const auto logits = classifier.logits(classifier.text.encode(line));
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
    const auto ids = classifier.text.encode(vector["text"]);
    const auto logits = classifier.logits(ids);
    const bool right = classifier.text.tokens(vector["text"]) == vector["tokens"].get<Strings>() && ids == vector["ids"] &&
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

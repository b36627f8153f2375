// SPDX-License-Identifier: Apache-2.0
// Random schemas: documents that follow them are accepted, and what a changed document says is
// accepted exactly if it still follows.
#include <gmock/gmock.h>

#include <random>

#include "grammar/matching.h"
#include "text/unicode.h"

namespace sluice::text::grammar {
namespace {

using nlohmann::ordered_json;

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }

 private:
  std::mt19937 engine_;
};

std::string random_text(Random& random, int length) {
  static const std::vector<std::string> kPieces = {"a", "b", "Z",  " ", "\"",   "\\", "\n",
                                                   "/", "é", "日", "😀", "\x01", "{"};
  std::string out;
  for (int i = 0; i < length; ++i)
    out += kPieces[static_cast<size_t>(random.below(static_cast<int>(kPieces.size())))];
  return out;
}

// Without what has to be spelled with a number.
std::string random_name(Random& random) {
  std::string name = random_text(random, 1 + random.below(2));
  std::erase(name, '\x01');
  return name;
}

ordered_json random_schema(Random& random, int depth) {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
      return {{"type", "boolean"}};
    case 1:
      return {{"type", "null"}};
    case 2: {
      const int least = random.below(2000) - 1000;
      return {{"type", "integer"}, {"minimum", least}, {"maximum", least + random.below(3000)}};
    }
    case 3: {
      const int least = random.below(4);
      return {{"type", "string"}, {"minLength", least}, {"maxLength", least + random.below(5)}};
    }
    case 4:
      return {
          {"enum", {random_text(random, 2), random_text(random, 3), 7, nullptr, {{"k", {1, 2}}}}}};
    case 5:
      return {{"type", "number"}};
    case 6: {
      const int least = random.below(3);
      return {{"type", "array"},
              {"items", random_schema(random, depth - 1)},
              {"minItems", least},
              {"maxItems", least + random.below(3)}};
    }
    case 7:
      return {{"anyOf", {random_schema(random, depth - 1), random_schema(random, depth - 1)}}};
    default: {
      ordered_json schema = {{"type", "object"},
                             {"properties", ordered_json::object()},
                             {"required", ordered_json::array()}};
      const int count = 1 + random.below(4);
      for (int i = 0; i < count; ++i) {
        const std::string name = random_name(random) + std::to_string(i);
        schema["properties"][name] = random_schema(random, depth - 1);
        if (random.chance(50)) schema["required"].push_back(name);
      }
      if (random.chance(40))
        schema["additionalProperties"] = random_schema(random, 0);
      else
        schema["additionalProperties"] = false;
      return schema;
    }
  }
}

bool is_required(const ordered_json& schema, const std::string& name) {
  const ordered_json& list = schema["required"];
  return std::find(list.begin(), list.end(), name) != list.end();
}

ordered_json random_document(Random& random, const ordered_json& s) {
  if (s.contains("anyOf"))
    return random_document(random, s["anyOf"][static_cast<size_t>(random.below(2))]);
  if (s.contains("enum"))
    return s["enum"][static_cast<size_t>(random.below(static_cast<int>(s["enum"].size())))];
  const std::string type = s["type"];
  if (type == "boolean") return random.chance(50);
  if (type == "null") return nullptr;
  if (type == "number")
    return random.chance(50) ? ordered_json(random.below(1000) / 7.0)
                             : ordered_json(-random.below(99));
  const auto between = [&](const char* least, const char* most) {
    return s[least].get<int>() + random.below(s[most].get<int>() - s[least].get<int>() + 1);
  };
  if (type == "integer") return between("minimum", "maximum");
  if (type == "string") return random_text(random, between("minLength", "maxLength"));
  if (type == "array") {
    ordered_json out = ordered_json::array();
    for (int n = between("minItems", "maxItems"); n > 0; --n)
      out.push_back(random_document(random, s["items"]));
    return out;
  }
  ordered_json out = ordered_json::object();
  for (const auto& [name, sub] : s["properties"].items())
    if (random.chance(50) || is_required(s, name)) out[name] = random_document(random, sub);
  if (s["additionalProperties"].is_object())
    for (int n = random.below(3); n > 0; --n)
      out["other " + std::to_string(n)] = random_document(random, s["additionalProperties"]);
  return out;
}

size_t characters(const std::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

// What the grammar promises: the schema, and members in its order.
bool follows(const ordered_json& v, const ordered_json& s) {
  if (s.contains("anyOf"))
    return std::ranges::any_of(s["anyOf"],
                               [&](const ordered_json& one) { return follows(v, one); });
  if (s.contains("enum"))
    return std::ranges::any_of(s["enum"],
                               [&](const ordered_json& one) { return one.dump() == v.dump(); });
  const std::string type = s["type"];
  if (type == "boolean") return v.is_boolean();
  if (type == "null") return v.is_null();
  if (type == "number") return v.is_number();
  if (type == "integer") return v.is_number_integer() && v >= s["minimum"] && v <= s["maximum"];
  if (type == "string") {
    if (!v.is_string()) return false;
    const size_t length = characters(v.get<std::string>());
    return length >= s["minLength"].get<size_t>() && length <= s["maxLength"].get<size_t>();
  }
  if (type == "array")
    return v.is_array() && v.size() >= s["minItems"].get<size_t>() &&
           v.size() <= s["maxItems"].get<size_t>() &&
           std::ranges::all_of(v,
                               [&](const ordered_json& item) { return follows(item, s["items"]); });
  if (!v.is_object()) return false;
  std::vector<std::string> order;
  for (const auto& [name, sub] : s["properties"].items()) order.push_back(name);
  size_t at = 0;
  for (const auto& [name, member] : v.items()) {
    const auto found = std::find(order.begin(), order.end(), name);
    if (found == order.end()) {
      if (s["additionalProperties"] == false || !follows(member, s["additionalProperties"]))
        return false;
      at = order.size();
      continue;
    }
    const auto index = static_cast<size_t>(found - order.begin());
    if (index < at || !follows(member, s["properties"][name])) return false;
    at = index + 1;
  }
  return std::ranges::all_of(
      s["required"], [&](const ordered_json& name) { return v.contains(name.get<std::string>()); });
}

// Another value somewhere in the document, or a member more or less.
void change(Random& random, ordered_json& v) {
  if (v.is_structured() && !v.empty() && random.chance(75)) {
    const int which = random.below(static_cast<int>(v.size()));
    auto it = v.begin();
    std::advance(it, which);
    if (random.chance(20))
      v.erase(it);
    else
      change(random, *it);
    return;
  }
  switch (random.below(7)) {
    case 0:
      v = nullptr;
      break;
    case 1:
      v = random.below(4000) - 2000;
      break;
    case 2:
      v = random_text(random, random.below(9));
      break;
    case 3:
      v = ordered_json::array({v});
      break;
    case 4:
      v = ordered_json{{"k", v}};
      break;
    case 5:
      v = random.chance(50);
      break;
    default:
      if (v.is_object())
        v["more"] = 1;
      else
        v = 1.25;
  }
}

TEST(RandomSchema, DocumentsAreAcceptedAndChangedOnesJudgedRightly) {
  Random random(7);
  int refused = 0;
  int checked = 0;
  for (int i = 0; i < 400; ++i) {
    const ordered_json s = random_schema(random, 3);
    SCOPED_TRACE(s.dump());
    const Schema made = schema(s.dump());
    ASSERT_TRUE(made.notes.empty()) << made.notes.front();
    for (int n = 0; n < 10; ++n) {
      ordered_json document = random_document(random, s);
      ASSERT_TRUE(follows(document, s)) << document.dump();
      for (const int indent : {-1, 0, 1, 4})
        ASSERT_TRUE(matches(made.program, document.dump(indent))) << document.dump(indent);
      change(random, document);
      const bool right = follows(document, s);
      ++checked;
      refused += right ? 0 : 1;
      ASSERT_EQ(matches(made.program, document.dump(2)), right) << document.dump();
    }
  }
  EXPECT_GT(refused, checked / 4);
  EXPECT_LT(refused, checked);
}

// Whatever is picked from the masks: what comes out is JSON of the schema.
TEST(RandomSchema, RandomTextsOfTheGrammarFollow) {
  Random random(11);
  int finished = 0;
  for (int i = 0; i < 300; ++i) {
    const ordered_json s = random_schema(random, 2);
    SCOPED_TRACE(s.dump());
    Matcher matcher(schema(s.dump()).program, byte_trie());
    std::string text;
    while (text.size() < 3000 && !(matcher.may_end() && random.chance(50)) && !matcher.done()) {
      const auto mask = matcher.mask();
      ASSERT_TRUE(mask);
      std::vector<char> allowed;
      for (int b = 0; b < 256; ++b)
        if (((*mask)->words[static_cast<size_t>(b) / 64] >> (b % 64) & 1) != 0)
          allowed.push_back(static_cast<char>(b));
      ASSERT_FALSE(allowed.empty()) << text;
      text += allowed[static_cast<size_t>(random.below(static_cast<int>(allowed.size())))];
      ASSERT_TRUE(matcher.accept(text.substr(text.size() - 1)));
    }
    if (!matcher.may_end()) continue;
    ++finished;
    const auto document = ordered_json::parse(text, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << text;
    // Escaped spellings of a listed name count as another name, and a name may come twice: such
    // texts are JSON, but no judge of members.
    if (text.find("\\u") == std::string::npos && !s.contains("properties")) {
      EXPECT_TRUE(follows(document, s)) << text;
    }
  }
  EXPECT_GT(finished, 250);
}

}  // namespace
}  // namespace sluice::text::grammar

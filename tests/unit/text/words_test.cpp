// SPDX-License-Identifier: Apache-2.0
// The steps of the tokenizer on their own: words, merging, and their cost on hostile input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "packed_vocabulary.h"
#include "random_text.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/pre_tokenizer.h"

namespace sluice::text {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> words_of(std::string_view text) {
  static const PreTokenizer pre_tokenizer = std::move(*PreTokenizer::create("qwen2"));
  PreTokenizer::Words words(pre_tokenizer, text);
  std::vector<std::string> out;
  for (auto word = words.next(); !word.empty(); word = words.next()) out.emplace_back(word);
  return out;
}

TEST(PreTokenizer, SplitsAsDocumented) {
  EXPECT_THAT(words_of("don't I'LL"), ElementsAre("don", "'t", " I", "'LL"));
  EXPECT_THAT(words_of(" \n\n  x"), ElementsAre(" \n\n", " ", " x"));
  EXPECT_THAT(words_of("   a"), ElementsAre("  ", " a"));
  EXPECT_THAT(words_of("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(words_of("12345"), ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_THAT(words_of(":\n\n    return 1"), ElementsAre(":\n\n", "   ", " return", " ", "1"));
  EXPECT_THAT(words_of("(foo .com 'Re"), ElementsAre("(foo", " .", "com", " '", "Re"));
  EXPECT_THAT(words_of("\tif\r\n\r\n\tx"), ElementsAre("\tif", "\r\n\r\n", "\tx"));
  EXPECT_THAT(words_of("a!!\r\n\n b"), ElementsAre("a", "!!\r\n\n", " b"));
  EXPECT_THAT(words_of("½٣Ⅻ"), ElementsAre("½", "٣", "Ⅻ"));
  EXPECT_THAT(words_of(""), ElementsAre());
}

// Where regular expression libraries differ; the training side's (Oniguruma) is followed.
TEST(PreTokenizer, FollowsUnicodeWhereLibrariesDiffer) {
  EXPECT_THAT(words_of("x'\u017Fa"), ElementsAre("x", "'\u017F", "a"));      // long s folds to s
  EXPECT_THAT(words_of("! \u0085!"), ElementsAre("!", " ", "\u0085", "!"));  // white space
  EXPECT_THAT(words_of("!\uFEFF!"), ElementsAre("!\uFEFF!"));                // not white space
  EXPECT_THAT(words_of("!\u180E!"), ElementsAre("!\u180E!"));                // no longer
  EXPECT_THAT(words_of("\u3000\u3000a"), ElementsAre("\u3000", "\u3000a"));
  EXPECT_THAT(words_of("e\u0338x"), ElementsAre("e", "\u0338x"));  // a mark is no letter
}

TEST(PreTokenizer, LosesNothing) {
  RandomText random(4);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random.text(50);
    std::string joined;
    for (const auto& word : words_of(text)) joined += word;
    ASSERT_EQ(joined, text);
  }
}

TEST(ByteAlphabet, IsABijection) {
  std::string all, bytes;
  for (int byte = 0; byte < 256; ++byte) append_as_character(static_cast<uint8_t>(byte), all);
  ASSERT_TRUE(append_as_bytes(all, bytes));
  ASSERT_EQ(bytes.size(), 256u);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(static_cast<uint8_t>(bytes[byte]), byte);
  for (const char* wrong : {" ", "\x7F", "\u00A0", "\u00AD", "\u0144", "\u20AC", "\xC4", "\x80",
                            "\xC4z", "\xC1\xA1", "\xFF"}) {
    EXPECT_FALSE(append_as_bytes(wrong, bytes)) << wrong;
  }
}

// The definition, word for word.
std::vector<int32_t> merge_slowly(std::string_view word, const std::vector<Merge>& merges) {
  std::vector<int32_t> tokens;
  for (const char c : word) tokens.push_back(static_cast<uint8_t>(c));
  while (true) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].left == tokens[i] && merges[rank].right == tokens[i + 1]) {
          best_rank = rank, best = i;
        }
      }
    }
    if (best_rank == merges.size()) return tokens;
    tokens[best] = merges[best_rank].result;
    tokens.erase(tokens.begin() + best + 1);
  }
}

TEST(Bpe, AgreesWithItsDefinition) {
  RandomText random(5);
  std::array<int32_t, 256> bytes;
  for (int i = 0; i < 256; ++i) bytes[i] = i;
  BpeScratch scratch;
  for (int round = 0; round < 60; ++round) {
    // Random merges over an alphabet of three letters, some of which can never apply.
    std::vector<Merge> merges;
    Bpe bpe(bytes, 40);
    std::vector<int32_t> tokens = {'a', 'b', 'c'};
    for (int i = 0; i < 40; ++i) {
      const auto pick = [&] { return tokens[random.below(static_cast<uint32_t>(tokens.size()))]; };
      const Merge merge{pick(), pick(), 256 + i};
      if (!bpe.add(merge)) continue;
      merges.push_back(merge);
      tokens.push_back(merge.result);
    }
    for (const int length : {1, 2, 5, 30, 127, 128, 129, 300}) {
      std::string word;
      for (int i = 0; i < length; ++i) word += static_cast<char>('a' + random.below(3));
      std::vector<int32_t> out;
      bpe.append_tokens(word, scratch, out);
      ASSERT_EQ(out, merge_slowly(word, merges)) << word;
    }
  }
}

TEST(Bpe, RefusesAPairTwice) {
  Bpe bpe({}, 2);
  EXPECT_TRUE(bpe.add({1, 2, 3}));
  EXPECT_FALSE(bpe.add({1, 2, 4}));
  EXPECT_TRUE(bpe.add({2, 1, 4}));
}

constexpr size_t kMegabyte = size_t{1} << 20;

std::string repeated(std::string_view unit) {
  std::string out;
  while (out.size() < kMegabyte) out += unit;
  return out;
}

double seconds_to_encode(const std::string& text) {
  const Tokenizer& tokenizer = qwen3();  // the first call loads it
  const auto begin = std::chrono::steady_clock::now();
  const auto ids = tokenizer.encode(text, SpecialTokens::kParse);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_FALSE(ids.empty());
  return elapsed.count();
}

TEST(Cost, HostileTextIsNotQuadratic) {
  std::string letters;
  RandomText random(6);
  while (letters.size() < kMegabyte) letters += static_cast<char>('a' + random.below(26));
  const std::map<std::string, std::string> texts = {
      {"one letter", repeated("a")},
      {"random letters", letters},
      {"punctuation", repeated("!")},
      {"spaces", repeated(" ")},
      {"spaces before a letter", repeated(" ") + "x"},
      {"newlines", repeated("\n")},
      {"spaces and newlines", repeated(" \n")},
      {"no-break spaces", repeated("\u00A0")},
      {"digits", repeated("7")},
      {"a family", repeated("\U0001F469\u200D\U0001F469\u200D\U0001F467")},
      {"marks to be reordered", repeated("\u0301\u0316") + "a"},
      {"decomposed letters", repeated("e\u0301")},
      {"jamo", repeated("\u1112\u1161\u11AB")},
      {"vowel jamo", repeated("\u1161")},
      {"invalid bytes", repeated("\xFF")},
      {"cut characters", repeated("\xF0\x9F\x98")},
      {"almost added tokens", repeated("<|im_start|")},
      {"added tokens", repeated("<|im_start|>")},
  };
  for (const auto& [name, text] : texts) {
    EXPECT_LT(seconds_to_encode(text), 3.0 * slowness()) << name;
  }
}

TEST(Cost, AMegabyteOfMixedText) {
  const std::string english =
      "The quick brown fox can't jump over 12 lazy dogs; it doesn't even try. (See page 7.)\n\n";
  const std::string code =
      "    for (int i = 0; i < n; ++i) {\n\t\tsum += values[i] * 0x1F;\n    }\n";
  const std::string chinese = "今天天气很好，我们一起去公园散步吧。人工智能正在改变世界！\n";
  const std::string other =
      "Größe naïve Ελλάδα Привет мир 안녕하세요 สวัสดี مرحبا "
      "😀👍🏽 "
      "\u00A0x\u0301\n";
  const double seconds = seconds_to_encode(repeated(english + code + chinese + other));
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
  EXPECT_LT(seconds, 1.0 * slowness());
}

TEST(Cost, LoadingTheVocabulary) {
  TokenizerSpec spec = qwen3_spec();
  const auto begin = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::create(std::move(spec));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(tokenizer);
  RecordProperty("milliseconds", static_cast<int>(elapsed.count() * 1000));
  EXPECT_LT(elapsed.count(), 1.0 * slowness());
}

}  // namespace
}  // namespace sluice::text

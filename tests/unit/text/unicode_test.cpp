// SPDX-License-Identifier: Apache-2.0
#include "text/unicode.h"

#include <gtest/gtest.h>

#include "packed_vocabulary.h"
#include "random_text.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

TEST(Utf8, DecodesEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    append_utf8(c, text);
    const auto decoded = decode_utf8(text + "x");
    ASSERT_EQ(decoded.status, Utf8Status::kValid);
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(decoded.length, text.size());
    for (size_t n = 1; n < text.size(); ++n) {
      const auto part = decode_utf8(text.substr(0, n));
      ASSERT_EQ(part.status, Utf8Status::kIncomplete);
      ASSERT_EQ(part.length, n);
    }
  }
}

TEST(Utf8, RefusesWhatIsNotACharacter) {
  const std::pair<const char*, size_t> cases[] = {
      {"\x80", 1},         {"\xBF", 1},         {"\xC0\x80", 1},     {"\xC1\xBF", 1},
      {"\xC3z", 1},        {"\xE0\x9F\xBF", 1}, {"\xED\xA0\x80", 1}, {"\xE4\xBDz", 2},
      {"\xF0\x8F\x80", 1}, {"\xF4\x90\x80", 1}, {"\xF5\x80", 1},     {"\xF0\x9F\x98z", 3},
      {"\xFF", 1},
  };
  for (const auto& [text, length] : cases) {
    const auto c = decode_utf8(text);
    EXPECT_EQ(c.status, Utf8Status::kInvalid) << text;
    EXPECT_EQ(c.length, length) << text;
  }
}

TEST(Utf8, RepairsByteByByte) {
  std::string storage = "left over";
  const std::string valid = "plain ASCII and \u4E2D\u6587 \U0001F600";
  EXPECT_EQ(repair_utf8(valid, storage).data(), valid.data());
  EXPECT_EQ(repair_utf8("", storage), "");
  EXPECT_EQ(repair_utf8("longer than eight \xE4\xBD, \xE4\xBD\xA0\xFF", storage),
            "longer than eight \uFFFD\uFFFD, \u4F60\uFFFD");
}

TEST(Nfc, AgreesWithTheWholeTextsNormalForm) {
  RandomText random(7);
  std::string storage;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random.text(1 + static_cast<int>(random.below(12)));
    ASSERT_EQ(to_nfc(text, storage), composed(text)) << text;
  }
}

// Every character between others that may join it or be reordered with it.
TEST(Nfc, AgreesForEveryCharacter) {
  std::string storage;
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    if (c == 0x40000) c = 0xE0000;
    if (c == 0x11A7) continue;  // utf8proc is wrong there, see below
    std::string text = "e";
    append_utf8(c, text);
    text += "\u0301a\u0345\u0316";
    append_utf8(c, text);
    text += "\u1112\u1161";
    append_utf8(c, text);
    ASSERT_EQ(to_nfc(text, storage), composed(text)) << std::hex << static_cast<uint32_t>(c);
  }
}

// It stands where the final consonants begin, but is none; utf8proc 2.8 drops it after a syllable.
TEST(Nfc, KeepsWhatIsNoFinalConsonant) {
  std::string storage;
  EXPECT_EQ(to_nfc("\uD558\u11A7", storage), "\uD558\u11A7");
  EXPECT_EQ(to_nfc("\u1112\u1161\u11A7", storage), "\uD558\u11A7");
  EXPECT_EQ(to_nfc("\u1112\u1161\u11A8", storage), "\uD559");
}

// In linear time, however long the run.
TEST(Nfc, OrdersLongRunsOfMarks) {
  std::string text = "a", storage;
  constexpr int kMarks = 200'000;
  for (int i = 0; i < kMarks; ++i) text += "\u0301\u0316";
  std::string expected = "\u00E1";
  for (int i = 0; i < kMarks; ++i) expected += "\u0316";
  for (int i = 1; i < kMarks; ++i) expected += "\u0301";
  EXPECT_EQ(to_nfc(text, storage), expected);
}

TEST(Nfc, DoesNotCopyNormalText) {
  std::string storage;
  for (const std::string text : {"ASCII", "\u00E9 na\u00EFve", "\u4E2D\u6587", "\uD55C\uAE00",
                                 "\u0E2A\u0E27\u0E31", "\u0939\u093F\u0928\u094D\u0926\u0940"}) {
    EXPECT_EQ(to_nfc(text, storage).data(), text.data()) << text;
  }
}

// The same rule as Utf8Stream's, on the whole text.
std::string replaced(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto c = decode_utf8(text.substr(i));
    out += c.status == Utf8Status::kValid ? text.substr(i, c.length) : kReplacementCharacter;
    i += c.length;
  }
  return out;
}

bool is_valid(std::string_view text) {
  std::string storage;
  return repair_utf8(text, storage).data() == text.data();
}

TEST(Utf8Stream, HoldsBackOnlyWhatMayBecomeACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.push("\x98"), "");
  EXPECT_EQ(stream.push("\x80z\xE4"), "\U0001F600z");
  EXPECT_EQ(stream.push(""), "");
  EXPECT_EQ(stream.push("z"), "\uFFFDz");
  EXPECT_EQ(stream.push("\xED"), "");
  EXPECT_EQ(stream.push("\xA0"), "\uFFFD\uFFFD");  // never a character: not waited for
  EXPECT_EQ(stream.push("\xC0\xF5\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push("\xE4\xBD"), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push("\xBD"), "\uFFFD");  // nothing is left from before
}

TEST(Utf8Stream, DoesNotDependOnTheCuts) {
  RandomText random(8);
  for (int round = 0; round < 300; ++round) {
    std::string text = random.text(6);
    if (round % 2 == 1) {  // damage
      for (int i = 0; i < 4; ++i) {
        text.insert(random.below(static_cast<uint32_t>(text.size())), 1,
                    static_cast<char>(0x80 + random.below(128)));
      }
    }
    const std::string expected = replaced(text);
    for (size_t first = 0; first <= text.size(); ++first) {
      for (size_t second = first; second <= text.size(); ++second) {
        Utf8Stream stream;
        std::string out;
        for (const auto& part :
             {text.substr(0, first), text.substr(first, second - first), text.substr(second)}) {
          const std::string complete = stream.push(part);
          ASSERT_TRUE(is_valid(complete));
          out += complete;
        }
        ASSERT_EQ(out + stream.finish(), expected);
      }
    }
  }
}

TEST(Utf8Stream, TokensComeOutAsTheWholeText) {
  RandomText random(9);
  const std::string text = composed(random.text(3000));
  Utf8Stream stream;
  std::string out;
  for (const Token token : qwen3().encode(text, SpecialTokens::kText)) {
    const std::string complete = stream.push(qwen3().bytes(token));
    ASSERT_TRUE(is_valid(complete));
    out += complete;
  }
  EXPECT_EQ(out + stream.finish(), text);
}

}  // namespace
}  // namespace sluice::text

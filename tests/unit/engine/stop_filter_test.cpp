// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>

#include "engine/generate.h"

namespace sluice::engine {
namespace {

struct Outcome {
  std::string text;
  bool stopped;
  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << '"' << outcome.text << '"' << (outcome.stopped ? " stopped" : " ran out");
}

Outcome filter(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopFilter filter(stops);
  std::string text;
  for (const std::string& piece : pieces) text += filter.push(piece);
  text += filter.finish();
  return {text, filter.stopped()};
}

// What must come out: the text up to the stop string that is complete first; of those that end at
// the same place, the longest.
Outcome expected(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t begin = std::string::npos;
    for (const std::string& stop : stops)
      if (!stop.empty() && stop.size() <= end &&
          text.compare(end - stop.size(), stop.size(), stop) == 0)
        begin = std::min(begin, end - stop.size());
    if (begin != std::string::npos) return {text.substr(0, begin), true};
  }
  return {text, false};
}

TEST(StopFilter, WithoutStopsEverythingPassesAtOnce) {
  for (const auto& stops : std::vector<std::vector<std::string>>{{}, {""}, {"", ""}}) {
    StopFilter filter(stops);
    EXPECT_EQ(filter.push("any"), "any");
    EXPECT_EQ(filter.push(""), "");
    EXPECT_EQ(filter.push(" text"), " text");
    EXPECT_EQ(filter.finish(), "");
    EXPECT_FALSE(filter.stopped());
  }
}

TEST(StopFilter, AStopStringAcrossPieces) {
  StopFilter filter({"<end>"});
  EXPECT_EQ(filter.push("some text<"), "some text");
  EXPECT_EQ(filter.push("en"), "");
  EXPECT_EQ(filter.push("d> more"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("after"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, HoldsBackNoMoreThanNeeded) {
  StopFilter filter({"abc"});
  EXPECT_EQ(filter.push("xa"), "x");
  EXPECT_EQ(filter.push("b"), "");
  EXPECT_EQ(filter.push("b"), "abb");
  EXPECT_EQ(filter.push("ab"), "");
  EXPECT_EQ(filter.push("ab"), "ab");
  EXPECT_EQ(filter.finish(), "ab");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, OverlappingPrefixes) {
  // After "aab" the longest tail that may begin a stop string changes from piece to piece.
  EXPECT_EQ(filter({"aabaac"}, {"aab", "aab", "aac", "x"}), (Outcome{"aab", true}));
  EXPECT_EQ(filter({"aaa"}, {"a", "a", "b", "a", "a", "a"}), (Outcome{"aab", true}));
  EXPECT_EQ(filter({"ababc"}, {"ababab", "c"}), (Outcome{"ab", true}));
}

TEST(StopFilter, OfSeveralTheFirstToBeComplete) {
  EXPECT_EQ(filter({"three", "two"}, {"one two three"}), (Outcome{"one ", true}));
  EXPECT_EQ(filter({"b", "abc"}, {"xabc"}), (Outcome{"xa", true}));
  EXPECT_EQ(filter({"b", "abc"}, {"xa", "bc"}), (Outcome{"xa", true}));
  EXPECT_EQ(filter({"bc", "abc"}, {"xabc"}), (Outcome{"x", true}));
  EXPECT_EQ(filter({"", "t"}, {"text"}), (Outcome{"", true}));
}

TEST(StopFilter, StopsOfBytesThatAreNoAscii) {
  EXPECT_EQ(filter({"é"}, {"caf", "\xc3", "\xa9!"}), (Outcome{"caf", true}));
  EXPECT_EQ(filter({"é"}, {"\xc3", "\xa8"}), (Outcome{"è", false}));
  EXPECT_EQ(filter({std::string("\0x", 2)}, {std::string("a\0", 2), "x"}), (Outcome{"a", true}));
}

// How the text was cut must not matter: all ways to cut short texts over few letters.
TEST(StopFilter, EverySplitOfATextGivesTheSame) {
  const std::vector<std::vector<std::string>> stop_sets = {
      {"ab"}, {"aab", "ba"}, {"aba", "b"}, {"abab", "bb", "aaa"}, {"c", "abca"}, {"abc", "bca"}};
  std::mt19937 random(8);
  for (const auto& stops : stop_sets)
    for (int n = 0; n < 60; ++n) {
      std::string text;
      for (int i = 0; i < 9; ++i) text += static_cast<char>('a' + random() % 3);
      const Outcome wanted = expected(stops, text);
      for (unsigned cuts = 0; cuts < 1u << (text.size() - 1); ++cuts) {
        std::vector<std::string> pieces(1);
        for (size_t i = 0; i < text.size(); ++i) {
          pieces.back() += text[i];
          if (cuts >> i & 1) pieces.emplace_back();
        }
        ASSERT_EQ(filter(stops, pieces), wanted)
            << text << " cut by " << cuts << ", first stop " << stops[0];
      }
    }
}

}  // namespace
}  // namespace sluice::engine

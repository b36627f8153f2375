// SPDX-License-Identifier: Apache-2.0
#include "hub/journal.h"

#include <gtest/gtest.h>

#include <fstream>

#include "../temp_folder.h"

namespace sluice::hub {
namespace {

constexpr uint64_t kPiece = 256 << 10;

JournalHead head(uint64_t pieces = 10) {
  return {"o/m m.gguf", "hash", pieces * kPiece - 5, kPiece};
}

std::vector<uint64_t> done(const Journal& journal) {
  std::vector<uint64_t> out;
  for (size_t i = 0; i < journal.done().size(); ++i)
    if (journal.done()[i]) out.push_back(i);
  return out;
}

void append(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::app | std::ios::binary) << text;
}

class JournalTest : public testing::Test {
 protected:
  test::TempFolder folder_;
  const std::string path_ = folder_.file("journal");
  using Pieces = std::vector<uint64_t>;

  void write(const Pieces& pieces) {
    auto journal = Journal::open(path_, head());
    ASSERT_TRUE(journal);
    ASSERT_TRUE(journal->add(pieces));
  }
  Pieces read(const JournalHead& with = head()) {
    auto journal = Journal::open(path_, with);
    EXPECT_TRUE(journal);
    return journal ? done(*journal) : Pieces{};
  }
};

TEST_F(JournalTest, RemembersWhatWasAdded) {
  write({0, 1, 2, 5});
  write({9, 3});
  EXPECT_EQ(read(), Pieces({0, 1, 2, 3, 5, 9}));
}

TEST_F(JournalTest, IsOfOneContent) {
  write({0, 1});
  JournalHead other = head();
  other.identity = "another";
  EXPECT_EQ(read(other), Pieces());
  EXPECT_EQ(read(), Pieces());  // it was begun anew for the other one
}

TEST_F(JournalTest, HalfALineCountsAsNotWritten) {
  write({0, 1});
  append(path_, "5 3");
  EXPECT_EQ(read(), Pieces({0, 1}));
  write({7});
  EXPECT_EQ(read(), Pieces({0, 1, 7}));
}

TEST_F(JournalTest, DamageStartsAnew) {
  for (const char* damage : {"x\n", "0 11\n", "10 1\n", "0 0\n", "-1 2\n", "1 2 3\n", " 1 2\n",
                             "99999999999999999999 1\n", "18446744073709551615 2\n", "\n"}) {
    write({0, 1});
    append(path_, damage);
    EXPECT_EQ(read(), Pieces()) << damage;
  }
}

TEST_F(JournalTest, AnyTruncationIsAPrefixOrNothing) {
  write({0, 1});
  write({4});
  std::ifstream file(path_, std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(file), {});
  for (size_t length = 0; length < whole.size(); ++length) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole.substr(0, length);
    const Pieces kept = read();
    EXPECT_TRUE(kept.empty() || kept == Pieces({0, 1}) || kept == Pieces({0, 1, 4})) << length;
  }
}

TEST_F(JournalTest, OneProcessAtATime) {
  auto first = Journal::open(path_, head());
  ASSERT_TRUE(first);
  const auto second = Journal::open(path_, head());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another process"), std::string::npos);
}

TEST_F(JournalTest, SummaryCountsTheShortLastPiece) {
  write({8, 9});
  const auto summary = read_journal(path_);
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->bytes, 2 * kPiece - 5);
  EXPECT_EQ(summary->head, head());
  append(path_, "rubbish\n");
  EXPECT_FALSE(read_journal(path_));
}

TEST_F(JournalTest, PiecesGrowWithTheFile) {
  EXPECT_EQ(piece_size(1), kPiece);
  EXPECT_EQ(piece_size(uint64_t{30} << 20), kPiece);
  EXPECT_EQ(piece_size(uint64_t{17} << 30), uint64_t{16} << 20);
  EXPECT_EQ(piece_size(uint64_t{500} << 30), uint64_t{16} << 20);
}

}  // namespace
}  // namespace sluice::hub

// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/check.h"

namespace sluice {
namespace {

Status step(bool works) {
  if (!works) return fail(ErrorKind::kIo, "{}: cannot read at byte {}", "a.gguf", 12);
  return {};
}

Result<std::unique_ptr<int>> boxed(bool works) {
  if (!works) return fail(ErrorKind::kBadFile, "no value");
  return std::make_unique<int>(7);
}

Status two_steps(bool first, bool second, int& reached) {
  reached = 0;
  SLUICE_TRY(step(first));
  reached = 1;
  SLUICE_TRY(step(second));
  reached = 2;
  return {};
}

// Two on neighbouring lines, and from a Result of another type.
Result<int> sum(bool first, bool second) {
  SLUICE_ASSIGN(const std::unique_ptr<int> a, boxed(first));
  SLUICE_ASSIGN(auto b, boxed(second));
  SLUICE_TRY(step(true));
  return *a + *b;
}

// The macro assigns to what is declared already, and is one statement after `if`.
Result<int> assign_existing(bool works, bool wanted) {
  std::unique_ptr<int> value = std::make_unique<int>(1);
  if (wanted) {
    SLUICE_ASSIGN(value, boxed(works));
  }
  if (!wanted) SLUICE_TRY(step(works));
  return *value;
}

TEST(Result, FailFormatsOneLine) {
  const Status status = step(false);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_EQ(status.error().message, "a.gguf: cannot read at byte 12");
  EXPECT_TRUE(step(true));
}

TEST(Result, FailPassesAnErrorOn) {
  const Status status = fail(Error{ErrorKind::kDevice, "gone"});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kDevice);
  EXPECT_EQ(status.error().message, "gone");
}

TEST(Result, TryReturnsTheFirstError) {
  int reached = -1;
  EXPECT_TRUE(two_steps(true, true, reached));
  EXPECT_EQ(reached, 2);
  EXPECT_EQ(two_steps(true, false, reached).error().kind, ErrorKind::kIo);
  EXPECT_EQ(reached, 1);
  EXPECT_EQ(two_steps(false, true, reached).error().message, "a.gguf: cannot read at byte 12");
  EXPECT_EQ(reached, 0);
}

TEST(Result, AssignMovesTheValueOrReturnsTheError) {
  EXPECT_EQ(sum(true, true).value(), 14);
  EXPECT_EQ(sum(false, true).error().message, "no value");
  EXPECT_EQ(sum(true, false).error().kind, ErrorKind::kBadFile);
  EXPECT_EQ(assign_existing(true, true).value(), 7);
  EXPECT_EQ(assign_existing(true, false).value(), 1);
  EXPECT_EQ(assign_existing(false, true).error().kind, ErrorKind::kBadFile);
  EXPECT_EQ(assign_existing(false, false).error().kind, ErrorKind::kIo);
}

TEST(Check, AbortsAndTellsWhat) {
  SLUICE_CHECK(1 + 1 == 2, "arithmetic");
  EXPECT_DEATH(SLUICE_CHECK(1 + 1 == 3, "arithmetic"),
               "result_test.cpp.*broken invariant: arithmetic.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace sluice

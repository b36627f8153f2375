// SPDX-License-Identifier: Apache-2.0
#include "base/size_text.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(SizeText, UnitsGrowWithTheNumber) {
  EXPECT_EQ(size_text(0), "0.0 KiB");
  EXPECT_EQ(size_text(1536), "1.5 KiB");
  EXPECT_EQ(size_text((uint64_t{1} << 30) - 1), "1024.0 MiB");
  EXPECT_EQ(size_text((uint64_t{1} << 30) * 69 / 4), "17.25 GiB");
}

}  // namespace
}  // namespace sluice

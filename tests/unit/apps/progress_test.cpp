// SPDX-License-Identifier: Apache-2.0
#include "apps/progress.h"

#include <gtest/gtest.h>

namespace sluice::apps {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

hub::PullProgress progress(uint64_t done, uint64_t total) {
  hub::PullProgress out;
  out.number = out.count = 1;
  out.done = done;
  out.total = total;
  return out;
}

TEST(ProgressTest, PercentRateAndTimeLeft) {
  EXPECT_EQ(progress_text(progress(kGiB, 4 * kGiB), 0), " 25 %, 1.00 GiB of 4.00 GiB");
  EXPECT_EQ(progress_text(progress(kGiB, 4 * kGiB), 100 << 20),
            " 25 %, 1.00 GiB of 4.00 GiB, 100.0 MiB/s, 0:31 left");
  EXPECT_EQ(progress_text(progress(kGiB, 4 * kGiB), 256 << 10),
            " 25 %, 1.00 GiB of 4.00 GiB, 256.0 KiB/s, 3:24:48 left");
  EXPECT_EQ(progress_text(progress(0, 400 * kGiB), 10),
            "  0 %, 0.0 KiB of 400.00 GiB, 0.0 KiB/s, days left");
  EXPECT_EQ(progress_text(progress(4 * kGiB, 4 * kGiB), 1 << 20),
            "100 %, 4.00 GiB of 4.00 GiB, 1.0 MiB/s");
}

TEST(ProgressTest, UnknownTotalsAndSeveralFiles) {
  EXPECT_EQ(progress_text(progress(kGiB, 0), 1 << 20), "1.00 GiB, 1.0 MiB/s");
  hub::PullProgress parts = progress(kGiB, 4 * kGiB);
  parts.number = 2;
  parts.count = 3;
  EXPECT_EQ(progress_text(parts, 0), "file 2 of 3:  25 %, 1.00 GiB of 4.00 GiB");
  parts.checking = true;
  EXPECT_EQ(progress_text(parts, 5), "file 2 of 3:  25 %, 1.00 GiB of 4.00 GiB, checking");
}

}  // namespace
}  // namespace sluice::apps

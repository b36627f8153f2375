// SPDX-License-Identifier: Apache-2.0
#include "machine/compute_rates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "compute/cpu/cpu_backend.h"

namespace sluice::machine {
namespace {

Result<ComputeRates> measure(double seconds) {
  auto host = compute::Backend::open(cpu::cpu_backend(), {2, ""});
  EXPECT_TRUE(host);
  RatesOptions options;
  options.seconds = seconds;
  options.bytes = uint64_t{64} << 20;
  options.near_bytes = uint64_t{2} << 20;
  return measure_compute(*host, options);
}

TEST(ComputeRates, HasTheUsualTypeHoweverLittleTimeThereIs) {
  const auto rates = measure(0);
  ASSERT_TRUE(rates) << rates.error().message;
  ASSERT_EQ(rates->types.size(), 1u);
  const ProductRates& product = rates->types.at("Q4_K");
  for (const auto* list : {&product.dense, &product.experts}) {
    ASSERT_EQ(list->size(), 4u);
    EXPECT_EQ(list->front().rows, 1);
    for (size_t i = 0; i < list->size(); ++i) {
      EXPECT_TRUE(std::isfinite((*list)[i].per_second));
      // Between a megahertz and what no processor does.
      EXPECT_GT((*list)[i].per_second, 1e6);
      EXPECT_LT((*list)[i].per_second, 1e15);
      if (i > 0) {
        EXPECT_GT((*list)[i].rows, (*list)[i - 1].rows);
      }
    }
    // Weights that are read once for many rows.
    EXPECT_GT(list->back().per_second, list->front().per_second);
  }
  for (const double rate : {product.near, rates->norm_floats, rates->attention_row,
                            rates->attention_batch, rates->delta_row, rates->delta_batch})
    EXPECT_GT(rate, 1e5);
  EXPECT_GT(rates->operation_seconds, 0);
  EXPECT_LT(rates->operation_seconds, 1);
  EXPECT_EQ(rates->answer_seconds, 0) << "the host has nothing to wait for";
}

TEST(ComputeRates, ThereIsNothingToCopyToOnTheHost) {
  const auto host = compute::Backend::open(cpu::cpu_backend(), {1, ""});
  ASSERT_TRUE(host);
  EXPECT_EQ(measure_copies(*host).value(), 0);
}

TEST(ComputeRates, MemoryIsReadByOneThreadUpToAll) {
  const auto rates = measure_memory(3, uint64_t{16} << 20);
  ASSERT_EQ(rates.size(), 3u);
  EXPECT_EQ(rates[0].threads, 1);
  EXPECT_EQ(rates[1].threads, 2);
  EXPECT_EQ(rates[2].threads, 3);
  for (const ThreadsRate& rate : rates) EXPECT_GT(rate.bytes_per_second, 1e7);
}

}  // namespace
}  // namespace sluice::machine

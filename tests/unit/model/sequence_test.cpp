// SPDX-License-Identifier: Apache-2.0
#include "model/sequence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <stdexcept>

#include "compute/cpu/cpu_backend.h"

namespace sluice::model {
namespace {

using quant::Type;
using testing::HasSubstr;

compute::Backend open_cpu() {
  auto backend = compute::Backend::open(cpu::cpu_backend(), {1, ""});
  if (!backend) throw std::runtime_error(backend.error().message);
  return std::move(*backend);
}

class SequenceTest : public testing::Test {
 protected:
  compute::Backend backend_ = open_cpu();
  Sequence::Shape shape_{3, 2, 64};  // layers, kv heads, head size
};

TEST_F(SequenceTest, LayersHaveCachesOfTheirOwn) {
  auto created = Sequence::create(backend_, shape_, 10, {Type::kF16, Type::kQ8_0});
  ASSERT_TRUE(created) << created.error().message;
  const Sequence sequence = std::move(*created);
  EXPECT_EQ(sequence.capacity(), 10);
  EXPECT_EQ(sequence.length(), 0);
  const size_t key_bytes = 64 * 2 * 2 * 10;
  const size_t value_bytes = 68 * 2 * 10;
  EXPECT_EQ(sequence.bytes(), 3 * (key_bytes + value_bytes));
  // Filling each with its own byte leaves the others alone.
  for (int layer = 0; layer < 3; ++layer) {
    const sluice_kv& kv = sequence.kv(layer);
    EXPECT_EQ(kv.key_type, 1u);
    EXPECT_EQ(kv.value_type, 8u);
    EXPECT_EQ(kv.capacity, 10);
    EXPECT_EQ(kv.kv_heads, 2);
    EXPECT_EQ(kv.head_dim, 64);
    std::memset(kv.keys, 2 * layer + 1, key_bytes);
    std::memset(kv.values, 2 * layer + 2, value_bytes);
  }
  for (int layer = 0; layer < 3; ++layer) {
    const auto* keys = static_cast<const uint8_t*>(sequence.kv(layer).keys);
    const auto* values = static_cast<const uint8_t*>(sequence.kv(layer).values);
    EXPECT_EQ(std::set<uint8_t>(keys, keys + key_bytes),
              std::set<uint8_t>{static_cast<uint8_t>(2 * layer + 1)});
    EXPECT_EQ(std::set<uint8_t>(values, values + value_bytes),
              std::set<uint8_t>{static_cast<uint8_t>(2 * layer + 2)});
  }
}

TEST_F(SequenceTest, TypesThatCannotBeCachedAreUsageErrors) {
  for (const Type type : {Type::kQ4_K, Type::kIQ4_XS, Type::kMXFP4}) {
    const auto key = Sequence::create(backend_, shape_, 10, {type, Type::kF16});
    ASSERT_FALSE(key);
    EXPECT_EQ(key.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(key.error().message, HasSubstr("--cache-type-k"));
    EXPECT_THAT(key.error().message, HasSubstr(std::string(quant::traits(type).name)));
    const auto value = Sequence::create(backend_, shape_, 10, {Type::kF16, type});
    ASSERT_FALSE(value);
    EXPECT_THAT(value.error().message, HasSubstr("--cache-type-v"));
  }
}

TEST_F(SequenceTest, HeadsMustFillBlocks) {
  shape_.head_dim = 48;
  const auto sequence = Sequence::create(backend_, shape_, 10, {Type::kF16, Type::kQ8_0});
  ASSERT_FALSE(sequence);
  EXPECT_EQ(sequence.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(sequence.error().message, HasSubstr("48"));
  EXPECT_TRUE(Sequence::create(backend_, shape_, 10, {Type::kF16, Type::kBF16}));
}

TEST_F(SequenceTest, UntouchedPositionsCostNothing) {
  // 262144 positions of 48 layers: 24 GiB of address space.
  const auto sequence = Sequence::create(backend_, {48, 4, 128}, 262144, {Type::kF16, Type::kF16});
  ASSERT_TRUE(sequence) << sequence.error().message;
  EXPECT_EQ(sequence->bytes(), uint64_t{24} << 30);
}

// Sizes whose products wrap around 64 bits, each alone or only in their sum.
TEST_F(SequenceTest, SizesBeyondAnyMemoryAreErrors) {
  for (const int64_t capacity :
       {int64_t{1} << 50, int64_t{1} << 53, int64_t{1} << 54, int64_t{1} << 55, INT64_MAX}) {
    SCOPED_TRACE(capacity);
    // 2 layers x 2 heads x 256 bytes: keys and values 2^10 bytes per position each.
    const auto sequence =
        Sequence::create(backend_, {2, 2, 64}, capacity, {Type::kF32, Type::kF32});
    ASSERT_FALSE(sequence);
    EXPECT_EQ(sequence.error().kind, ErrorKind::kTooLarge);
  }
}

}  // namespace
}  // namespace sluice::model

// SPDX-License-Identifier: Apache-2.0
// Every way to cut a small file, and every byte of its header changed in several ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "allocation_peak.h"
#include "builder.h"
#include "gguf/gguf.h"
#include "memory_reader.h"

namespace sluice::gguf {
namespace {

using testing::HasSubstr;
using testing::Not;

// Parses, and checks what holds for any input: memory in proportion to the file, one line of error,
// or tensors that lie inside the file.
Result<Gguf> parse_any(const std::string& bytes) {
  auto files = storage::one_file(bytes);
  const AllocationPeak peak;
  auto model = Gguf::parse(std::move(files));
  EXPECT_LT(peak.bytes(), 64 * bytes.size() + 4096);
  if (!model) {
    EXPECT_THAT(model.error().message, HasSubstr("memory.gguf: "));
    EXPECT_THAT(model.error().message, Not(HasSubstr("\n")));
    return model;
  }
  for (const Tensor& tensor : model->tensors()) {
    EXPECT_LE(tensor.offset, bytes.size());
    EXPECT_LE(tensor.bytes, bytes.size() - tensor.offset);
    EXPECT_EQ(model->find_tensor(tensor.name), &tensor);
  }
  return model;
}

TEST(Damage, EveryTruncationIsBadFile) {
  const std::string whole = sample().build();
  ASSERT_TRUE(parse_any(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto model = parse_any(whole.substr(0, length));
    ASSERT_FALSE(model) << length;
    ASSERT_EQ(model.error().kind, ErrorKind::kBadFile) << model.error().message;
    ASSERT_THAT(model.error().message, HasSubstr("download it again")) << length;
  }
}

TEST(Damage, EveryChangedByteIsAnErrorOrHarmless) {
  const std::string whole = sample().build();
  const size_t header = sample().header().size();
  int errors = 0;
  for (size_t i = 0; i < header; ++i) {
    for (const uint8_t pattern : {0x01, 0x02, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(static_cast<uint8_t>(changed[i]) ^ pattern);
      const auto model = parse_any(changed);
      if (model) continue;
      ++errors;
      const ErrorKind kind = model.error().kind;
      // kTooLarge and kIo have no cause in so small a file; kUsage is "this is a later part".
      ASSERT_TRUE(kind == ErrorKind::kBadFile || kind == ErrorKind::kUnsupported)
          << i << ": " << model.error().message;
    }
  }
  EXPECT_GT(errors, static_cast<int>(header)) << "lengths, types and counts are most of a header";
}

TEST(Damage, EveryChangedByteOfASplitPart) {
  const auto part = [](uint16_t index) {
    return Builder()
        .split(index, 2, 2)
        .tensor(fmt::format("t{}", index), {4}, TENSOR_F32, 0)
        .data(16);
  };
  const std::string bytes[2] = {part(0).build(), part(1).build()};
  for (size_t which = 0; which < 2; ++which) {
    for (size_t i = 0; i < bytes[which].size(); ++i) {
      for (const uint8_t pattern : {0x01, 0x02, 0x80, 0xff}) {
        std::string changed[2] = {bytes[0], bytes[1]};
        changed[which][i] = static_cast<char>(static_cast<uint8_t>(changed[which][i]) ^ pattern);
        auto files = storage::one_file(changed[0], "part1.gguf");
        files.push_back(std::make_unique<storage::MemoryReader>(changed[1], "part2.gguf"));
        const auto model = Gguf::parse(std::move(files));
        if (model) continue;
        ASSERT_THAT(model.error().message, HasSubstr(".gguf")) << i;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::gguf

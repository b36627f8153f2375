// SPDX-License-Identifier: Apache-2.0
// A cache of experts over a fake disk whose content is known.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "residency/expert_cache.h"
#include "support/fake_disk.h"

namespace sluice::residency {
using storage::FakeDisk;
using storage::FakeDiskOptions;

class ExpertCacheTest : public testing::Test {
 protected:
  // `layers` x `experts` over two files. Every second layer has larger down parts; nothing is
  // aligned.
  void SetUp() override { make(6, 16); }
  void make(int layers, int experts, uint32_t small = 5000, uint32_t large = 9000) {
    table_ = {};
    std::array<uint64_t, 2> end{13, 4099};
    for (int n = 0; n < layers; ++n) {
      LayerExperts& layer = table_.layers.emplace_back();
      layer.experts.resize(static_cast<size_t>(experts));
      for (size_t p = 0; p < kParts; ++p) {
        layer.names[p] = "blk." + std::to_string(n) + ".part" + std::to_string(p);
        const auto file = static_cast<size_t>(n + static_cast<int>(p)) % 2;
        const uint32_t bytes = p == kDown && n % 2 ? large : small;
        for (ExpertRanges& expert : layer.experts) {
          expert[p] = {static_cast<int>(file), end[file], bytes};
          end[file] += bytes;
        }
        end[file] += 7;
      }
    }
    table_.files = {"one.gguf", "two.gguf"};
    std::mt19937 random(5);
    content_.clear();
    for (const uint64_t size : end) {
      std::vector<uint8_t>& bytes = content_.emplace_back(size);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    }
  }

  // share: of the memory that all experts need, in percent.
  std::unique_ptr<ExpertCache> open(int share, CacheOptions options = {},
                                    const FakeDiskOptions& disk_options = {}) {
    options.used = 3;
    options.piece_bytes = 4096;
    const uint64_t least = SlotArena::least_bytes(table_, options.used);
    const uint64_t full = SlotArena::full_bytes(table_);
    options.bytes = least + (full - least) * static_cast<uint64_t>(share) / 100;
    auto disk = std::make_unique<FakeDisk>(
        std::vector<FakeDisk::File>{{"one.gguf", content_[0]}, {"two.gguf", content_[1]}},
        disk_options);
    disk_ = disk.get();
    auto cache = ExpertCache::create(table_, std::move(disk), options);
    EXPECT_TRUE(cache) << cache.error().message;
    return std::move(*cache);
  }

  void expect_right(int layer, int32_t expert, const ExpertParts& parts) const {
    for (size_t p = 0; p < kParts; ++p) {
      const ByteRange& from =
          table_.layers[static_cast<size_t>(layer)].experts[static_cast<size_t>(expert)][p];
      const auto& file = content_[static_cast<size_t>(from.file)];
      ASSERT_EQ(std::memcmp(parts[p], file.data() + from.offset, from.bytes), 0)
          << "layer " << layer << " expert " << expert << " part " << p;
    }
  }

  // One step of a layer. A token's experts are looked at again at the end.
  Status step(ExpertCache& cache, int layer, const std::vector<int32_t>& ids, Use use,
              const std::vector<uint8_t>& lasting = {}) {
    ExpertStream stream;
    cache.begin(layer, ids, use, lasting, stream);
    std::vector<ExpertStream::Ready> all;
    while (all.size() < ids.size()) {
      SLUICE_ASSIGN(const auto group, stream.next());
      EXPECT_FALSE(group.empty());
      for (const auto& ready : group) {
        if (use == Use::kScan) {
          EXPECT_EQ(ready.index, static_cast<int32_t>(all.size()));
        }
        expect_right(layer, ids[static_cast<size_t>(ready.index)], ready.parts);
        all.push_back(ready);
      }
    }
    std::set<int32_t> indices;
    for (const auto& ready : all) {
      indices.insert(ready.index);
      if (use == Use::kToken)
        expect_right(layer, ids[static_cast<size_t>(ready.index)], ready.parts);
    }
    EXPECT_EQ(indices.size(), ids.size());
    SLUICE_ASSIGN(const auto end, stream.next());
    EXPECT_TRUE(end.empty());
    return {};
  }

  std::vector<int32_t> some(std::mt19937& random, size_t count, int experts = 16) {
    std::vector<int32_t> ids(static_cast<size_t>(experts));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    ids.resize(count);
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  ExpertTable table_;
  std::vector<std::vector<uint8_t>> content_;
  FakeDisk* disk_ = nullptr;
};

}  // namespace sluice::residency

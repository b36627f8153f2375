// SPDX-License-Identifier: Apache-2.0
// Which experts a model has used so far, remembered from run to run: what is worth reading first.
//
// As a file it is text. The first line is
//   sluice-usage 1 MODEL EXPERTS CHECKSUM
// with the model's fingerprint and the checksum of the rest in hexadecimal; the rest is one number
// for each expert, layer after layer, with blanks or line ends between them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::residency {

struct Usage {
  uint64_t model = 0;          // Model::fingerprint()
  std::vector<uint32_t> heat;  // of each expert, layer after layer; 0: never used

  // Adds a run: what earlier runs used counts half as much as before.
  void add_run(std::span<const uint32_t> uses);
  // Of the experts that were used, at most `count`: the hottest, in their order.
  std::vector<int32_t> hottest(size_t count) const;
};

std::string format_usage(const Usage& usage);
// kBadFile without a path for what format_usage() does not write: damaged, of another version, of
// another model, or of another number of experts.
Result<Usage> parse_usage(std::string_view text, uint64_t model, size_t experts);

// Below the folder where things are remembered, one file for each model.
std::string usage_path(const std::string& cache_folder, uint64_t model);

// Empty when there is none. kIo and kBadFile with the path.
Result<Usage> read_usage(const std::string& path, uint64_t model, size_t experts);
// In one step: who reads it meanwhile sees the old or the new file.
Status write_usage(const std::string& path, const Usage& usage);

}  // namespace sluice::residency

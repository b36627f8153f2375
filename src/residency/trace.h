// SPDX-License-Identifier: Apache-2.0
// Which experts a model asked for, step by step: recorded while it runs, replayed against policies.
//
// As a file it is text. The first line is
//   sluice-trace 2 LAYERS EXPERTS
// and every other line one request, with one blank between its words: the step (forward pass)
// counted from 0, the layer, "t" or "s" for Use::kToken and Use::kScan, and the experts that at
// least one of the step's tokens chose, ascending. A "+" behind an expert of a scan: the batch's
// last tokens chose it. Version 1, which is read too, has no third word; all its requests are
// Use::kToken.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "residency/eviction.h"

namespace sluice::residency {

struct ExpertRequest {
  int64_t step = 0;
  int32_t layer = 0;
  std::vector<int32_t> experts;
  Use use = Use::kToken;
  // kScan: for each expert 1 if it is used like a token's, since the batch's last tokens chose it;
  // or empty: none is.
  std::vector<uint8_t> lasting;

  // Of experts[i].
  Use use_of(size_t i) const {
    return use == Use::kScan && (lasting.empty() || lasting[i] == 0) ? Use::kScan : Use::kToken;
  }
};

struct Trace {
  int32_t layers = 0;
  int32_t experts = 0;  // of each layer
  std::vector<ExpertRequest> requests;

  int64_t steps() const { return requests.empty() ? 0 : requests.back().step + 1; }
};

// kNotFound, kIo; kBadFile with the line for what write does not write.
Result<Trace> read_trace(const std::string& path);

// Writes a trace as it happens.
class TraceWriter {
 public:
  // kIo with the path.
  static Result<TraceWriter> create(const std::string& path, int32_t layers, int32_t experts);

  // A layer that is not behind the last one begins a new step. `lasting` as in ExpertRequest.
  void record(int32_t layer, std::span<const int32_t> experts, Use use = Use::kToken,
              std::span<const uint8_t> lasting = {});
  // kIo with the path when something could not be written.
  Status finish();

 private:
  std::string path_;
  std::ofstream file_;
  std::string line_;
  int64_t step_ = 0;
  int32_t last_layer_ = -1;
};

}  // namespace sluice::residency

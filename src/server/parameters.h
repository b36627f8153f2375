// SPDX-License-Identifier: Apache-2.0
// What a request says about generating, by one table of names and ranges for all routes.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "server/fields.h"

namespace sluice::server {

struct Limits {
  int64_t vocabulary = 0;
  int64_t context = 0;
  int slots = 1;  // also the most answers to one request
};

struct Parameters {
  engine::SamplingParams sampling;
  int64_t max_tokens = -1;
  double max_seconds = 0;
  std::vector<std::string> stop;
  int64_t answers = 1;
  int chances = -1;  // see engine::Request
  bool stream = false;
  bool include_usage = false;
  bool timings_per_token = false;
  bool cache_prompt = true;
};

enum class Dialect { kChat, kCompletions, kNative, kMessages, kResponses };

// `parameters` holds the defaults. Errors are left in `fields`.
void read_parameters(Fields& fields, const Limits& limits, const engine::Engine& engine,
                     Dialect dialect, Parameters& parameters);

// What clients may ask for and nothing here does yet; refused rather than ignored, since an answer
// would not be what was asked for.
void refuse_unsupported(Fields& fields, Dialect dialect);

}  // namespace sluice::server

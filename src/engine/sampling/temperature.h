// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/sampling/candidates.h"

namespace sluice::engine::sampling {

// Divides the logits by t; t <= 0 keeps the best candidate only.
void temperature(CandidateSet& set, float t);

// A temperature between max(0, t - range) and t + range, by the entropy among the candidates: at
// (entropy / largest possible entropy)^exponent of the way. range <= 0 is plain temperature; fewer
// than two candidates are left alone.
void dynamic_temperature(CandidateSet& set, float t, float range, float exponent);

}  // namespace sluice::engine::sampling

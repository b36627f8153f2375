// SPDX-License-Identifier: Apache-2.0
// The samplers that cut the set of candidates. Each is a pure function of the set and its
// parameters; values that switch a sampler off leave the set as it is. min_keep: so many candidates
// stay even where the rule would drop them. Probabilities are those among the candidates that are
// left.
#pragma once

#include <cstddef>

#include "engine/sampling/candidates.h"

namespace sluice::engine::sampling {

// Keeps logits within n standard deviations of the largest, before any temperature matters
// (Tang et al. 2024, "Top-n-sigma"). Off at n <= 0.
void top_n_sigma(CandidateSet& set, float n);

// Keeps the k most probable. Off at k <= 0.
void top_k(CandidateSet& set, int k);

// Keeps those whose surprise -ln p is nearest to the entropy, up to a mass of more than p (Meister
// et al. 2022, "Locally Typical Sampling"). Off at p >= 1.
void typical(CandidateSet& set, float p, size_t min_keep);

// Keeps the smallest set of the most probable whose mass reaches p (Holtzman et al. 2019, "The
// Curious Case of Neural Text Degeneration"). Off at p >= 1.
void top_p(CandidateSet& set, float p, size_t min_keep);

// Keeps those at least p times as probable as the most probable (Nguyen et al. 2024, "Min-p").
// Off at p <= 0.
void min_p(CandidateSet& set, float p, size_t min_keep);

// Exclude top choices: of those with a probability of at least `threshold` keeps only the least
// probable, and everything below. What happens with a given probability per token is the caller's.
// Off at threshold > 0.5, where there can be but one.
void exclude_top_choices(CandidateSet& set, float threshold, size_t min_keep);

}  // namespace sluice::engine::sampling

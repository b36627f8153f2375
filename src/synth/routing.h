// SPDX-License-Identifier: Apache-2.0
// Weights that make the choice of experts behave as in trained models, in any engine.
//
// The first kReserved elements of the residual stream belong to the routers. A token's embedding
// fills them with a constant, with how salient the token is in eight respects, with values of its
// own, and with its topic. The first layer's attention (or gated delta net) has eight heads that
// each look for the most salient of the recent tokens and add its topic to free elements: what the
// text is about, which changes as the text goes on and differs between texts. No other layer writes
// to the reserved elements. Every router adds up
//   a fixed preference (read from the constant), what the text is about, and the token itself,
// in proportions that give published hit rates; see docs/experiments/0002-calibrated-routing.md.
#pragma once

#include "synth/rows.h"
#include "synth/synth.h"

namespace sluice::synth {

// kUsage when the reserved elements do not fit the shape.
Status check_routing(const SynthOptions& options);

// nullptr for tensors that are only random. `options` is not kept.
RowRule routing_rule(const TensorPlan& tensor, const SynthOptions& options);

}  // namespace sluice::synth

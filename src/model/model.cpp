// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include "base/check.h"

namespace sluice::model {

Status Model::draft(Sequence&, int32_t, int64_t, std::vector<int32_t>& tokens,
                    std::vector<float>* logits) {
  tokens.clear();
  if (logits) logits->clear();
  return {};
}

Status Model::accept(Sequence&, int64_t) {
  SLUICE_CHECK(false, "a tentative chunk for a model that cannot draft");
  return {};
}

}  // namespace sluice::model

// SPDX-License-Identifier: Apache-2.0
// Two schemas that hold at once as one.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

namespace sluice::text::grammar {

// Adds what `other` asks for to `schema`; both are objects whose keywords have the right types,
// without $ref and allOf at the top. `lost` is told of keywords that cannot be put together: those
// of `schema` stay.
void merge_schema(nlohmann::ordered_json& schema, const nlohmann::ordered_json& other,
                  const std::function<void(std::string_view keyword)>& lost);

}  // namespace sluice::text::grammar

// SPDX-License-Identifier: Apache-2.0
// Between JSON and a template's values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

// Everything in it is untrusted. Fails on nesting and size.
Value from_json(Budget& budget, const nlohmann::ordered_json& json);

struct JsonLayout {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool multiline = false;
  Text indent;  // of one level, if multiline
  Text item_separator = Text::from_context(", ");
  Text key_separator = Text::from_context(": ");
};

// As Python's json.dumps, except that what JSON cannot say of a missing value is null. Strings keep
// their trust, everything else is untrusted.
void append_json(TextBuilder& out, const Value& value, const JsonLayout& layout);

}  // namespace sluice::text::jinja

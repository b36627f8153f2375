// SPDX-License-Identifier: Apache-2.0
// Filters, tests, methods and global functions by name; null if there is none of that name. Meaning
// and arguments are those of Jinja 3.1 and of Python's str, list and dict.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace sluice::text::jinja {

class Interpreter;

using TestFunction = bool (*)(Interpreter&, const Value& value, const Arguments&);

// The receiver is the value that is filtered.
BuiltinFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);
// Methods of strings, lists and objects that change nothing.
BuiltinFunction find_method(const Value& object, std::string_view name);
// range, namespace, dict, raise_exception, strftime_now. The receiver is undefined.
BuiltinFunction find_function(std::string_view name);

struct BuiltinEntry {
  std::string_view name;
  BuiltinFunction function;
};

// The filters of each file, for find_filter.
const std::vector<BuiltinEntry>& text_filters();
const std::vector<BuiltinEntry>& sequence_filters();
const std::vector<BuiltinEntry>& number_filters();
BuiltinFunction find_string_method(std::string_view name);

}  // namespace sluice::text::jinja

// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/arguments.h"

#include <algorithm>

namespace sluice::text::jinja {

std::vector<const Value*> Arguments::bind(
    std::string_view callee, std::initializer_list<std::string_view> parameters) const {
  std::vector<const Value*> result(parameters.size(), nullptr);
  if (positional.size() > result.size()) {
    reject("{} takes at most {} argument(s), got {}", callee, result.size(), positional.size());
  }
  for (size_t i = 0; i < positional.size(); ++i) result[i] = &positional[i];
  for (const auto& [name, value, unused] : named) {
    const auto* parameter = std::find(parameters.begin(), parameters.end(), name);
    if (parameter == parameters.end()) reject("{} has no argument '{}'", callee, name);
    const Value*& slot = result[static_cast<size_t>(parameter - parameters.begin())];
    if (slot != nullptr) reject("{} got two values for '{}'", callee, name);
    slot = &value;
  }
  return result;
}

const Value& required(std::string_view callee, std::string_view parameter, const Value* argument) {
  if (argument == nullptr) reject("{} needs the argument '{}'", callee, parameter);
  return *argument;
}

const Text& text_argument(std::string_view callee, std::string_view parameter,
                          const Value* argument) {
  const Value& value = required(callee, parameter, argument);
  if (!value.is_string()) {
    reject("{}: '{}' must be a string, not {}", callee, parameter, describe(value));
  }
  return value.as_text();
}

int64_t integer_argument(std::string_view callee, std::string_view parameter, const Value* argument,
                         int64_t otherwise) {
  if (argument == nullptr) return otherwise;
  if (!argument->is_integral()) {
    reject("{}: '{}' must be an integer, not {}", callee, parameter, describe(*argument));
  }
  return argument->as_integer();
}

bool flag_argument(const Value* argument, bool otherwise) {
  return argument == nullptr ? otherwise : argument->truth();
}

}  // namespace sluice::text::jinja

// SPDX-License-Identifier: Apache-2.0
// The arguments of a call to a builtin, a filter, a test or a macro.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

struct NamedArgument {
  std::string name;
  Value value;
  bool trusted = true;  // the name, which may come from an object of the context by **
};

class Arguments {
 public:
  std::vector<Value> positional;
  std::vector<NamedArgument> named;

  // One pointer for each parameter, null where no argument was given. Fails on arguments that no
  // parameter takes. The pointers live as long as these arguments stay as they are.
  std::vector<const Value*> bind(std::string_view callee,
                                 std::initializer_list<std::string_view> parameters) const;
};

// Null pointers are absent arguments. These fail when the argument is of another kind.
const Value& required(std::string_view callee, std::string_view parameter, const Value* argument);
const Text& text_argument(std::string_view callee, std::string_view parameter,
                          const Value* argument);
int64_t integer_argument(std::string_view callee, std::string_view parameter, const Value* argument,
                         int64_t otherwise);
bool flag_argument(const Value* argument, bool otherwise);

}  // namespace sluice::text::jinja

// SPDX-License-Identifier: Apache-2.0
// Global functions of a template.
#include <ctime>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

namespace sluice::text::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox
constexpr size_t kMaxTimeFormat = 256;

Value range_function(Interpreter& in, const Value&, const Arguments& arguments) {
  const auto given = arguments.bind("range", {"start", "stop", "step"});
  int64_t start = integer_argument("range", "start", &required("range", "stop", given[0]), 0);
  int64_t stop = integer_argument("range", "stop", given[1], 0);
  const int64_t step = integer_argument("range", "step", given[2], 1);
  if (given[1] == nullptr) stop = std::exchange(start, 0);
  if (step == 0) reject("range: the step is 0");
  // The difference of any two integers fits in 64 bits without sign.
  const uint64_t distance = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                     : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride =
      step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t count = empty ? 0 : (distance - 1) / stride + 1;
  if (count > kMaxRange) exceed("range has more than {} items (limit range)", kMaxRange);
  in.budget().expect(count * sizeof(Value));
  in.budget().step(static_cast<int64_t>(count / 8));
  std::vector<Value> result;
  result.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    result.push_back(Value::integer(start));
    if (i + 1 < count) start += step;
  }
  return Value::list(in.budget(), std::move(result));
}

// Entries from an object or from pairs, then those given by name.
std::vector<std::pair<Value, Value>> entries_of(Interpreter& in, std::string_view callee,
                                                const Arguments& arguments) {
  if (arguments.positional.size() > 1) reject("{} takes at most one positional argument", callee);
  std::vector<std::pair<Value, Value>> entries;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_dict()) {
      in.budget().expect(source.as_dict().entries.size() * 2 * sizeof(Value));
      entries = source.as_dict().entries;
    } else {
      const Value pairs = in.sequence(source);
      for (const Value& pair : pairs.as_list()) {
        const Value both = in.sequence(pair);
        if (both.as_list().size() != 2) reject("{} needs pairs of key and value", callee);
        in.budget().expect((entries.size() + 1) * 4 * sizeof(Value));
        entries.emplace_back(both.as_list()[0], both.as_list()[1]);
      }
    }
  }
  for (const auto& [name, value, trusted] : arguments.named) {
    entries.emplace_back(in.make_string(name, trusted), value);
  }
  return entries;
}

Value namespace_function(Interpreter& in, const Value&, const Arguments& arguments) {
  // As an object first: it keeps one entry for each key without comparing all with all.
  const Value entries = Value::dict(in.budget(), entries_of(in, "namespace", arguments));
  Namespace* result = in.make_namespace();
  in.budget().hold(entries.as_dict().entries.size() * 2 * sizeof(Value));
  for (const auto& [key, value] : entries.as_dict().entries) {
    if (!key.is_string()) reject("namespace needs strings as keys");
    result->entries.emplace_back(key, value);
  }
  return Value::name_space(result);
}

Value dict_function(Interpreter& in, const Value&, const Arguments& arguments) {
  return Value::dict(in.budget(), entries_of(in, "dict", arguments));
}

Value raise_function(Interpreter& in, const Value&, const Arguments& arguments) {
  const auto given = arguments.bind("raise_exception", {"message"});
  std::string message;
  if (given[0] != nullptr) message = to_string(in.budget(), *given[0]).as_text().bytes;
  reject("{}", message);
}

Value time_function(Interpreter& in, const Value&, const Arguments& arguments) {
  const auto given = arguments.bind("strftime_now", {"format"});
  const Text& format = text_argument("strftime_now", "format", given[0]);
  if (format.size() > kMaxTimeFormat) {
    exceed("strftime_now: the format is longer than {} bytes (limit format)", kMaxTimeFormat);
  }
  if (format.size() == 0) return *given[0];
  const std::time_t now = std::chrono::system_clock::to_time_t(in.clock()());
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[16 * kMaxTimeFormat];
  const std::string terminated = format.bytes.substr(0, format.bytes.find('\0'));
  const size_t length = std::strftime(buffer, sizeof(buffer), terminated.c_str(), &local);
  return in.make_string(std::string(buffer, length), format.wholly_trusted());
}

constexpr BuiltinEntry kFunctions[] = {{"dict", dict_function},
                                       {"namespace", namespace_function},
                                       {"raise_exception", raise_function},
                                       {"range", range_function},
                                       {"strftime_now", time_function}};

}  // namespace

BuiltinFunction find_function(std::string_view name) {
  for (const BuiltinEntry& entry : kFunctions) {
    if (entry.name == name) return entry.function;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja

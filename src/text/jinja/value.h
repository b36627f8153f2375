// SPDX-License-Identifier: Apache-2.0
// The values of a template, with Python's meaning: equality, order, truth, text forms. Lists and
// objects never change once made, so they cannot contain themselves; namespaces and functions live
// in the interpreter until the rendering ends, so no chain of them is ever freed recursively.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/text.h"

namespace sluice::text::jinja {

class Value;
class Interpreter;
class Arguments;
struct Macro;
struct Namespace;

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // above the range of kInt, up to 2^64 - 1: only from the context, only passed on
  kFloat,
  kString,
  kList,
  kDict,
  kNamespace,
  kFunction,
  kLoop,
};

// What Python would have: they differ in truth, text form and equality.
enum class ListKind : uint8_t { kList, kTuple, kView, kIterator };

// Memory that is counted while the object lives. `budget` is null for constants of the template.
class Object {
 public:
  Object(Budget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->hold(bytes_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() {
    if (budget_ != nullptr) budget_->release(bytes_);
  }

 private:
  Budget* budget_;
  size_t bytes_;
};

struct StringObject;
struct ListObject;
struct DictObject;
struct FunctionObject;
struct LoopObject;

using BuiltinFunction = Value (*)(Interpreter&, const Value& receiver, const Arguments&);

class Value {
 public:
  Value() = default;  // undefined

  static Value none() { return Value(Kind::kNone); }
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value big_integer(uint64_t value);
  static Value real(double value);
  static Value string(Budget* budget, Text text);
  static Value string(TextBuilder& builder) { return string(&builder.budget(), builder.take()); }
  // Fails when the nesting is too deep.
  static Value list(Budget& budget, std::vector<Value> items, ListKind kind = ListKind::kList);
  // Later entries of the same key win, at the place of the first.
  static Value dict(Budget& budget, std::vector<std::pair<Value, Value>> entries);
  static Value name_space(Namespace* value);
  static Value function(Budget& budget, BuiltinFunction function, Value receiver);
  static Value macro(Budget& budget, const Macro* macro);
  static Value loop(std::shared_ptr<const LoopObject> loop);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  bool is_integral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  bool is_number() const {
    return is_integral() || kind_ == Kind::kBigInt || kind_ == Kind::kFloat;
  }

  // Only for the kind that the name says; `integer` also for booleans.
  bool as_bool() const { return scalar_.integer != 0; }
  int64_t as_integer() const { return scalar_.integer; }
  uint64_t as_big_integer() const { return scalar_.big_integer; }
  double as_real() const { return scalar_.real; }
  const Text& as_text() const;
  const std::vector<Value>& as_list() const;
  ListKind list_kind() const;
  const DictObject& as_dict() const;
  Namespace& as_namespace() const { return *scalar_.name_space; }
  const FunctionObject& as_function() const;
  const LoopObject& as_loop() const;

  // Numbers of any kind.
  long double number() const;
  // As Python's bool().
  bool truth() const;
  // Levels of lists and objects below; 0 for everything else.
  int depth() const;
  const void* identity() const;

  // A scalar that came from the context: its text form is untrusted.
  bool untrusted() const { return untrusted_; }
  Value& set_untrusted(bool untrusted) {
    untrusted_ = untrusted;
    return *this;
  }

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  union Scalar {
    int64_t integer;
    uint64_t big_integer;
    double real;
    Namespace* name_space;
  };

  Kind kind_ = Kind::kUndefined;
  bool untrusted_ = false;
  Scalar scalar_{0};
  std::shared_ptr<const void> object_;
};

struct StringObject : Object {
  StringObject(Budget* budget, Text value);
  Text text;
};

struct ListObject : Object {
  ListObject(Budget* budget, std::vector<Value> values, ListKind list_kind);
  std::vector<Value> items;
  ListKind kind;
  int depth = 1;
};

struct DictObject : Object {
  DictObject(Budget* budget, std::vector<std::pair<Value, Value>> values);
  const Value* find(const Value& key) const;  // null if absent or not hashable
  const Value* find(std::string_view key) const;

  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;

 private:
  std::unordered_map<std::string, size_t> index_;  // used by larger ones
};

// A macro, or a builtin with the value it is a method of.
struct FunctionObject : Object {
  FunctionObject(Budget* budget, BuiltinFunction function, Value of, const Macro* of_macro);
  BuiltinFunction builtin;
  Value receiver;
  const Macro* macro;
};

struct LoopObject : Object {
  LoopObject(Budget* budget, Value of) : Object(budget, sizeof(LoopObject)), items(std::move(of)) {}
  Value items;  // a list
  size_t index = 0;
};

struct Namespace {
  std::vector<std::pair<Value, Value>> entries;
  const Value* find(std::string_view name) const;
};

// What a dictionary is indexed by, the same for equal keys; none if the value is not hashable.
std::optional<std::string> hash_key(const Value& value);

bool equal(Budget& budget, const Value& left, const Value& right);
// Less than; rejects what has no order.
bool less(Budget& budget, const Value& left, const Value& right);

// Python's str() and repr(). Punctuation of lists and objects is untrusted.
void append_string(TextBuilder& out, const Value& value);
void append_repr(TextBuilder& out, const Value& value);
Value to_string(Budget& budget, const Value& value);
// Shortest text that reads back as the same number, in Python's layout.
std::string format_real(double value);

// The type's name for messages: "a string", "None", ...
std::string_view describe(const Value& value);

}  // namespace sluice::text::jinja

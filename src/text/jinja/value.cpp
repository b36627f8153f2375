// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>

namespace sluice::text::jinja {

namespace {

constexpr size_t kIndexedEntries = 8;
constexpr size_t kIndexBytes = 64;  // a node of the index, without its key

std::string marked(char mark, std::string_view text) {
  std::string result(1, mark);
  result += text;
  return result;
}

size_t text_bytes(const Text& text) {
  return text.bytes.capacity() + text.untrusted.capacity() * sizeof(Range);
}

}  // namespace

StringObject::StringObject(Budget* budget, Text value)
    : Object(budget, sizeof(StringObject) + text_bytes(value)), text(std::move(value)) {}

ListObject::ListObject(Budget* budget, std::vector<Value> values, ListKind list_kind)
    : Object(budget, sizeof(ListObject) + values.capacity() * sizeof(Value)),
      items(std::move(values)),
      kind(list_kind) {
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (budget != nullptr) {
    budget->work(items.size());
    budget->check_nesting(depth);
  }
}

DictObject::DictObject(Budget* budget, std::vector<std::pair<Value, Value>> values)
    : Object(budget, sizeof(DictObject) + values.capacity() * (sizeof(values[0]) + kIndexBytes)) {
  const bool indexed = values.size() > kIndexedEntries;
  entries.reserve(values.size());
  for (auto& [key, value] : values) {
    auto hashed = hash_key(key);
    if (!hashed) reject("{} cannot be the key of an object", describe(key));
    if (budget != nullptr) budget->work(64 + hashed->size());
    depth = std::max(depth, value.depth() + 1);
    if (indexed) {
      const auto [place, inserted] = index_.try_emplace(std::move(*hashed), entries.size());
      if (!inserted) {
        entries[place->second].second = std::move(value);
        continue;
      }
    } else {
      const auto same = std::find_if(entries.begin(), entries.end(),
                                     [&](const auto& e) { return hash_key(e.first) == hashed; });
      if (same != entries.end()) {
        same->second = std::move(value);
        continue;
      }
    }
    entries.emplace_back(std::move(key), std::move(value));
  }
  if (budget != nullptr) budget->check_nesting(depth);
}

const Value* DictObject::find(std::string_view key) const {
  if (!index_.empty()) {
    const auto found = index_.find(marked('s', key));
    return found == index_.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.as_text().view() == key) return &value;
  }
  return nullptr;
}

const Value* DictObject::find(const Value& key) const {
  if (key.is_string()) return find(key.as_text().view());
  const auto hashed = hash_key(key);
  if (!hashed) return nullptr;
  if (!index_.empty()) {
    const auto found = index_.find(*hashed);
    return found == index_.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [name, value] : entries) {
    if (hash_key(name) == hashed) return &value;
  }
  return nullptr;
}

FunctionObject::FunctionObject(Budget* budget, BuiltinFunction function, Value of,
                               const Macro* of_macro)
    : Object(budget, sizeof(FunctionObject)),
      builtin(function),
      receiver(std::move(of)),
      macro(of_macro) {
  if (budget != nullptr) budget->check_nesting(receiver.depth() + 1);
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : entries) {
    if (key.is_string() && key.as_text().view() == name) return &value;
  }
  return nullptr;
}

Value Value::boolean(bool value) {
  Value result(Kind::kBool);
  result.scalar_.integer = value ? 1 : 0;
  return result;
}

Value Value::integer(int64_t value) {
  Value result(Kind::kInt);
  result.scalar_.integer = value;
  return result;
}

Value Value::big_integer(uint64_t value) {
  Value result(Kind::kBigInt);
  result.scalar_.big_integer = value;
  return result;
}

Value Value::real(double value) {
  Value result(Kind::kFloat);
  result.scalar_.real = value;
  return result;
}

Value Value::string(Budget* budget, Text text) {
  Value result(Kind::kString);
  result.object_ = std::make_shared<StringObject>(budget, std::move(text));
  return result;
}

Value Value::list(Budget& budget, std::vector<Value> items, ListKind kind) {
  Value result(Kind::kList);
  result.object_ = std::make_shared<ListObject>(&budget, std::move(items), kind);
  return result;
}

Value Value::dict(Budget& budget, std::vector<std::pair<Value, Value>> entries) {
  Value result(Kind::kDict);
  result.object_ = std::make_shared<DictObject>(&budget, std::move(entries));
  return result;
}

Value Value::name_space(Namespace* value) {
  Value result(Kind::kNamespace);
  result.scalar_.name_space = value;
  return result;
}

Value Value::function(Budget& budget, BuiltinFunction function, Value receiver) {
  Value result(Kind::kFunction);
  result.object_ =
      std::make_shared<FunctionObject>(&budget, function, std::move(receiver), nullptr);
  return result;
}

Value Value::macro(Budget& budget, const Macro* macro) {
  Value result(Kind::kFunction);
  result.object_ = std::make_shared<FunctionObject>(&budget, nullptr, Value(), macro);
  return result;
}

Value Value::loop(std::shared_ptr<const LoopObject> loop) {
  Value result(Kind::kLoop);
  result.object_ = std::move(loop);
  return result;
}

const Text& Value::as_text() const {
  return static_cast<const StringObject*>(object_.get())->text;
}

const std::vector<Value>& Value::as_list() const {
  return static_cast<const ListObject*>(object_.get())->items;
}

ListKind Value::list_kind() const {
  return static_cast<const ListObject*>(object_.get())->kind;
}

const DictObject& Value::as_dict() const {
  return *static_cast<const DictObject*>(object_.get());
}

const FunctionObject& Value::as_function() const {
  return *static_cast<const FunctionObject*>(object_.get());
}

const LoopObject& Value::as_loop() const {
  return *static_cast<const LoopObject*>(object_.get());
}

long double Value::number() const {
  switch (kind_) {
    case Kind::kFloat:
      return scalar_.real;
    case Kind::kBigInt:
      return static_cast<long double>(scalar_.big_integer);
    default:
      return static_cast<long double>(scalar_.integer);
  }
}

bool Value::truth() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return scalar_.integer != 0;
    case Kind::kFloat:
      return scalar_.real != 0;
    case Kind::kString:
      return as_text().size() > 0;
    case Kind::kList:
      return list_kind() == ListKind::kIterator || !as_list().empty();
    case Kind::kDict:
      return !as_dict().entries.empty();
    case Kind::kBigInt:
    case Kind::kNamespace:
    case Kind::kFunction:
    case Kind::kLoop:
      return true;
  }
  return false;
}

int Value::depth() const {
  switch (kind_) {
    case Kind::kList:
      return static_cast<const ListObject*>(object_.get())->depth;
    case Kind::kDict:
      return as_dict().depth;
    case Kind::kFunction:
      return as_function().receiver.depth() + 1;
    case Kind::kLoop:
      return as_loop().items.depth() + 1;
    default:
      return 0;
  }
}

const void* Value::identity() const {
  return kind_ == Kind::kNamespace ? scalar_.name_space : object_.get();
}

std::optional<std::string> hash_key(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return marked('s', value.as_text().view());
    case Kind::kNone:
      return "n";
    case Kind::kBool:
    case Kind::kInt:
      return marked('i', std::to_string(value.as_integer()));
    case Kind::kBigInt:
      return marked('i', std::to_string(value.as_big_integer()));
    case Kind::kFloat: {
      const double real = value.as_real();
      if (std::floor(real) == real && std::fabs(real) < 0x1p63) {
        return marked('i', std::to_string(static_cast<int64_t>(real)));
      }
      return marked('f', format_real(real));
    }
    default:
      return std::nullopt;
  }
}

std::string_view describe(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "an undefined value";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a boolean";
    case Kind::kInt:
    case Kind::kBigInt:
      return "an integer";
    case Kind::kFloat:
      return "a float";
    case Kind::kString:
      return "a string";
    case Kind::kList:
      return value.list_kind() == ListKind::kTuple ? "a tuple" : "a list";
    case Kind::kDict:
      return "an object";
    case Kind::kNamespace:
      return "a namespace";
    case Kind::kFunction:
      return "a function";
    case Kind::kLoop:
      return "the loop variable";
  }
  return "a value";
}

}  // namespace sluice::text::jinja

// SPDX-License-Identifier: Apache-2.0
#include "server/fields.h"

#include <cmath>
#include <limits>

namespace sluice::server {

const char* kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    default:
      return "a number";
  }
}

std::optional<int64_t> as_integer(const Json& value, int64_t low, int64_t high) {
  int64_t number = 0;
  if (value.is_number_unsigned()) {
    const auto wide = value.get<uint64_t>();
    if (wide > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    number = static_cast<int64_t>(wide);
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const auto real = value.get<double>();
    if (!(std::abs(real) < 9e15) || real != std::floor(real)) return std::nullopt;
    number = static_cast<int64_t>(real);
  } else {
    return std::nullopt;
  }
  if (number < low || number > high) return std::nullopt;
  return number;
}

Fields::Fields(const Json& object, std::string path) : object_(&object), path_(std::move(path)) {
  if (object.is_object()) return;
  error_ = ApiError{400, fmt::format("must be an object, not {}", kind_of(object)), path_};
  if (path_.empty()) error_->message = "the body " + error_->message;
}

std::string Fields::path(const std::string& name) const {
  return path_.empty() ? name : path_ + "." + name;
}

void Fields::refuse(const std::string& name, std::string message) {
  if (!error_) error_ = ApiError{400, std::move(message), path(name)};
}

ApiResult<void> Fields::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

const Json* Fields::get(const std::string& name) {
  if (error_) return nullptr;
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<double> Fields::number(const std::string& name, double low, double high) {
  const Json* value = get(name);
  if (!value) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (number >= low && number <= high) return number;
  refuse(name, fmt::format("must be a number from {} to {}", low, high));
  return std::nullopt;
}

std::optional<int64_t> Fields::integer(const std::string& name, int64_t low, int64_t high) {
  const Json* value = get(name);
  if (!value) return std::nullopt;
  const auto number = as_integer(*value, low, high);
  if (!number) refuse(name, fmt::format("must be a whole number from {} to {}", low, high));
  return number;
}

std::optional<bool> Fields::boolean(const std::string& name) {
  const Json* value = get(name);
  if (!value) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  refuse(name, fmt::format("must be true or false, not {}", kind_of(*value)));
  return std::nullopt;
}

std::optional<std::string> Fields::text(const std::string& name) {
  const Json* value = get(name);
  if (!value) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  refuse(name, fmt::format("must be a string, not {}", kind_of(*value)));
  return std::nullopt;
}

const Json* Fields::array(const std::string& name, size_t most) {
  const Json* value = get(name);
  if (!value) return nullptr;
  if (value->is_array() && value->size() <= most) return value;
  refuse(name, value->is_array()
                   ? fmt::format("has {} entries, at most {} are allowed", value->size(), most)
                   : fmt::format("must be an array, not {}", kind_of(*value)));
  return nullptr;
}

const Json* Fields::object(const std::string& name) {
  const Json* value = get(name);
  if (!value) return nullptr;
  if (value->is_object()) return value;
  refuse(name, fmt::format("must be an object, not {}", kind_of(*value)));
  return nullptr;
}

}  // namespace sluice::server

// SPDX-License-Identifier: Apache-2.0
// Reads the members of a JSON object within stated ranges. The first thing that is wrong is kept as
// an error with the field's path; afterwards everything reads as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/api.h"

namespace sluice::server {

class Fields {
 public:
  // `object` must outlive it. `path`: of the object, empty for the body itself.
  explicit Fields(const Json& object, std::string path = "");

  // nullptr for what is absent or null.
  const Json* get(const std::string& name);
  bool has(const std::string& name) { return get(name) != nullptr; }
  std::optional<double> number(const std::string& name, double low, double high);
  std::optional<int64_t> integer(const std::string& name, int64_t low, int64_t high);
  std::optional<bool> boolean(const std::string& name);
  std::optional<std::string> text(const std::string& name);
  const Json* array(const std::string& name, size_t most);
  const Json* object(const std::string& name);

  void refuse(const std::string& name, std::string message);
  void refuse(ApiError error) {
    if (!error_) error_ = std::move(error);
  }
  std::string path(const std::string& name) const;
  ApiResult<void> status() const;
  bool failed() const { return error_.has_value(); }

 private:
  const Json* object_;
  std::string path_;
  std::optional<ApiError> error_;
};

// The type of a value as messages name it: "a string", "an object", ...
const char* kind_of(const Json& value);
// As a whole number in [low, high], also where it is written like 16.0.
std::optional<int64_t> as_integer(const Json& value, int64_t low, int64_t high);

}  // namespace sluice::server

// SPDX-License-Identifier: Apache-2.0
// What every route uses: JSON within limits, and errors in the shape that clients expect.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/http.h"

namespace sluice::server {

using Json = nlohmann::ordered_json;

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // path of the field, "messages[0].role"; empty: no field's fault
  std::string type = "invalid_request_error";
  Json more;  // further members, an object or null
};

template <typename T>
using ApiResult = tl::expected<T, ApiError>;

inline tl::unexpected<ApiError> refuse(std::string param, std::string message) {
  return tl::unexpected(ApiError{400, std::move(message), std::move(param)});
}
inline tl::unexpected<ApiError> refuse(ApiError error) {
  return tl::unexpected(std::move(error));
}

// Of an error of the engine; kUsage and kTooLarge are the client's.
ApiError to_api(const Error& error, std::string param = "");
// OpenAI's shape: {"error": {"code", "message", "type", "param"}}.
Json error_body(const ApiError& error);
// Anthropic's: {"type": "error", "error": {"type", "message"}}.
Json anthropic_error_body(const ApiError& error);
HttpResponse to_response(const ApiError& error, bool anthropic = false);
HttpResponse to_response(const Json& body);

// One document. Refused: malformed, nested too deep, a name twice in one object, no UTF-8.
ApiResult<Json> parse_json(const std::string& text);
// Bytes that are no UTF-8 become U+FFFD.
std::string dump(const Json& json);

// "chatcmpl-" + 32 letters and digits that cannot be guessed.
std::string make_id(const char* prefix, size_t length = 32);

}  // namespace sluice::server

#define SLUICE_API_TRY(expr)                                                               \
  do {                                                                                     \
    auto sluice_api_status = (expr);                                                       \
    if (!sluice_api_status) return ::tl::unexpected(std::move(sluice_api_status.error())); \
  } while (false)
#define SLUICE_API_ASSIGN(declaration, expr) \
  SLUICE_API_ASSIGN_INNER(declaration, expr, SLUICE_CONCAT(sluice_api_result_, __LINE__))
#define SLUICE_API_ASSIGN_INNER(declaration, expr, result)         \
  auto result = (expr);                                            \
  if (!result) return ::tl::unexpected(std::move(result.error())); \
  declaration = std::move(*result)

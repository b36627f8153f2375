// SPDX-License-Identifier: Apache-2.0
#include "server/api.h"

#include <openssl/rand.h>

#include <set>
#include <vector>

namespace sluice::server {
namespace {

constexpr int kDeepest = 64;

// Depth of brackets outside strings; parsing and writing recurse that deep.
std::optional<size_t> too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

const char* anthropic_type(const ApiError& error) {
  switch (error.status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return error.status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

ApiError to_api(const Error& error, std::string param) {
  ApiError api{400, error.message, std::move(param)};
  switch (error.kind) {
    case ErrorKind::kUsage:
    case ErrorKind::kTooLarge:
      break;
    case ErrorKind::kUnsupported:
      api.status = 501;
      api.type = "not_supported_error";
      break;
    case ErrorKind::kBusy:
      api.status = 429;
      api.type = "rate_limit_error";
      break;
    case ErrorKind::kCancelled:
      api.status = 503;
      api.type = "unavailable_error";
      break;
    default:
      api.status = 500;
      api.type = "server_error";
  }
  return api;
}

Json error_body(const ApiError& error) {
  Json body = {{"code", error.status},
               {"message", error.message},
               {"type", error.type},
               {"param", error.param.empty() ? Json() : Json(error.param)}};
  if (error.more.is_object()) body.update(error.more);
  return {{"error", std::move(body)}};
}

Json anthropic_error_body(const ApiError& error) {
  const std::string message =
      error.param.empty() ? error.message : error.param + ": " + error.message;
  return {{"type", "error"}, {"error", {{"type", anthropic_type(error)}, {"message", message}}}};
}

HttpResponse to_response(const ApiError& error, bool anthropic) {
  HttpResponse response;
  response.status = error.status;
  response.body = dump(anthropic ? anthropic_error_body(error) : error_body(error));
  if (error.status == 429 || error.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse to_response(const Json& body) {
  HttpResponse response;
  response.body = dump(body);
  return response;
}

ApiResult<Json> parse_json(const std::string& text) {
  if (const auto at = too_deep(text))
    return refuse("",
                  fmt::format("the JSON body is nested deeper than {} at byte {}", kDeepest, *at));
  std::vector<std::set<std::string>> names;
  std::string twice;
  const auto look = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) {
      names.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      names.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& name = value.get_ref<const std::string&>();
      if (!names.back().insert(name).second && twice.empty()) twice = name;
    }
    return true;
  };
  try {
    Json json = Json::parse(text, look);
    if (!twice.empty()) return refuse(twice, "this name stands twice in one object");
    return json;
  } catch (const Json::parse_error& error) {
    return refuse("", fmt::format("the body is no JSON document: an error at byte {}", error.byte));
  } catch (const std::exception&) {
    return refuse("", "the body is no JSON document: a number is out of range");
  }
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string make_id(const char* prefix, size_t length) {
  static constexpr char kLetters[] =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::vector<unsigned char> random(length);
  RAND_bytes(random.data(), static_cast<int>(length));
  std::string id = prefix;
  for (const unsigned char byte : random) id += kLetters[byte % 62];
  return id;
}

}  // namespace sluice::server

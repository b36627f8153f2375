// SPDX-License-Identifier: Apache-2.0
#include "server/guard.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

namespace sluice::server {
namespace {

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

Digest digest(std::string_view text) {
  Digest result;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), result.data());
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

// "name:8080" and "[::1]:8080" without the port.
std::string without_port(std::string_view host) {
  const size_t bracket = host.find(']');
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  return lower(host.substr(0, colon));
}

// Addresses cannot be made to point elsewhere.
bool is_address(std::string_view host) {
  if (host.starts_with("[")) return host.ends_with("]");
  return !host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

Guard::Guard(std::vector<std::string> keys, std::vector<std::string> hosts,
             std::vector<std::string> origins)
    : keys_(std::move(keys)), hosts_(std::move(hosts)), origins_(std::move(origins)) {
  for (std::string& host : hosts_) host = lower(host);
  for (std::string& origin : origins_) origin = lower(origin);
}

ApiResult<std::string> Guard::owner(const HttpRequest& request) const {
  if (keys_.empty()) return std::string();
  std::string_view shown = request.header("x-api-key");
  if (const std::string_view bearer = request.header("authorization");
      lower(bearer.substr(0, 7)) == "bearer ")
    shown = bearer.substr(7);
  // Digests have one length, and all keys are compared: the time tells nothing.
  const Digest theirs = digest(shown);
  const std::string* found = nullptr;
  for (const std::string& key : keys_) {
    const Digest ours = digest(key);
    if (CRYPTO_memcmp(ours.data(), theirs.data(), ours.size()) == 0) found = &key;
  }
  if (found) return *found;
  return refuse(ApiError{
      401,
      shown.empty() ? "no API key: send it as \"Authorization: Bearer KEY\"" : "invalid API key",
      "",
      "authentication_error",
      {}});
}

bool Guard::allowed(std::string_view origin) const {
  const std::string name = lower(origin);
  return std::ranges::any_of(origins_, [&](const auto& o) { return o == "*" || o == name; });
}

ApiResult<void> Guard::check_source(const HttpRequest& request) const {
  const std::string host = without_port(request.header("host"));
  if (keys_.empty() && !host.empty() && host != "localhost" && !host.ends_with(".localhost") &&
      !is_address(host) && std::ranges::find(hosts_, host) == hosts_.end())
    return refuse(ApiError{403,
                           "this server is not known by that name: allow it with "
                           "--allowed-host, or use an API key",
                           "",
                           "permission_error",
                           {}});
  const std::string_view origin = request.header("origin");
  if (origin.empty() || allowed(origin)) return {};
  // A page that this very server sent.
  const size_t scheme = origin.find("://");
  if (scheme != std::string_view::npos &&
      lower(origin.substr(scheme + 3)) == lower(request.header("host")))
    return {};
  return refuse(ApiError{403,
                         "web pages of that origin may not use this server: see --cors-origin",
                         "",
                         "permission_error",
                         {}});
}

HttpHeaders Guard::cors(const HttpRequest& request) const {
  const std::string_view origin = request.header("origin");
  if (origin.empty() || !allowed(origin)) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Vary", "Origin"},
          {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key"},
          {"Access-Control-Allow-Methods", "GET, POST, OPTIONS"}};
}

}  // namespace sluice::server

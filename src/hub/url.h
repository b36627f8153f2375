// SPDX-License-Identifier: Apache-2.0
// Addresses of files on the network.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::hub {

// An absolute http or https address.
class Url {
 public:
  // kUsage for anything else, and for addresses with a user name or password, which would end up in
  // messages and logs.
  static Result<Url> parse(const std::string& text);
  // What a redirect or link given by this page means: `reference` may be relative.
  Result<Url> resolve(const std::string& reference) const;

  const std::string& text() const { return text_; }
  // "https://host" or "https://host:8443": what a token belongs to.
  const std::string& origin() const { return origin_; }
  // Percent-encoded, begins with '/', without the query.
  const std::string& path() const { return path_; }
  const std::string& host() const { return host_; }
  bool encrypted() const { return text_.starts_with("https:"); }
  bool loopback() const;
  // For messages: without the query, which may hold a signature.
  std::string display() const { return origin_ + path_; }

 private:
  static Result<Url> from_handle(void* handle, const std::string& given);
  std::string text_, origin_, path_, host_;
};

// Meant as an address, of whatever protocol: no name of a model or path.
bool is_address(std::string_view text);

// Percent-encodes what may not stand in a path; '/' stays.
std::string escape_path(std::string_view path);
// The reverse; "" when the escapes are malformed or hide a NUL.
std::string unescape_path(std::string_view path);

}  // namespace sluice::hub

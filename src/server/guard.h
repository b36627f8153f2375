// SPDX-License-Identifier: Apache-2.0
// Who may ask: API keys, and whether a web page in somebody's browser is behind a request.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/api.h"

namespace sluice::server {

class Guard {
 public:
  // `hosts`: names, besides addresses and localhost, under which clients may reach the server;
  // checked where no keys are, against web pages whose names were made to point here. `origins`:
  // of web pages that may use the server; "*": all.
  Guard(std::vector<std::string> keys, std::vector<std::string> hosts,
        std::vector<std::string> origins);

  // The key that `request` shows, empty where none is needed. Takes the same time for every key.
  ApiResult<std::string> owner(const HttpRequest& request) const;
  ApiResult<void> check_source(const HttpRequest& request) const;
  // Headers that tell a browser that its page may see the answer; none for others.
  HttpHeaders cors(const HttpRequest& request) const;

 private:
  bool allowed(std::string_view origin) const;

  std::vector<std::string> keys_, hosts_, origins_;
};

}  // namespace sluice::server

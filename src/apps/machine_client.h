// SPDX-License-Identifier: Apache-2.0
// Asks a server about its machine, over HTTP or HTTPS.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::apps {

struct ServerAddress {
  std::string url = "http://127.0.0.1:8080";
  std::string key;      // empty: none
  std::string ca_file;  // certificates to trust besides the system's; empty: none
};

class MachineClient {
 public:
  static Result<std::unique_ptr<MachineClient>> create(const ServerAddress& address);
  ~MachineClient();

  // GET /machine. The error says what to do: start a server, give a key.
  Result<std::string> description();
  // GET /machine/stream, from its beginning.
  Status open();
  // What has come, waiting for a while; less when `descriptor` has input. The error of a stream
  // that ended or broke.
  Result<std::vector<std::string>> events(int descriptor, int milliseconds);

 private:
  struct Impl;
  explicit MachineClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::apps

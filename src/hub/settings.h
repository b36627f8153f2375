// SPDX-License-Identifier: Apache-2.0
// Where the hub is and where its files go: the variables that other programs of its users read too.
#pragma once

#include <atomic>
#include <string>

#include "base/result.h"
#include "hub/http.h"

namespace sluice::hub {

struct Settings {
  std::string endpoint =
      "https://huggingface.co";  // MODEL_ENDPOINT, HF_ENDPOINT; no '/' at its end
  std::string token;       // HF_TOKEN, else the file that HF_TOKEN_PATH names, else HF_HOME/token
  std::string cache;       // HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub
  std::string downloads;   // of plain addresses: our own cache folder
  bool offline = false;    // HF_HUB_OFFLINE
  int stall_seconds = 30;  // HF_HUB_DOWNLOAD_TIMEOUT
  const std::atomic<bool>* cancel = nullptr;

  // kUsage names the variable and what it should hold.
  static Result<Settings> from_environment();
  HttpOptions http() const;
};

}  // namespace sluice::hub

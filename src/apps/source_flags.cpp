// SPDX-License-Identifier: Apache-2.0
// The flags that say which model, and where it comes from.
#include <utility>

#include "apps/options.h"

namespace sluice::apps {

std::vector<Flag> source_flags(CommonOptions& o) {
  ModelSource& s = o.source;
  // The last one wins, so that the command line does before the environment.
  const auto model = [&o](std::string path, std::string repository, std::string address) {
    o.engine.model_path = std::move(path);
    o.source.repository = std::move(repository);
    o.source.address = std::move(address);
  };
  const auto text = [](std::string& field) {
    return [&field](const std::string& value) -> Status {
      field = value;
      return {};
    };
  };
  return {
      {"--model",
       {"-m"},
       "MODEL",
       "FILE",
       "GGUF file; of a split one the first part",
       [model](const std::string& path) -> Status {
         model(path, "", "");
         return {};
       }},
      {"--hf-repo",
       {"-hf", "-hfr"},
       "HF_REPO",
       "OWNER/REPO[:QUANT]",
       "model of the hub (HF_ENDPOINT), downloaded where it is not here (Q4_K_M)",
       [model](const std::string& repository) -> Status {
         model("", repository, "");
         return {};
       }},
      {"--hf-file",
       {"-hff"},
       "HF_FILE",
       "PATH",
       "which file of the repository, instead of QUANT",
       text(s.file)},
      {"--hf-token",
       {"-hft"},
       "",
       "TOKEN",
       "for models that need one (HF_TOKEN, which other users cannot see)",
       text(s.token)},
      {"--model-url",
       {"-mu"},
       "MODEL_URL",
       "URL",
       "model at an address, downloaded where it is not here",
       [model](const std::string& address) -> Status {
         model("", "", address);
         return {};
       }},
      {"--offline",
       {},
       "OFFLINE",
       "",
       "take only what is here (HF_HUB_OFFLINE)",
       [&s](const std::string& value) -> Status {
         s.offline = value == "true";
         return {};
       }},
  };
}

}  // namespace sluice::apps

// SPDX-License-Identifier: Apache-2.0
// Bodies of requests: the first byte chooses the route, the rest is the body. Nothing is computed:
// whatever could be is refused since no request may wait.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../unit/server/test_service.h"

namespace {

constexpr const char* kRoutes[] = {
    "/v1/chat/completions", "/v1/completions", "/completion",
    "/v1/messages",         "/v1/responses",   "/tokenize",
    "/detokenize",          "/apply-template", "/v1/messages/count_tokens"};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static sluice::test::TestService service(sluice::test::scripted_model("The quickly~"), 0);
  if (size == 0) return -1;
  const char* route = kRoutes[data[0] % std::size(kRoutes)];
  const auto response =
      service.ask(route, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  // An error of ours is a finding, and so is an answer that is no JSON.
  if (response.status >= 500) std::abort();
  if (!nlohmann::json::accept(response.body)) std::abort();
  return 0;
}

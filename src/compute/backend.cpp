// SPDX-License-Identifier: Apache-2.0
#include "compute/backend.h"

namespace sluice::compute {

Result<Backend> Backend::open(const sluice_backend_api* api, const Options& options) {
  if (api->abi_version != SLUICE_BACKEND_ABI_VERSION)
    return fail(
        ErrorKind::kDevice,
        "backend {}: interface version {}, this program needs {}: install both from one build",
        api->name, api->abi_version, SLUICE_BACKEND_ABI_VERSION);
  sluice_backend_config config{};
  config.threads = options.threads;
  config.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  config.device = options.device;
  sluice_backend* instance = api->open(&config);
  if (!instance)
    return fail(api->host_memory ? ErrorKind::kUsage : ErrorKind::kDevice, "{}",
                api->last_error(nullptr));
  return Backend(api, instance);
}

Status DeviceArray::reserve(size_t bytes) {
  if (bytes <= bytes_) return {};
  release();
  data_ = (*backend_)->allocate(backend_->get(), bytes);
  if (!data_)
    return fail(ErrorKind::kTooLarge,
                "{}: no memory left for {} bytes of working memory: use a smaller -c or -ub",
                backend_->name(), bytes);
  bytes_ = bytes;
  return {};
}

}  // namespace sluice::compute

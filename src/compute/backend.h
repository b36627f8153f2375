// SPDX-License-Identifier: Apache-2.0
// RAII over the C contract of backend_abi.h.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "compute/backend_abi.h"

namespace sluice::compute {

class Backend {
 public:
  struct Options {
    int threads = 1;
    std::string isa;  // CPU; empty: the best level of this machine
    int device = 0;   // accelerators: which one
  };

  // kUsage when the ISA level is unknown or not on this machine; of an accelerator kDevice.
  static Result<Backend> open(const sluice_backend_api* api, const Options& options);

  const sluice_backend_api* operator->() const { return api_; }
  sluice_backend* get() const { return instance_.get(); }
  std::string name() const { return api_->name; }
  std::string describe() const { return api_->describe(get()); }

  // Turns an operation's return code into a Status of kind kDevice.
  Status check(int32_t code) const {
    if (code == 0) return {};
    return fail(ErrorKind::kDevice, "{}: {}", api_->name, api_->last_error(get()));
  }

 private:
  struct Closer {
    const sluice_backend_api* api;
    void operator()(sluice_backend* instance) const { api->close(instance); }
  };
  Backend(const sluice_backend_api* api, sluice_backend* instance)
      : api_(api), instance_(instance, Closer{api}) {}

  const sluice_backend_api* api_;
  std::unique_ptr<sluice_backend, Closer> instance_;
};

// A backend's float array that only grows: scratch for activations.
class DeviceArray {
 public:
  explicit DeviceArray(const Backend& backend) : backend_(&backend) {}
  ~DeviceArray() { release(); }
  DeviceArray(DeviceArray&& other) noexcept
      : backend_(other.backend_),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceArray& operator=(DeviceArray&&) = delete;
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  // Content is undefined after growth. kTooLarge when memory is out.
  Status reserve(size_t bytes);
  float* floats() const { return static_cast<float*>(data_); }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void release() {
    if (data_) (*backend_)->release(backend_->get(), data_);
    data_ = nullptr;
    bytes_ = 0;
  }
  const Backend* backend_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace sluice::compute

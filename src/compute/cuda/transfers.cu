// SPDX-License-Identifier: Apache-2.0
#include "compute/cuda/transfers.h"

#include "compute/cuda/instance.h"

namespace sluice::cuda {

Points::~Points() {
  for (cudaEvent_t event : events_)
    if (event) cudaEventDestroy(event);
}

cudaError_t Points::open() {
  for (cudaEvent_t& event : events_) {
    const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t Points::record(cudaStream_t stream, uint64_t* number) {
  const std::lock_guard lock(mutex_);
  cudaEvent_t event = events_[(last_ + 1) % kPoints];
  // An event that was never recorded counts as passed.
  cudaError_t error = cudaEventSynchronize(event);
  if (error == cudaSuccess) error = cudaEventRecord(event, stream);
  if (error == cudaSuccess) *number = ++last_;
  return error;
}

cudaEvent_t Points::find(uint64_t number) const {
  const std::lock_guard lock(mutex_);
  if (number == 0 || number > last_ || number + kPoints <= last_) return nullptr;
  return events_[number % kPoints];
}

int32_t transfer(sluice_backend* backend, void* to, const void* from, size_t bytes,
                 int32_t to_device, uint64_t* ticket) {
  SLUICE_CUDA(backend, cudaMemcpyAsync(to, from, bytes,
                                       to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost,
                                       backend->transfers.stream));
  SLUICE_CUDA(backend, backend->transfers.tickets.record(backend->transfers.stream, ticket));
  return 0;
}

int32_t order_after(sluice_backend* backend, uint64_t ticket) {
  if (cudaEvent_t event = backend->transfers.tickets.find(ticket))
    SLUICE_CUDA(backend, cudaStreamWaitEvent(backend->stream, event, 0));
  return 0;
}

int32_t transferred(sluice_backend* backend, uint64_t ticket, int32_t wait) {
  cudaEvent_t event = backend->transfers.tickets.find(ticket);
  if (!event) return 1;
  const cudaError_t error = wait ? cudaEventSynchronize(event) : cudaEventQuery(event);
  if (error == cudaSuccess) return 1;
  if (error == cudaErrorNotReady) {
    cudaGetLastError();  // or the next launch would report it
    return 0;
  }
  backend->failed("a copy between host and device", error);
  return -1;
}

int32_t mark(sluice_backend* backend, uint64_t* number) {
  SLUICE_CUDA(backend, backend->transfers.marks.record(backend->stream, number));
  return 0;
}

int32_t transfers_after(sluice_backend* backend, uint64_t number) {
  if (cudaEvent_t event = backend->transfers.marks.find(number))
    SLUICE_CUDA(backend, cudaStreamWaitEvent(backend->transfers.stream, event, 0));
  return 0;
}

int32_t pin(sluice_backend*, void* host, size_t bytes) {
  if (cudaHostRegister(host, bytes, cudaHostRegisterDefault) == cudaSuccess) return 0;
  cudaGetLastError();  // the caller goes on without
  return 1;
}

void unpin(sluice_backend*, void* host) {
  if (cudaHostUnregister(host) != cudaSuccess) cudaGetLastError();
}

int32_t memory_info(sluice_backend* backend, uint64_t* free_bytes, uint64_t* total_bytes) {
  size_t available = 0, total = 0;
  SLUICE_CUDA(backend, cudaMemGetInfo(&available, &total));
  *free_bytes = available;
  *total_bytes = total;
  return 0;
}

}  // namespace sluice::cuda

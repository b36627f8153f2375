// SPDX-License-Identifier: Apache-2.0
// The short causal convolution in front of the delta rule.
#include <algorithm>

#include "compute/cuda/instance.h"
#include "compute/cuda/launch.h"
#include "compute/cuda/reduce.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxTaps = 16;
constexpr int64_t kRows = 16;  // that one thread treats; at least kMaxTaps - 1

struct ConvSpans {
  SpanList<sluice_recurrent_span> spans;
  const float* x;
  const float* weight;
  float* out;
  int64_t taps;
  int64_t channels;
};

// One thread per channel and kRows rows of a span. Only the first rows read the span's memory, so
// their thread writes it too. kTaps: as many as there are, or 0: any number.
template <int kTaps>
__global__ __launch_bounds__(kThreads) void convolve(const __grid_constant__ ConvSpans conv) {
  allow_next();
  await_previous();
  constexpr int kMost = kTaps > 0 ? kTaps : kMaxTaps;
  const sluice_recurrent_span& span = conv.spans.span[blockIdx.z];
  const int64_t channel = int64_t{blockIdx.x} * kThreads + threadIdx.x, channels = conv.channels;
  const int64_t first = blockIdx.y * kRows, end = min(first + kRows, span.rows);
  if (channel >= channels || first >= end) return;
  const int taps = kTaps > 0 ? kTaps : static_cast<int>(conv.taps);
  float* memory = span.conv + channel;
  const float* x = conv.x + span.first_row * channels + channel;
  const auto input = [&](int64_t row) {  // row >= -(taps - 1) of the span
    if (row >= 0) return x[row * channels];
    return span.position == 0 ? 0.0f : memory[(taps - 1 + row) * channels];
  };
  float weight[kMost];
#pragma unroll
  for (int j = 0; j < kMost; ++j) weight[j] = j < taps ? conv.weight[j * channels + channel] : 0.0f;
  float* out = conv.out + span.first_row * channels + channel;
  if constexpr (kTaps > 0) {
    float window[kTaps];  // the inputs of a row, oldest first
#pragma unroll
    for (int j = 0; j + 1 < kTaps; ++j) window[j] = input(first - (kTaps - 1) + j);
#pragma unroll 8
    for (int64_t r = first; r < end; ++r) {
      window[kTaps - 1] = __ldg(x + r * channels);  // ahead of the outputs before it
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kTaps; ++j) sum += weight[j] * window[j];
      out[r * channels] = sum * sigmoid(sum);
#pragma unroll
      for (int j = 0; j + 1 < kTaps; ++j) window[j] = window[j + 1];
    }
  } else {
    for (int64_t r = first; r < end; ++r) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kMost; ++j)
        if (j < taps) sum += weight[j] * input(r - (taps - 1) + j);
      out[r * channels] = sum * sigmoid(sum);
    }
  }
  if (first > 0 || span.keep) return;
  // Oldest first: an input that is still read lies behind the one that is written.
  for (int j = 0; j + 1 < taps; ++j) memory[j * channels] = input(span.rows - (taps - 1) + j);
}

}  // namespace

int32_t short_conv(sluice_backend* backend, const sluice_recurrent_span* spans, int32_t span_count,
                   const float* x, const float* weight, int64_t taps, int64_t channels,
                   float* out) {
  if (taps < 1 || taps > kMaxTaps)
    return backend->failed("short_conv: " + std::to_string(taps) + " taps: 1 to " +
                           std::to_string(kMaxTaps) + " are supported");
  for (int32_t begin = 0; begin < span_count; begin += kSpansPerLaunch) {
    const int32_t count = std::min(span_count - begin, kSpansPerLaunch);
    ConvSpans conv{{}, x, weight, out, taps, channels};
    int64_t rows = 0;
    for (int32_t s = 0; s < count; ++s) {
      conv.spans.span[s] = spans[begin + s];
      rows = std::max(rows, spans[begin + s].rows);
    }
    if (rows == 0) continue;
    const dim3 grid(static_cast<unsigned>(ceil_div(channels, kThreads)),
                    static_cast<unsigned>(ceil_div(rows, kRows)), static_cast<unsigned>(count));
    const auto kernel = taps == 4 ? convolve<4> : convolve<0>;
    SLUICE_STEP(launch_after(backend, "short_conv", kernel, grid, kThreads, conv));
  }
  return 0;
}

}  // namespace sluice::cuda

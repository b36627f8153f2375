// SPDX-License-Identifier: Apache-2.0
// Products of any type: which kernel, and how many of them in one launch.
#include <algorithm>
#include <vector>

#include "compute/cuda/formats.cuh"
#include "compute/cuda/formats_iq.cuh"
#include "compute/cuda/products.h"
#include "quant/quant.h"

namespace sluice::cuda {
namespace {

constexpr int32_t kMaxInt = 0x7fffffff;

// Devices before 8.0 have no bf16 products on tensor cores.
constexpr int kBf16Capability = 80;

int32_t launch(sluice_backend* backend, uint32_t type, bool few, const Jobs& jobs, const Acts& x,
               int extent) {
  switch (static_cast<quant::Type>(type)) {
    case quant::Type::kF32:
      return few ? matvec_float(backend, FloatType::kF32, jobs, x, extent)
                 : gemm_float(backend, FloatType::kF32, jobs, x, extent);
    case quant::Type::kF16:
      return few ? matvec_float(backend, FloatType::kF16, jobs, x, extent)
                 : gemm_float(backend, FloatType::kF16, jobs, x, extent);
    case quant::Type::kBF16:
      return few ? matvec_float(backend, FloatType::kBF16, jobs, x, extent)
                 : gemm_float(backend, FloatType::kBF16, jobs, x, extent);
#define SLUICE_CASE(F)    \
  case quant::Type::k##F: \
    return few ? matvec<F>(backend, jobs, x, extent) : gemm<F>(backend, jobs, x, extent);
      SLUICE_BLOCK_FORMATS(SLUICE_CASE)
#undef SLUICE_CASE
  }
  return backend->failed("weights of type " + std::to_string(type) + " have no kernels");
}

// The same type, all few or all many; or types that mix, with one or two slots each.
int32_t run_group(sluice_backend* backend, const Acts& x, const Product* const* group, size_t count,
                  bool few) {
  for (size_t begin = 0; begin < count; begin += kJobs) {
    Jobs jobs{};
    jobs.count = static_cast<int32_t>(std::min<size_t>(kJobs, count - begin));
    jobs.cols = static_cast<int32_t>(group[begin]->cols);
    int most = 0, tiles = 0;
    bool mixed = false;
    for (int i = 0; i < jobs.count; ++i) {
      Job& job = jobs.job[i];
      job = group[begin + static_cast<size_t>(i)]->job;
      const auto type = static_cast<quant::Type>(group[begin + static_cast<size_t>(i)]->type);
      job.type = static_cast<int16_t>(type);
      job.row_bytes = static_cast<int32_t>(quant::row_bytes(type, jobs.cols));
      mixed |= job.type != jobs.job[0].type;
      const int slots = job.count << (job.fine ? 1 : 0);
      job.tile = tiles;
      tiles += static_cast<int>(ceil_div(slots, kTileSlots));
      most = std::max(most, slots);
    }
    if (mixed)
      SLUICE_STEP(matvec_mixed(backend, jobs, x, most));
    else
      SLUICE_STEP(launch(backend, group[begin]->type, few, jobs, x, few ? most : tiles));
  }
  return 0;
}

}  // namespace

bool is_float_type(uint32_t type) {
  return quant::traits(static_cast<quant::Type>(type)).is_float;
}

int32_t run_products(sluice_backend* backend, const Acts& x, const Product* products,
                     int64_t count) {
  std::vector<const Product*> todo;
  todo.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    if (products[i].job.count > 0 && products[i].job.weight_rows > 0) todo.push_back(products + i);
  const auto few = [&](const Product* p) {
    if (is_float_type(p->type) && backend->capability < kBf16Capability) return true;
    return is_few(p->job.count, p->job.fine != 0);
  };
  // One launch instead of one for each type is worth more than the best kernel for each.
  const auto mixable = [](const Product* p) {
    return mixes(p->type) && p->job.count << p->job.fine <= 2;
  };
  std::vector<const Product*> group;
  while (!todo.empty()) {
    const uint32_t type = todo.front()->type;
    const bool kind = few(todo.front());
    const bool mix = mixable(todo.front());
    group.clear();
    std::erase_if(todo, [&](const Product* p) {
      if (mix ? !mixable(p) : p->type != type || few(p) != kind) return false;
      group.push_back(p);
      return true;
    });
    SLUICE_STEP(run_group(backend, x, group.data(), group.size(), kind));
  }
  return 0;
}

int32_t multiply(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                 const sluice_product* products, int32_t count) {
  if (rows == 0 || count == 0) return 0;
  if (rows > kMaxInt / 2) return backend->failed("multiply: too many rows: use a smaller -ub");
  bool quantised = false, fine = false;
  std::vector<Product> list(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    const sluice_product& p = products[i];
    const bool is_float = is_float_type(p.weight.type);
    quantised |= !is_float;
    fine |= !is_float && p.fine;
    list[static_cast<size_t>(i)] = {
        p.weight.type, p.weight.cols,
        Job{static_cast<const uint8_t*>(p.weight.data), p.out, nullptr, 0,
            static_cast<int32_t>(rows), static_cast<int32_t>(p.weight.rows), 0, 0,
            static_cast<int8_t>(p.accumulate != 0), static_cast<int8_t>(!is_float && p.fine), 0}};
  }
  Acts acts;
  acts.floats = x;
  acts.dim = dim;
  if (quantised)
    SLUICE_STEP(quantize_input(backend, x, rows, dim, fine, is_few(rows, false), &acts));
  else if (backend->remembered.acts.floats != x)
    backend->remembered = {};
  return run_products(backend, acts, list.data(), count);
}

int32_t multiply_float(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                       const sluice_matrix& weight, float* out) {
  if (rows == 0) return 0;
  const auto* data = static_cast<const uint8_t*>(weight.data);
  FloatType type = FloatType::kF32;
  Jobs jobs{};
  int64_t row_bytes = dim * 4;
  switch (static_cast<quant::Type>(weight.type)) {
    case quant::Type::kF32:
      break;
    case quant::Type::kF16:
      type = FloatType::kF16;
      row_bytes = dim * 2;
      break;
    case quant::Type::kBF16:
      type = FloatType::kBF16;
      row_bytes = dim * 2;
      break;
    default: {
      std::vector<int32_t> ids(static_cast<size_t>(weight.rows));
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
      auto* decoded = backend->gates.reserve_array<float>(backend, weight.rows * dim);
      if (!decoded) return 1;
      SLUICE_STEP(embed(backend, &weight, ids.data(), weight.rows, decoded));
      data = reinterpret_cast<const uint8_t*>(decoded);
    }
  }
  jobs.count = 1;
  jobs.cols = static_cast<int32_t>(dim);
  Job& job = jobs.job[0];
  job.weight = data;
  job.out = out;
  job.count = static_cast<int32_t>(rows);
  job.weight_rows = static_cast<int32_t>(weight.rows);
  job.row_bytes = static_cast<int32_t>(row_bytes);
  Acts acts;
  acts.floats = x;
  acts.dim = dim;
  return matvec_float(backend, type, jobs, acts, static_cast<int>(rows));
}

}  // namespace sluice::cuda

// SPDX-License-Identifier: Apache-2.0
// Experts: all of a call go through each stage in one launch per type of weight. Their outputs are
// kept apart and added per row in the order of the call, so that sums do not depend on timing.
#include <algorithm>
#include <vector>

#include "compute/cuda/formats.cuh"
#include "compute/cuda/formats_iq.cuh"
#include "compute/cuda/launch.h"
#include "compute/cuda/token.h"
#include "quant/quant.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;
// Expert rows that are under way at once: bounds the scratch of a large batch.
constexpr int64_t kAssignments = 4096;

// What is added to a row: weight * y.
struct Term {
  const float* y;
  float weight;
};

// The terms of row rows[b] are terms[starts[b]] up to terms[starts[b + 1] - 1].
struct Terms {
  const int32_t* rows;
  const int32_t* starts;
  const Term* terms;
};

// As many as a decode has travel as a kernel's arguments.
struct FewTerms {
  static constexpr int kTerms = 128, kRows = 16;
  int32_t rows[kRows];
  int32_t starts[kRows + 1];
  Term terms[kTerms];
};

template <class List>
__device__ __forceinline__ void add_list(const List& list, int64_t dim, float* out) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= dim) return;
  float* to = out + list.rows[blockIdx.y] * dim + i;
  float sum = *to;
  const int32_t end = list.starts[blockIdx.y + 1];
  for (int32_t t = list.starts[blockIdx.y]; t < end; ++t)
    sum = fmaf(list.terms[t].weight, list.terms[t].y[i], sum);
  *to = sum;
}

__global__ void add_terms(const Terms list, int64_t dim, float* out) {
  add_list(list, dim, out);
}

__global__ void add_few_terms(const __grid_constant__ FewTerms list, int64_t dim, float* out) {
  allow_next();
  await_previous();
  add_list(list, dim, out);
}

// A part of an expert's rows.
struct Part {
  const sluice_expert* expert;
  int32_t begin;
  int32_t count;
  const float* y;  // [count, dim]: set once known

  const int32_t* rows() const { return expert->rows + begin; }
  bool kept() const { return expert->apart != nullptr; }
};

int32_t add_parts(sluice_backend* backend, const std::vector<Part>& parts, int64_t dim,
                  float* out) {
  int32_t last_row = -1;
  int64_t total = 0;
  for (const Part& p : parts) {
    for (int32_t i = 0; i < p.count; ++i) last_row = std::max(last_row, p.rows()[i]);
    total += p.count;
  }
  if (total == 0) return 0;
  // Counting sort by row keeps the order of the experts.
  std::vector<int32_t> next(static_cast<size_t>(last_row) + 1, 0);
  for (const Part& p : parts)
    for (int32_t i = 0; i < p.count; ++i) ++next[static_cast<size_t>(p.rows()[i])];
  std::vector<int32_t> rows, starts;
  int32_t start = 0;
  for (size_t r = 0; r < next.size(); ++r) {
    if (next[r] == 0) continue;
    rows.push_back(static_cast<int32_t>(r));
    starts.push_back(start);
    const int32_t count = next[r];
    next[r] = start;
    start += count;
  }
  starts.push_back(start);
  const auto fill = [&](Term* terms) {
    for (const Part& p : parts)
      for (int32_t i = 0; i < p.count; ++i)
        terms[next[static_cast<size_t>(p.rows()[i])]++] = {p.y + i * dim,
                                                           p.expert->weights[p.begin + i]};
  };
  const auto blocks = static_cast<unsigned>(ceil_div(dim, kThreads));
  if (total <= FewTerms::kTerms && rows.size() <= FewTerms::kRows) {
    FewTerms few{};
    fill(few.terms);
    std::copy(rows.begin(), rows.end(), few.rows);
    std::copy(starts.begin(), starts.end(), few.starts);
    const dim3 grid(blocks, static_cast<unsigned>(rows.size()));
    return launch_after(backend, "add_few_terms", add_few_terms, grid, kThreads, few, dim, out);
  }
  // One letter: terms, then rows and starts.
  const size_t term_bytes = static_cast<size_t>(total) * sizeof(Term);
  const size_t row_bytes = rows.size() * sizeof(int32_t);
  std::vector<uint8_t> letter(term_bytes + row_bytes + starts.size() * sizeof(int32_t));
  fill(reinterpret_cast<Term*>(letter.data()));
  std::copy(rows.begin(), rows.end(), reinterpret_cast<int32_t*>(letter.data() + term_bytes));
  std::copy(starts.begin(), starts.end(),
            reinterpret_cast<int32_t*>(letter.data() + term_bytes + row_bytes));
  const auto* sent =
      static_cast<const uint8_t*>(backend->mailbox.post(backend, letter.data(), letter.size()));
  if (!sent) return 1;
  constexpr size_t kRowsPerLaunch = 65535;  // limit of a grid's second dimension
  for (size_t begin = 0; begin < rows.size(); begin += kRowsPerLaunch) {
    const Terms list{reinterpret_cast<const int32_t*>(sent + term_bytes) + begin,
                     reinterpret_cast<const int32_t*>(sent + term_bytes + row_bytes) + begin,
                     reinterpret_cast<const Term*>(sent)};
    const dim3 grid(blocks, static_cast<unsigned>(std::min(kRowsPerLaunch, rows.size() - begin)));
    add_terms<<<grid, kThreads, 0, backend->stream>>>(list, dim, out);
    SLUICE_STEP(backend->launched("add_terms"));
  }
  return 0;
}

bool consecutive(const int32_t* rows, int32_t count) {
  for (int32_t i = 1; i < count; ++i)
    if (rows[i] != rows[0] + i) return false;
  return true;
}

Product product(const sluice_matrix& weight, const int32_t* rows, int32_t first, int32_t count,
                float* out) {
  return {weight.type, weight.cols,
          Job{static_cast<const uint8_t*>(weight.data), out, rows, first, count,
              static_cast<int32_t>(weight.rows), 0, 0, 0, 0, 0}};
}

int32_t run_parts(sluice_backend* backend, const Acts& x, int64_t dim, int64_t hidden,
                  std::vector<Part>& parts, float* out) {
  int64_t assignments = 0;
  bool quantised = false, floats = false, few = false;
  std::vector<int32_t> scattered;  // row lists that are no runs
  for (const Part& p : parts) {
    assignments += p.count;
    const bool is_float = is_float_type(p.expert->down.type);
    quantised |= !is_float;
    floats |= is_float;
    few |= is_few(p.count, false);
    if (!consecutive(p.rows(), p.count))
      scattered.insert(scattered.end(), p.rows(), p.rows() + p.count);
  }
  if (assignments == 0) return 0;
  const int32_t* lists = nullptr;
  if (!scattered.empty()) {
    lists = backend->mailbox.post_array(backend, scattered.data(),
                                        static_cast<int64_t>(scattered.size()));
    if (!lists) return 1;
  }
  auto* gate = backend->gates.reserve_array<float>(backend, 2 * assignments * hidden);
  auto* y = backend->sums.reserve_array<float>(backend, assignments * dim);
  if (!gate || !y) return 1;
  float* up = gate + assignments * hidden;

  std::vector<Product> products;
  int64_t start = 0;
  for (const Part& p : parts) {
    const bool run = consecutive(p.rows(), p.count);
    const int32_t* rows = run ? nullptr : lists;
    if (!run) lists += p.count;
    products.push_back(product(p.expert->gate, rows, p.rows()[0], p.count, gate + start * hidden));
    products.push_back(product(p.expert->up, rows, p.rows()[0], p.count, up + start * hidden));
    start += p.count;
  }
  SLUICE_STEP(run_products(backend, x, products.data(), static_cast<int64_t>(products.size())));

  Acts middle;
  middle.floats = gate;
  middle.dim = hidden;
  if (quantised)
    SLUICE_STEP(
        quantize(backend, gate, up, assignments, hidden, false, few, backend->middle, &middle));
  if (floats) SLUICE_STEP(swiglu(backend, gate, up, assignments * hidden, gate));

  products.clear();
  start = 0;
  for (Part& p : parts) {
    float* to = p.kept() ? p.expert->apart + p.begin * dim : y + start * dim;
    p.y = to;
    products.push_back(product(p.expert->down, nullptr, static_cast<int32_t>(start), p.count, to));
    start += p.count;
  }
  SLUICE_STEP(
      run_products(backend, middle, products.data(), static_cast<int64_t>(products.size())));
  std::erase_if(parts, [](const Part& p) { return p.kept(); });
  return add_parts(backend, parts, dim, out);
}

// Whether the two kernels of token.h do: one row, block formats of one type each, sums wanted.
bool is_token(const sluice_expert* list, int32_t count, int64_t hidden) {
  if (count > kTokenExperts || hidden % 32 != 0 ||
      count * (hidden / 32) > sluice_backend::kArrivals || is_float_type(list[0].gate.type) ||
      is_float_type(list[0].down.type))
    return false;
  for (const sluice_expert* e = list; e != list + count; ++e)
    if (e->count != 1 || e->apart || e->rows[0] != list[0].rows[0] ||
        e->gate.type != list[0].gate.type || e->up.type != list[0].gate.type ||
        e->down.type != list[0].down.type)
      return false;
  return true;
}

int32_t run_token(sluice_backend* backend, const Acts& x, int64_t dim, int64_t hidden,
                  const sluice_expert* list, int32_t count, float* out) {
  Acts middle;
  UnitOrders orders{};
  auto* values = backend->gates.reserve_array<float>(backend, count * hidden);
  if (!values || !place_acts(backend, count, hidden, backend->middle, &middle, &orders)) return 1;
  TokenGates gates{};
  TokenDowns downs{};
  for (int32_t e = 0; e < count; ++e) {
    gates.gate[e] = static_cast<const uint8_t*>(list[e].gate.data);
    gates.up[e] = static_cast<const uint8_t*>(list[e].up.data);
    downs.down[e] = static_cast<const uint8_t*>(list[e].down.data);
    downs.weight[e] = list[e].weights[0];
  }
  const auto type = static_cast<quant::Type>(list[0].gate.type);
  const auto down_type = static_cast<quant::Type>(list[0].down.type);
  gates.count = downs.count = count;
  gates.row = list[0].rows[0];
  gates.hidden = downs.cols = static_cast<int32_t>(hidden);
  gates.cols = downs.rows = static_cast<int32_t>(dim);
  gates.row_bytes = static_cast<int64_t>(quant::row_bytes(type, dim));
  downs.row_bytes = static_cast<int64_t>(quant::row_bytes(down_type, hidden));
  float* to = out + gates.row * dim;
  switch (type) {
#define SLUICE_CASE(F)                                                      \
  case quant::Type::k##F:                                                   \
    SLUICE_STEP(token_gates<F>(backend, gates, x, values, middle, orders)); \
    break;
    SLUICE_BLOCK_FORMATS(SLUICE_CASE)
#undef SLUICE_CASE
    default:
      return backend->failed("experts: weights of a type without kernels");
  }
  switch (down_type) {
#define SLUICE_CASE(F)    \
  case quant::Type::k##F: \
    return token_downs<F>(backend, downs, middle, to);
    SLUICE_BLOCK_FORMATS(SLUICE_CASE)
#undef SLUICE_CASE
    default:
      return backend->failed("experts: weights of a type without kernels");
  }
}

}  // namespace

int32_t experts(sluice_backend* backend, const float* x, int64_t rows, int64_t dim,
                const sluice_expert* list, int32_t count, float* out) {
  if (count == 0 || rows == 0) return 0;
  const int64_t hidden = list[0].gate.rows;
  bool quantised = false, few = false;
  for (int32_t e = 0; e < count; ++e) {
    // Of a list in parts the last may be short.
    few |= is_few(list[e].count % kAssignments, false);
    if (list[e].gate.rows != hidden || list[e].up.rows != hidden || list[e].down.cols != hidden)
      return backend->failed("experts: of several hidden widths in one call: pass them apart");
    quantised |= !is_float_type(list[e].gate.type) || !is_float_type(list[e].up.type);
  }
  Acts acts;
  acts.floats = x;
  acts.dim = dim;
  if (quantised)
    SLUICE_STEP(quantize_input(backend, x, rows, dim, false, few, &acts));
  else if (backend->remembered.acts.floats != x)
    backend->remembered = {};
  if (is_token(list, count, hidden)) return run_token(backend, acts, dim, hidden, list, count, out);

  std::vector<Part> parts;
  int64_t under_way = 0;
  const auto run = [&] {
    const int32_t code = run_parts(backend, acts, dim, hidden, parts, out);
    parts.clear();
    under_way = 0;
    return code;
  };
  for (int32_t e = 0; e < count; ++e) {
    for (int32_t begin = 0; begin < list[e].count;) {
      const int64_t here = std::min<int64_t>(list[e].count - begin, kAssignments);
      if (under_way > 0 && under_way + here > kAssignments) SLUICE_STEP(run());
      parts.push_back({list + e, begin, static_cast<int32_t>(here), nullptr});
      under_way += here;
      begin += static_cast<int32_t>(here);
    }
  }
  return run();
}

int32_t add_experts(sluice_backend* backend, const sluice_expert* list, int32_t count, int64_t dim,
                    float* out) {
  std::vector<Part> parts;
  for (int32_t e = 0; e < count; ++e)
    if (list[e].count > 0) parts.push_back({list + e, 0, list[e].count, list[e].apart});
  return add_parts(backend, parts, dim, out);
}

}  // namespace sluice::cuda

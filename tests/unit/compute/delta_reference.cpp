// SPDX-License-Identifier: Apache-2.0
#include "delta_reference.h"

#include <algorithm>
#include <cmath>

namespace sluice::compute {
namespace {

// One token of one value head.
struct Token {
  std::vector<double> q, k, v;
  double beta = 0;
  double g = 0;  // logarithm of the decay
};

std::vector<double> unit(const float* x, int64_t n, double eps, double scale) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  std::vector<double> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(x[i] / std::sqrt(squares + eps) * scale);
  return out;
}

Token token(const DeltaInput& in, int64_t row, int64_t n) {
  const sluice_delta_heads& h = in.heads;
  const int64_t group = h.value_heads / h.key_heads, key_head = n / group;
  const float* qkv = in.qkv.data() + row * in.channels();
  const float* ba = in.ba.data() + row * 2 * h.value_heads + key_head * 2 * group;
  const int64_t keys = int64_t{h.key_heads} * h.key_dim;
  Token t;
  t.q = unit(qkv + key_head * h.key_dim, h.key_dim, double{in.eps}, 1 / std::sqrt(h.key_dim));
  t.k = unit(qkv + keys + key_head * h.key_dim, h.key_dim, double{in.eps}, 1);
  const float* v = qkv + 2 * keys + n * h.value_dim;
  t.v.assign(v, v + h.value_dim);
  t.beta = 1 / (1 + std::exp(-double{ba[n % group]}));
  const auto at = static_cast<size_t>(n);
  const double x = double{ba[group + n % group]} + in.bias[at];
  t.g = in.a[at] * (x > 40 ? x : std::log1p(std::exp(x)));
  return t;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// state^T x
std::vector<double> read(const double* state, const std::vector<double>& x, size_t columns) {
  std::vector<double> out(columns);
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = 0; j < columns; ++j) out[j] += state[i * columns + j] * x[i];
  return out;
}

}  // namespace

std::vector<double> DeltaReference::run_by_steps(const DeltaInput& in) {
  const auto dk = static_cast<size_t>(in.heads.key_dim);
  const auto dv = static_cast<size_t>(in.heads.value_dim);
  std::vector<double> out(static_cast<size_t>(in.rows * in.values()));
  for (int64_t n = 0; n < in.heads.value_heads; ++n) {
    double* state = state_.data() + static_cast<size_t>(n) * dk * dv;
    for (int64_t r = 0; r < in.rows; ++r) {
      const Token t = token(in, r, n);
      const double decay = std::exp(t.g);
      for (size_t i = 0; i < dk * dv; ++i) state[i] *= decay;
      const auto predicted = read(state, t.k, dv);
      for (size_t i = 0; i < dk; ++i)
        for (size_t j = 0; j < dv; ++j)
          state[i * dv + j] += t.k[i] * (t.beta * (t.v[j] - predicted[j]));
      const auto found = read(state, t.q, dv);
      std::copy(found.begin(), found.end(), out.begin() + r * in.values() + n * in.heads.value_dim);
    }
  }
  return out;
}

std::vector<double> DeltaReference::run_by_chunks(const DeltaInput& in, int64_t chunk) {
  const auto dk = static_cast<size_t>(in.heads.key_dim);
  const auto dv = static_cast<size_t>(in.heads.value_dim);
  std::vector<double> out(static_cast<size_t>(in.rows * in.values()));
  for (int64_t n = 0; n < in.heads.value_heads; ++n) {
    double* state = state_.data() + static_cast<size_t>(n) * dk * dv;
    for (int64_t begin = 0; begin < in.rows; begin += chunk) {
      const auto count = static_cast<size_t>(std::min(chunk, in.rows - begin));
      std::vector<Token> tokens;
      std::vector<double> total;  // sums of g from the chunk's begin
      for (size_t i = 0; i < count; ++i) {
        tokens.push_back(token(in, begin + static_cast<int64_t>(i), n));
        total.push_back((i > 0 ? total.back() : 0) + tokens.back().g);
      }
      // All corrections from one triangular system; the state is read as the chunk found it.
      std::vector<std::vector<double>> corrections;
      for (size_t i = 0; i < count; ++i) {
        const Token& t = tokens[i];
        auto u = read(state, t.k, dv);
        for (size_t j = 0; j < dv; ++j) u[j] = t.beta * (t.v[j] - std::exp(total[i]) * u[j]);
        for (size_t m = 0; m < i; ++m) {
          const double factor = t.beta * dot(t.k, tokens[m].k) * std::exp(total[i] - total[m]);
          for (size_t j = 0; j < dv; ++j) u[j] -= factor * corrections[m][j];
        }
        corrections.push_back(u);
      }
      for (size_t i = 0; i < count; ++i) {
        auto found = read(state, tokens[i].q, dv);
        for (double& value : found) value *= std::exp(total[i]);
        for (size_t m = 0; m <= i; ++m) {
          const double factor = dot(tokens[i].q, tokens[m].k) * std::exp(total[i] - total[m]);
          for (size_t j = 0; j < dv; ++j) found[j] += factor * corrections[m][j];
        }
        std::copy(
            found.begin(), found.end(),
            out.begin() + (begin + static_cast<int64_t>(i)) * in.values() + n * in.heads.value_dim);
      }
      const double decay = std::exp(total.back());
      for (size_t i = 0; i < dk * dv; ++i) state[i] *= decay;
      for (size_t m = 0; m < count; ++m) {
        const double left = std::exp(total.back() - total[m]);
        for (size_t i = 0; i < dk; ++i)
          for (size_t j = 0; j < dv; ++j)
            state[i * dv + j] += left * tokens[m].k[i] * corrections[m][j];
      }
    }
  }
  return out;
}

}  // namespace sluice::compute

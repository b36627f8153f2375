// SPDX-License-Identifier: Apache-2.0
#include "quant/scale_search.h"

#include <cmath>
#include <cstring>

#include "quant/half.h"

namespace sluice::quant {
namespace {

// Float sums have a fixed order, so compilers do not vectorise them on their own. Four lanes are
// what every 64-bit CPU has.
using Lanes = float __attribute__((vector_size(16)));
using LaneBits = int32_t __attribute__((vector_size(16)));

Lanes all(float v) {
  return Lanes{v, v, v, v};
}
float total(Lanes v) {
  return (v[0] + v[2]) + (v[1] + v[3]);
}
Lanes clamp(Lanes v, float lowest, float highest) {  // NaN gives lowest
  v = v > all(lowest) ? v : all(lowest);
  return v < all(highest) ? v : all(highest);
}
Lanes nearest(Lanes v) {  // |v| < 2^22
  constexpr float kMagic = 12582912.0f;
  return (v + all(kMagic)) - all(kMagic);
}
float inverse_or_zero(float v) {
  return std::fabs(v) > 1e-37f ? 1.0f / v : 0.0f;
}
float as_half(float v) {
  return half_to_float(float_to_half(v));
}
int clamp_int(float v, int lowest, int highest) {
  const float bounded = v > static_cast<float>(lowest)
                            ? (v < static_cast<float>(highest) ? v : static_cast<float>(highest))
                            : static_cast<float>(lowest);
  return round_to_int(bounded);
}

template <int kGroup>
struct Group {
  static constexpr int kLanes = kGroup / 4;
  Lanes x[kLanes];

  explicit Group(const float* values) { std::memcpy(x, values, sizeof(x)); }
};

// --- Level sets: the nearest level of a scaled value
// -------------------------------------------------

template <int kLowest>
struct SignedLevels {
  static constexpr float kExtreme = kLowest;  // the level of largest magnitude
  static Lanes round(Lanes v) { return nearest(clamp(v, kLowest, -kLowest - 1)); }
};

struct Iq4Levels {
  static constexpr float kExtreme = kIq4Levels[0];
  static Lanes round(Lanes v) {
    LaneBits level = {kIq4Levels[0], kIq4Levels[0], kIq4Levels[0], kIq4Levels[0]};
    for (int k = 0; k < 15; ++k) {
      const float middle = 0.5f * static_cast<float>(kIq4Levels[k] + kIq4Levels[k + 1]);
      const int32_t step = kIq4Levels[k + 1] - kIq4Levels[k];
      level += (v > all(middle)) & LaneBits{step, step, step, step};
    }
    return __builtin_convertvector(level, Lanes);
  }
};

template <class Levels, int kGroup>
void store_levels(const Group<kGroup>& group, float inverse, int8_t* q) {
  for (int k = 0; k < group.kLanes; ++k) {
    const Lanes level = Levels::round(group.x[k] * all(inverse));
    for (int i = 0; i < 4; ++i) q[4 * k + i] = static_cast<int8_t>(level[i]);
  }
}

// --- x ~ scale * q
// ----------------------------------------------------------------------------------

// Σ x q and Σ q q. For fixed q the best scale is xq / qq, and it explains xq² / qq of Σ x².
struct Moments {
  float xq = 0, qq = 0;
};

template <class Levels, int kGroup>
Moments moments(const Group<kGroup>& group, float inverse) {
  Lanes xq = all(0), qq = all(0);
  for (int k = 0; k < group.kLanes; ++k) {
    const Lanes level = Levels::round(group.x[k] * all(inverse));
    xq += group.x[k] * level;
    qq += level * level;
  }
  return {total(xq), total(qq)};
}

// Tries to put the element of largest magnitude at kExtreme * (1 + step * k), k = -below .. above,
// and returns the best scale found.
template <class Levels, int kGroup>
float fit_scale(const Group<kGroup>& group, const float* x, float step, int below, int above) {
  float extreme = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
  }
  const float inverse = inverse_or_zero(extreme);
  if (inverse == 0.0f) return 0.0f;
  float best = 0.0f, scale = 0.0f;
  for (int k = -below; k <= above; ++k) {
    const float candidate = Levels::kExtreme * (1.0f + step * static_cast<float>(k)) * inverse;
    const Moments m = moments<Levels>(group, candidate);
    if (m.xq * m.xq > best * m.qq) {
      best = m.xq * m.xq / m.qq;
      scale = m.xq / m.qq;
    }
  }
  return scale;
}

template <class Levels, int kGroup>
float squared_error(const Group<kGroup>& group, float scale) {
  const float inverse = inverse_or_zero(scale);
  Lanes error = all(0);
  for (int k = 0; k < group.kLanes; ++k) {
    const Lanes difference = group.x[k] - all(scale) * Levels::round(group.x[k] * all(inverse));
    error += difference * difference;
  }
  return total(error);
}

struct SymmetricSearch {
  int scale_lowest;  // scales lie in [scale_lowest, -scale_lowest - 1]
  float step;        // candidates of fit_scale
  int below, above;
  int rounds;      // of choosing the integers and solving for d
  int neighbours;  // integers tried on either side of the nearest
};

template <class Levels, int kGroup>
void encode_symmetric(const float* x, const SymmetricSearch& search, Unpacked256& u) {
  constexpr int kGroups = 256 / kGroup;
  float scale[kGroups];
  float extreme = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    const Group<kGroup> group(x + kGroup * g);
    scale[g] = fit_scale<Levels>(group, x + kGroup * g, search.step, search.below, search.above);
    extreme = std::fabs(scale[g]) > std::fabs(extreme) ? scale[g] : extreme;
  }
  int chosen[kGroups] = {};
  u.d = as_half(extreme / static_cast<float>(search.scale_lowest));
  for (int round = 0;; ++round) {
    const float inverse = inverse_or_zero(u.d);
    float xq = 0, qq = 0;
    for (int g = 0; g < kGroups; ++g) {
      const Group<kGroup> group(x + kGroup * g);
      const int lowest = search.scale_lowest, highest = -search.scale_lowest - 1;
      const int near = clamp_int(scale[g] * inverse, lowest, highest);
      chosen[g] = near;
      if (search.neighbours > 0) {
        float least = squared_error<Levels>(group, u.d * static_cast<float>(near));
        for (int s = near - search.neighbours; s <= near + search.neighbours; ++s) {
          if (s == near || s < lowest || s > highest) continue;
          const float error = squared_error<Levels>(group, u.d * static_cast<float>(s));
          if (error < least) {
            least = error;
            chosen[g] = s;
          }
        }
      }
      const float s = static_cast<float>(chosen[g]);
      const Moments m = moments<Levels>(group, inverse_or_zero(u.d * s));
      xq += m.xq * s;
      qq += m.qq * s * s;
    }
    if (round + 1 >= search.rounds || !(qq > 0.0f)) break;
    const float next = as_half(xq / qq);
    if (next == u.d) break;
    u.d = next;
  }
  for (int g = 0; g < kGroups; ++g) {
    const Group<kGroup> group(x + kGroup * g);
    store_levels<Levels>(group, inverse_or_zero(u.d * static_cast<float>(chosen[g])),
                         u.q + kGroup * g);
    for (int i = 0; i < kGroup / 16; ++i) u.scale[g * (kGroup / 16) + i] = chosen[g];
  }
}

// --- x ~ scale * q - min
// ----------------------------------------------------------------------------

struct Affine {
  float scale = 0, min = 0;  // min >= 0
};

template <int kTop>
Lanes affine_levels(Lanes x, float inverse, float min) {
  return nearest(clamp((x + all(min)) * all(inverse), 0.0f, kTop));
}

// Solves for scale and min with the levels that (inverse, min) gives. `explained` of Σ x² is what
// the solution takes away; the best has most.
template <int kTop, int kGroup>
Affine solve(const Group<kGroup>& group, float sum_x, float inverse, float min, float* explained) {
  Lanes q1 = all(0), q2 = all(0), xq1 = all(0);
  for (int k = 0; k < group.kLanes; ++k) {
    const Lanes level = affine_levels<kTop>(group.x[k], inverse, min);
    q1 += level;
    q2 += level * level;
    xq1 += level * group.x[k];
  }
  const float q = total(q1), qq = total(q2), xq = total(xq1);
  const float determinant = kGroup * qq - q * q;
  Affine result;
  if (determinant > 0.0f) {
    result.scale = (kGroup * xq - sum_x * q) / determinant;
    result.min = (result.scale * q - sum_x) * (1.0f / kGroup);
    *explained = result.scale * xq - result.min * sum_x;
  }
  if (!(determinant > 0.0f) || result.min < 0.0f) {  // the format has no positive offset
    result.scale = qq > 0.0f ? xq / qq : 0.0f;
    result.min = 0.0f;
    *explained = result.scale * xq;
  }
  return result;
}

struct AffineSearch {
  int scale_top;  // integer scales and mins lie in [0, scale_top]
  float step;     // either end of the range is moved inwards by step * k of the range
  int outward, inward;
  int refinements;  // of levels and solution in turn
  int rounds;       // of choosing the integers and solving for d, dmin
};

template <int kTop, int kGroup>
Affine fit_affine(const Group<kGroup>& group, const float* x, const AffineSearch& search) {
  float low = x[0], high = x[0], sum = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    sum += x[i];
  }
  low = low < 0.0f ? low : 0.0f;
  const float range = high - low;
  Affine best;
  if (!(range > 1e-30f)) {
    best.min = low < 0.0f ? -low : 0.0f;
    return best;
  }
  float most = 0.0f;
  for (int a = -search.outward; a <= search.inward; ++a) {
    for (int b = -search.outward; b <= search.inward; ++b) {
      const float from = low + search.step * static_cast<float>(a) * range;
      const float to = high - search.step * static_cast<float>(b) * range;
      float explained = 0.0f;
      const Affine fit =
          solve<kTop>(group, sum, kTop / (to - from), from < 0.0f ? -from : 0.0f, &explained);
      if (explained > most && fit.scale > 0.0f) {
        most = explained;
        best = fit;
      }
    }
  }
  for (int i = 0; i < search.refinements; ++i) {
    float explained = 0.0f;
    const Affine fit = solve<kTop>(group, sum, inverse_or_zero(best.scale), best.min, &explained);
    if (!(explained > most) || !(fit.scale > 0.0f)) break;
    most = explained;
    best = fit;
  }
  return best;
}

template <int kTop, int kGroup>
float squared_error(const Group<kGroup>& group, float scale, float min) {
  const float inverse = inverse_or_zero(scale);
  Lanes error = all(0);
  for (int k = 0; k < group.kLanes; ++k) {
    const Lanes level = affine_levels<kTop>(group.x[k], inverse, min);
    const Lanes difference = group.x[k] - (all(scale) * level - all(min));
    error += difference * difference;
  }
  return total(error);
}

// The integers (scale, min) near the real ones that leave the least error.
template <int kTop, int kGroup>
void choose_integers(const Group<kGroup>& group, const Affine& fit, float d, float dmin, int top,
                     int* scale, int* min) {
  const int near_scale = clamp_int(fit.scale * inverse_or_zero(d), 0, top);
  const int near_min = clamp_int(fit.min * inverse_or_zero(dmin), 0, top);
  float least = INFINITY;
  *scale = near_scale;
  *min = near_min;
  for (int s = near_scale - 1; s <= near_scale + 1; ++s) {
    for (int z = near_min - 1; z <= near_min + 1; ++z) {
      if (s < 0 || s > top || z < 0 || z > top) continue;
      const float error =
          squared_error<kTop>(group, d * static_cast<float>(s), dmin * static_cast<float>(z));
      if (error < least) {
        least = error;
        *scale = s;
        *min = z;
      }
    }
  }
}

// Sums for the least-squares d and dmin of a super-block: x ~ d * a - dmin * z, a = s * q.
struct SuperMoments {
  double aa = 0, az = 0, zz = 0, xa = 0, xz = 0;

  template <int kTop, int kGroup>
  void add(const Group<kGroup>& group, float d, float dmin, int scale, int min) {
    const float s = static_cast<float>(scale), z = static_cast<float>(min);
    Lanes q1 = all(0), q2 = all(0), xq = all(0), x1 = all(0);
    for (int k = 0; k < group.kLanes; ++k) {
      const Lanes level = affine_levels<kTop>(group.x[k], inverse_or_zero(d * s), dmin * z);
      q1 += level;
      q2 += level * level;
      xq += level * group.x[k];
      x1 += group.x[k];
    }
    aa += double{s} * s * total(q2);
    az += double{s} * z * total(q1);
    zz += double{z} * z * kGroup;
    xa += double{s} * total(xq);
    xz += double{z} * total(x1);
  }

  // False: not solvable, keep what there is.
  bool solve(float* d, float* dmin) const {
    const double determinant = aa * zz - az * az;
    if (determinant > 1e-9 * aa * zz) {
      *d = static_cast<float>((xa * zz - xz * az) / determinant);
      *dmin = static_cast<float>((xa * az - xz * aa) / determinant);
      return *d > 0.0f && *dmin >= 0.0f;
    }
    if (!(aa > 0.0) || zz > 0.0) return false;
    *d = static_cast<float>(xa / aa);
    return *d > 0.0f;
  }
};

template <int kTop, int kGroup>
void encode_affine(const float* x, const AffineSearch& search, Unpacked256& u) {
  constexpr int kGroups = 256 / kGroup;
  Affine fit[kGroups];
  float max_scale = 0.0f, max_min = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    const Group<kGroup> group(x + kGroup * g);
    fit[g] = fit_affine<kTop>(group, x + kGroup * g, search);
    max_scale = fit[g].scale > max_scale ? fit[g].scale : max_scale;
    max_min = fit[g].min > max_min ? fit[g].min : max_min;
  }
  u.d = as_half(max_scale / static_cast<float>(search.scale_top));
  u.dmin = as_half(max_min / static_cast<float>(search.scale_top));
  int scale[kGroups], min[kGroups];
  for (int round = 0;; ++round) {
    SuperMoments sums;
    for (int g = 0; g < kGroups; ++g) {
      const Group<kGroup> group(x + kGroup * g);
      choose_integers<kTop>(group, fit[g], u.d, u.dmin, search.scale_top, &scale[g], &min[g]);
      sums.add<kTop>(group, u.d, u.dmin, scale[g], min[g]);
    }
    float d = u.d, dmin = u.dmin;
    if (round + 1 >= search.rounds || !sums.solve(&d, &dmin)) break;
    d = as_half(d);
    dmin = as_half(dmin);
    if (d == u.d && dmin == u.dmin) break;
    u.d = d;
    u.dmin = dmin;
  }
  for (int g = 0; g < kGroups; ++g) {
    const Group<kGroup> group(x + kGroup * g);
    const float inverse = inverse_or_zero(u.d * static_cast<float>(scale[g]));
    const float offset = u.dmin * static_cast<float>(min[g]);
    for (int k = 0; k < group.kLanes; ++k) {
      const Lanes level = affine_levels<kTop>(group.x[k], inverse, offset);
      for (int i = 0; i < 4; ++i) u.q[kGroup * g + 4 * k + i] = static_cast<int8_t>(level[i]);
    }
    for (int i = 0; i < kGroup / 16; ++i) {
      u.scale[g * (kGroup / 16) + i] = scale[g];
      u.min[g * (kGroup / 16) + i] = min[g];
    }
  }
}

}  // namespace

void encode_q3_levels(const float* x, Unpacked256& u) {
  encode_symmetric<SignedLevels<-4>, 16>(x, {-32, 0.05f, 6, 8, 2, 1}, u);
}

void encode_q6_levels(const float* x, Unpacked256& u) {
  encode_symmetric<SignedLevels<-32>, 16>(x, {-128, 0.01f, 4, 4, 1, 0}, u);
}

void encode_iq4_levels(const float* x, Unpacked256& u) {
  encode_symmetric<Iq4Levels, 32>(x, {-32, 0.03f, 5, 5, 2, 1}, u);
}

void encode_iq4_levels(const float* x, Unpacked32& u) {
  const Group<32> group(x);
  u.d = as_half(fit_scale<Iq4Levels>(group, x, 0.03f, 5, 5));
  store_levels<Iq4Levels>(group, inverse_or_zero(u.d), u.q);
}

void encode_q2_levels(const float* x, Unpacked256& u) {
  encode_affine<3, 16>(x, {15, 0.06f, 1, 3, 2, 2}, u);
}

void encode_q4_levels(const float* x, Unpacked256& u) {
  encode_affine<15, 32>(x, {63, 0.02f, 1, 2, 2, 2}, u);
}

void encode_q5_levels(const float* x, Unpacked256& u) {
  encode_affine<31, 32>(x, {63, 0.01f, 1, 2, 2, 2}, u);
}

}  // namespace sluice::quant

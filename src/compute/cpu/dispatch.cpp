// SPDX-License-Identifier: Apache-2.0
#include <string_view>
#include <utility>

#include "compute/cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sluice::cpu {
namespace {

struct Level {
  const char* name;
  bool (*available)();
  void (*fill)(Kernels&);  // overrides entries of the level before it
};

#if defined(__x86_64__)

struct Features {
  bool avx2 = false;  // with FMA and F16C
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, VL, DQ, VNNI
};

// What the processor has and the operating system saves on a context switch.
Features detect() {
  Features result;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d)) return result;
  const auto has = [](unsigned word, unsigned bit) { return ((word >> bit) & 1) != 0; };
  if (!has(c, 27)) return result;  // OSXSAVE: xgetbv may be used
  const bool fma = has(c, 12), f16c = has(c, 29), avx = has(c, 28);
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool saves_256 = (low & 0x06) == 0x06;  // XMM, upper halves of YMM
  const bool saves_512 = (low & 0xe6) == 0xe6;  // and mask registers, upper halves, ZMM16-31

  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return result;
  const unsigned subleaves = a;
  result.avx2 = saves_256 && avx && fma && f16c && has(b, 5) && has(b, 3) && has(b, 8);  // BMI1, 2
  result.avx512 = result.avx2 && saves_512 && has(b, 16) && has(b, 17) && has(b, 30) &&
                  has(b, 31) && has(c, 11);
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
    result.avx_vnni = result.avx2 && has(a, 4);
  return result;
}

const Features& features() {
  static const Features found = detect();
  return found;
}

// One activation and several, of each type; the same bits.
struct Products {
  Kernels::DotRows one, several;
};
Products products[quant::kTypeIdLimit];

template <size_t kId>
void choose(const uint8_t* weights, size_t row_bytes, int64_t rows, int64_t n,
            const uint8_t* const* x, int64_t acts, float* out, int64_t out_stride,
            const uint8_t* next) {
  const Kernels::DotRows product = acts == 1 ? products[kId].one : products[kId].several;
  product(weights, row_bytes, rows, n, x, acts, out, out_stride, next);
}

template <size_t... kIds>
void combine(const Kernels& one, Kernels& table, std::index_sequence<kIds...>) {
  const auto set = [&]<size_t kId>() {
    if (!table.dot_rows[kId]) return;
    products[kId] = {one.dot_rows[kId], table.dot_rows[kId]};
    table.dot_rows[kId] = choose<kId>;
  };
  (set.template operator()<kIds>(), ...);
}

// Vectors of 512 bits hold two rows, which memory delivers as two streams that begin anew with
// every pair; one row after the other is one stream for the processor's prefetching. Where the
// level below has a product as short, one activation is 8 to 15 % faster there.
void fill_512_bits(Kernels& table) {
  const Kernels below = table;
  fill_avx512(table);
  if (features().avx_vnni) combine(below, table, std::make_index_sequence<quant::kTypeIdLimit>());
}

#endif

const Level kLevels[] = {
    {"scalar", [] { return true; }, fill_scalar},
#if defined(__x86_64__)
    {"avx2", [] { return features().avx2; }, fill_avx2},
    {"avx-vnni", [] { return features().avx_vnni; }, fill_avx_vnni},
    {"avx512", [] { return features().avx512; }, fill_512_bits},
#elif defined(__aarch64__)
    {"neon-dotprod", [] { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }, fill_neon},
#endif
};

}  // namespace

const Kernels* select_kernels(const char* isa) {
  static Kernels tables[std::size(kLevels)];
  static const bool filled = [] {
    for (size_t i = 0; i < std::size(kLevels); ++i) {
      if (i > 0) tables[i] = tables[i - 1];
      tables[i].isa = kLevels[i].name;
      if (kLevels[i].available()) kLevels[i].fill(tables[i]);
    }
    return true;
  }();
  static_cast<void>(filled);

  const Kernels* best = nullptr;
  for (size_t i = 0; i < std::size(kLevels); ++i) {
    if (!kLevels[i].available()) continue;
    if (isa == nullptr)
      best = &tables[i];
    else if (std::string_view(isa) == kLevels[i].name)
      return &tables[i];
  }
  return best;
}

const char* available_levels() {
  static char names[128];
  if (names[0] == 0) {
    size_t used = 0;
    for (const Level& level : kLevels) {
      if (!level.available()) continue;
      if (used) {
        names[used++] = ',';
        names[used++] = ' ';
      }
      for (const char* c = level.name; *c && used + 4 < sizeof(names); ++c) names[used++] = *c;
    }
  }
  return names;
}

}  // namespace sluice::cpu

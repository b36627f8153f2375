// SPDX-License-Identifier: Apache-2.0
#include "levels.h"

namespace sluice::cpu {

#if defined(SLUICE_TEST_X86)
void fill_avx_vnni_evex(Kernels& table);
#endif

const std::vector<TestLevel>& levels() {
  static const std::vector<TestLevel> all = [] {
    std::vector<TestLevel> found;
    for (const char* name : {"scalar", "avx2", "avx-vnni", "avx512", "neon-dotprod"})
      if (const Kernels* table = select_kernels(name)) found.push_back({name, table});
#if defined(SLUICE_TEST_X86)
    if (select_kernels("avx512")) {
      static Kernels evex = *select_kernels("avx2");
      fill_avx_vnni_evex(evex);
      found.push_back({"avx-vnni as EVEX", &evex});
      // Where there is AVX-VNNI too, "avx512" leaves products of one activation to it.
      static Kernels whole = *select_kernels("avx2");
      fill_avx512(whole);
      found.push_back({"avx512 for everything", &whole});
    }
#endif
    return found;
  }();
  return all;
}

}  // namespace sluice::cpu

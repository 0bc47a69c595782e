#include "dispatch.h"

#include <cstdlib>

namespace sapwood {
namespace {

bool runs_here(const std::string& isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == "avx512") return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
  if (isa == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == "scalar" || isa == "neon";
}

const Kernels* best_kernels() {
  if (const char* forced = std::getenv("SAPWOOD_ISA")) {
    if (const Kernels* found = kernels_of(forced)) return found;
  }
  for (const char* isa : {"avx512", "avx2", "neon"})
    if (const Kernels* found = kernels_of(isa)) return found;
  return scalar_kernels();
}

}  // namespace

const Kernels* kernels_of(const std::string& isa) {
  if (!runs_here(isa)) return nullptr;
  if (isa == "avx512") return avx512_kernels();
  if (isa == "avx2") return avx2_kernels();
  if (isa == "neon") return neon_kernels();
  return isa == "scalar" ? scalar_kernels() : nullptr;
}

const Kernels*& current() {
  static const Kernels* chosen = best_kernels();
  return chosen;
}

}  // namespace sapwood

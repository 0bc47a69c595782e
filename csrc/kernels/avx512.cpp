#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>

#include <cstring>
#include <limits>

namespace sapwood {
namespace {

constexpr int LANES = 16;
constexpr int MOST_VECTORS = 28;
constexpr int BLOCK = 8, ACROSS = 3;  // of dense weights: channels and vectors at once
constexpr int PIXELS = 14;            // at once, where vectors hold channels
using V = __m512;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_load_ps(p); }
inline V load_any(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V x) { _mm512_store_ps(p, x); }
inline void store_any(float* p, V x) { _mm512_storeu_ps(p, x); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm512_div_ps(a, b); }
inline V root_of(V x) { return _mm512_sqrt_ps(x); }
inline V max_of(V a, V b) { return _mm512_max_ps(a, b); }
inline V min_of(V a, V b) { return _mm512_min_ps(a, b); }
inline V both(V a, V b) { return _mm512_and_ps(a, b); }
inline V round_of(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline V scale_by_power_of_two(V x, V n) { return _mm512_scalef_ps(x, n); }

inline void settle(V& x) { asm volatile("" : "+v"(x)::"memory"); }  // what comes before is done before what comes after

// In place, as instructions: left to itself the compiler spills the sums around them.
template <int N>
inline void shift_right_in_place(V& x, V before) {
  asm("valignd %3, %2, %0, %0" : "=v"(x) : "0"(x), "v"(before), "i"(16 - N));
}
inline void shift_left_in_place(V& x, V after) { asm("valignd $1, %0, %2, %0" : "=v"(x) : "0"(x), "v"(after)); }
inline V even_of(V a, V b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
inline V odd_of(V a, V b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}

#include "kernels.inc"
#include "tokens.inc"

#include "depthwise.inc"

const Kernels kKernels = {
    "avx512",      LANES,       MOST_VECTORS, &conv,         &conv_points, &depthwise,  &depthwise_strip,
    &activate,     &pool_pairs, &split_pairs, &keep_larger,  &sum_of,      &add_values, &multiply_values,
    &scale_values, BLOCK,       WIDE * LANES, &conv_columns, MOST_QUERIES, &attend,     &normalize};

}  // namespace

const Kernels* avx512_kernels() { return &kKernels; }

}  // namespace sapwood
#else
namespace sapwood {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace sapwood
#endif

#include "kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#include <cstring>
#include <limits>

namespace sapwood {
namespace {

constexpr int LANES = 8;
constexpr int MOST_VECTORS = 14;
constexpr int BLOCK = 6, ACROSS = 2;  // of dense weights: channels and vectors at once
constexpr int PIXELS = 6;             // at once, where vectors hold channels
using V = __m256;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_load_ps(p); }
inline V load_any(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V x) { _mm256_store_ps(p, x); }
inline void store_any(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm256_div_ps(a, b); }
inline V root_of(V x) { return _mm256_sqrt_ps(x); }
inline V max_of(V a, V b) { return _mm256_max_ps(a, b); }
inline V min_of(V a, V b) { return _mm256_min_ps(a, b); }
inline V both(V a, V b) { return _mm256_and_ps(a, b); }
inline V round_of(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline void settle(V& x) { asm volatile("" : "+x"(x)::"memory"); }  // what comes before is done before what comes after
inline V scale_by_power_of_two(V x, V n) {
  __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

template <int N>
inline void shift_right_in_place(V& x, V before) {
  __m256i own = _mm256_castps_si256(x);
  __m256i middle = _mm256_permute2x128_si256(_mm256_castps_si256(before), own, 0x21);
  x = _mm256_castsi256_ps(_mm256_alignr_epi8(own, middle, 16 - 4 * N));
}
inline void shift_left_in_place(V& x, V after) {
  __m256i own = _mm256_castps_si256(x);
  __m256i middle = _mm256_permute2x128_si256(own, _mm256_castps_si256(after), 0x21);
  x = _mm256_castsi256_ps(_mm256_alignr_epi8(middle, own, 4));
}
inline V in_order(V pairs) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xD8)); }
inline V even_of(V a, V b) { return in_order(_mm256_shuffle_ps(a, b, 0x88)); }
inline V odd_of(V a, V b) { return in_order(_mm256_shuffle_ps(a, b, 0xDD)); }

#include "kernels.inc"
#include "tokens.inc"

#include "depthwise.inc"

const Kernels kKernels = {
    "avx2",        LANES,       MOST_VECTORS, &conv,         &conv_points, &depthwise,  &depthwise_strip,
    &activate,     &pool_pairs, &split_pairs, &keep_larger,  &sum_of,      &add_values, &multiply_values,
    &scale_values, BLOCK,       WIDE * LANES, &conv_columns, MOST_QUERIES, &attend,     &normalize};

}  // namespace

const Kernels* avx2_kernels() { return &kKernels; }

}  // namespace sapwood
#else
namespace sapwood {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace sapwood
#endif

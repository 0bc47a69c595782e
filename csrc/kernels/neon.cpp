#include "kernels.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>
#include <limits>

namespace sapwood {
namespace {

constexpr int LANES = 4;
constexpr int MOST_VECTORS = 24;
constexpr int BLOCK = 8, ACROSS = 3;  // of dense weights: channels and vectors at once
constexpr int PIXELS = 12;            // at once, where vectors hold channels
using V = float32x4_t;

inline V zero() { return vdupq_n_f32(0.0f); }
inline V set1(float x) { return vdupq_n_f32(x); }
inline V load(const float* p) { return vld1q_f32(p); }
inline V load_any(const float* p) { return vld1q_f32(p); }
inline void store(float* p, V x) { vst1q_f32(p, x); }
inline void store_any(float* p, V x) { vst1q_f32(p, x); }
inline V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline V add(V a, V b) { return vaddq_f32(a, b); }
inline V sub(V a, V b) { return vsubq_f32(a, b); }
inline V mul(V a, V b) { return vmulq_f32(a, b); }
inline V divide(V a, V b) { return vdivq_f32(a, b); }
inline V root_of(V x) { return vsqrtq_f32(x); }
inline V max_of(V a, V b) { return vmaxq_f32(a, b); }
inline V min_of(V a, V b) { return vminq_f32(a, b); }
inline V both(V a, V b) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))); }
inline V round_of(V x) { return vrndnq_f32(x); }
inline void settle(V& x) { asm volatile("" : "+w"(x)::"memory"); }  // what comes before is done before what comes after
inline V scale_by_power_of_two(V x, V n) {
  int32x4_t power = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(power, 23)));
}

template <int N>
inline void shift_right_in_place(V& x, V before) {
  x = vextq_f32(before, x, 4 - N);
}
inline void shift_left_in_place(V& x, V after) { x = vextq_f32(x, after, 1); }
inline V even_of(V a, V b) { return vuzp1q_f32(a, b); }
inline V odd_of(V a, V b) { return vuzp2q_f32(a, b); }

#include "kernels.inc"
#include "tokens.inc"

#include "depthwise.inc"

const Kernels kKernels = {
    "neon",        LANES,       MOST_VECTORS, &conv,         &conv_points, &depthwise,  &depthwise_strip,
    &activate,     &pool_pairs, &split_pairs, &keep_larger,  &sum_of,      &add_values, &multiply_values,
    &scale_values, BLOCK,       WIDE * LANES, &conv_columns, MOST_QUERIES, &attend,     &normalize};

}  // namespace

const Kernels* neon_kernels() { return &kKernels; }

}  // namespace sapwood
#else
namespace sapwood {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace sapwood
#endif

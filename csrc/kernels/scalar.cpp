// The reference: what every other instruction set is tested against, and what runs where there is none.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

namespace sapwood {
namespace {

constexpr int LANES = 4;
constexpr int MOST_VECTORS = 8;
constexpr int BLOCK = 4, ACROSS = 2;  // of dense weights: channels and vectors at once
constexpr int PIXELS = 3;             // at once, where vectors hold channels
struct V {
  float at[LANES];
};

template <class F>
inline V each(F f) {
  V result;
  for (int i = 0; i < LANES; ++i) result.at[i] = f(i);
  return result;
}

// clang-format off: a table, one line an instruction
inline V set1(float x) { return each([&](int) { return x; }); }
inline V zero() { return set1(0.0f); }
inline V load_any(const float* p) { return each([&](int i) { return p[i]; }); }
inline V load(const float* p) { return load_any(p); }
inline void store(float* p, V x) { std::memcpy(p, x.at, sizeof(x.at)); }
inline void store_any(float* p, V x) { store(p, x); }
inline V fma(V a, V b, V c) { return each([&](int i) { return a.at[i] * b.at[i] + c.at[i]; }); }
inline V add(V a, V b) { return each([&](int i) { return a.at[i] + b.at[i]; }); }
inline V sub(V a, V b) { return each([&](int i) { return a.at[i] - b.at[i]; }); }
inline V mul(V a, V b) { return each([&](int i) { return a.at[i] * b.at[i]; }); }
inline V divide(V a, V b) { return each([&](int i) { return a.at[i] / b.at[i]; }); }
inline V root_of(V x) { return each([&](int i) { return std::sqrt(x.at[i]); }); }
inline V max_of(V a, V b) { return each([&](int i) { return a.at[i] > b.at[i] ? a.at[i] : b.at[i]; }); }
inline V min_of(V a, V b) { return each([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; }); }
// clang-format on
inline V both(V a, V b) {
  return each([&](int i) {
    uint32_t one, other;
    std::memcpy(&one, &a.at[i], 4);
    std::memcpy(&other, &b.at[i], 4);
    one &= other;
    float result;
    std::memcpy(&result, &one, 4);
    return result;
  });
}
inline V round_of(V x) {
  return each([&](int i) { return std::nearbyint(x.at[i]); });
}
inline void settle(V&) {}  // of a vector in a register: what comes before is done before what comes after
inline V scale_by_power_of_two(V x, V n) {
  return each([&](int i) { return std::ldexp(x.at[i], static_cast<int>(n.at[i])); });
}

template <int N>
inline void shift_right_in_place(V& x, V before) {
  V old = x;
  x = each([&](int i) { return i < N ? before.at[LANES - N + i] : old.at[i - N]; });
}
inline void shift_left_in_place(V& x, V after) {
  V old = x;
  x = each([&](int i) { return i < LANES - 1 ? old.at[i + 1] : after.at[0]; });
}
inline V even_of(V a, V b) {
  return each([&](int i) { return 2 * i < LANES ? a.at[2 * i] : b.at[2 * i - LANES]; });
}
inline V odd_of(V a, V b) {
  return each([&](int i) { return 2 * i + 1 < LANES ? a.at[2 * i + 1] : b.at[2 * i + 1 - LANES]; });
}

#include "kernels.inc"
#include "tokens.inc"

#include "depthwise.inc"

const Kernels kKernels = {
    "scalar",      LANES,       MOST_VECTORS, &conv,         &conv_points, &depthwise,  &depthwise_strip,
    &activate,     &pool_pairs, &split_pairs, &keep_larger,  &sum_of,      &add_values, &multiply_values,
    &scale_values, BLOCK,       WIDE * LANES, &conv_columns, MOST_QUERIES, &attend,     &normalize};

}  // namespace

const Kernels* scalar_kernels() { return &kKernels; }

}  // namespace sapwood

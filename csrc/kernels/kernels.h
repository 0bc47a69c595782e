// What each instruction set gives: the same functions, chosen once at load.
#pragma once

#include <cstdint>

#include "../sapwood_engine.h"

namespace sapwood {

// A tile of a convolution: `vectors` vectors side by side, from output row `row` on.
struct Tile {
  const char* in;     // value (row, 0) of the input's channel 0
  const float* mask;  // of one row: all bits set where the map has values, none elsewhere
  int row_vectors;    // vectors of a row
  int vectors;        // of the tile
  int row;            // the first one
};

// Rows of one plane of a depthwise convolution's result.
struct DepthwiseRows {
  const float* in;  // what the first tap multiplies for the first value of the first row
  int64_t pitch;    // of the input; of the result and of what is added:
  float* out;
  int64_t out_pitch;
  const float* other;  // or NULL
  int64_t other_pitch;
  const float* mask;  // as a tile's
  int32_t step[2];
  int vectors;  // of a row of the result that hold values
  int count;    // of rows
};

// One channel's window.
struct Filter {
  const float* weights;  // all
  const sw_entry* taps;  // those that are not zero; offsets are in floats
  const sw_entry* end;
  float bias;
};

// A plane of a depthwise convolution's result as one strip.
struct DepthwiseStrip {
  const float* in;  // value (0, 0) of the plane that is read
  float* out;
  const float* other;  // or NULL
  const float* mask;   // of the whole strip: all bits set where the map has values
  int vectors;
  const sw_entry* taps;   // that are not zero; offsets are in floats from a value of the result. Up to `plain`, nothing
  const sw_entry* plain;  // that they read beside a row is another row's;
  const sw_entry* end;
  const int32_t*
      beside;  // of each tap, where in `masks` a strip begins that has all bits set where it reads its own row
  const float* masks;
  float bias;
};

// Tokens side by side, all channels of them; `inside` values of the last vector belong to the map.
struct Tokens {
  const float* in;
  int64_t in_stride;  // from a channel to the next
  float* out;
  int64_t out_stride;
  int channels;
  int vectors;
  int inside;
};

// A head of attention for some queries: q, k and v are its channels' values of the first of those tokens (of all keys).
struct Head {
  const float* q;
  const float* k;
  const float* v;
  const float* mask;  // or NULL
  float* out;
  int64_t q_stride, k_stride, v_stride, out_stride;  // from a channel to the next
  int64_t mask_stride;                               // from a key to the next
  bool mask_wide;                                    // a value for each query, not one for all
  int keys, depth, value_depth;
  int vectors;  // of queries, at most most_queries
  int inside;   // values of the last vector that belong to the map
  float scale;
  bool safe;
  float* shares;  // room for keys * vectors vectors
};

struct Kernels {
  const char* name;
  int lanes;
  int most_vectors;
  // One chunk of the input channels for the outputs first..last of a tile; of dense weights first is where a block
  // begins.
  //   partial: [outputs][vectors * lanes], sums between chunks
  //   out: where the tile's first value of channel 0 goes (of phases: value (0, 0)); other: what is added, at the same
  //   place of its map, or NULL
  void (*conv)(const Tile& tile, const sw_op& op, int chunk, int first, int last, float* partial, float* out,
               const float* other);
  // Lists of a convolution between maps of one place, for the outputs first..last: the inputs' values stand side by
  // side in `values`, those of `out` and `other` (or NULL) where their maps say.
  void (*conv_points)(const sw_op& op, int first, int last, const float* values, float* out, const float* other);
  void (*depthwise)(const sw_op& op, const DepthwiseRows& rows, const Filter& filter);
  void (*depthwise_strip)(const sw_op& op, const DepthwiseStrip& strip);
  void (*activate)(float* values, int64_t count, int32_t activation, float slope);
  // Pooling of 2 x 2 values by two, a row of the result; and the two phases of a row of `count` values.
  void (*pool_pairs)(const float* upper, const float* lower, float* into, int count);
  void (*split_pairs)(const float* from, float* even, float* odd, int count);
  void (*keep_larger)(float* into, const float* from, int count);  // of two rows, value by value
  float (*sum_of)(const float* from, int count);
  // Value by value: sums and products of two runs, and the products of one with a factor.
  void (*add_values)(const float* one, const float* other, float* into, int64_t count);
  void (*multiply_values)(const float* one, const float* other, float* into, int64_t count);
  void (*scale_values)(const float* from, float factor, float* into, int64_t count);
  int block;  // output channels that dense weights are packed for
  int wide;   // and those that are packed for vectors of channels
  // All places of the output channels first..last, of which the first begins a block of `wide`; `in`, `out` and `other`
  // are value (0, 0) of channel 0.
  void (*conv_columns)(const sw_op& op, int first, int last, const char* in, float* out, const float* other);
  int most_queries;  // vectors
  void (*attend)(const Head& head);
  void (*normalize)(const Tokens& tokens, const sw_norm& norm);
};

const Kernels* scalar_kernels();
const Kernels* avx2_kernels();  // nullptr where it was not compiled
const Kernels* avx512_kernels();
const Kernels* neon_kernels();

}  // namespace sapwood

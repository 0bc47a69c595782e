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
  void (*activate)(float* values, int64_t count, int32_t activation, float slope);
  // Pooling of 2 x 2 values by two, a row of the result; and the two phases of a row of `count` values.
  void (*pool_pairs)(const float* upper, const float* lower, float* into, int count);
  void (*split_pairs)(const float* from, float* even, float* odd, int count);
  void (*keep_larger)(float* into, const float* from, int count);  // of two rows, value by value
  float (*sum_of)(const float* from, int count);
  int block;  // output channels that dense weights are packed for
  int wide;   // and those that are packed for vectors of channels
  // All places of the output channels first..last, of which the first begins a block of `wide`; `in`, `out` and `other`
  // are value (0, 0) of channel 0.
  void (*conv_columns)(const sw_op& op, int first, int last, const char* in, float* out, const float* other);
};

const Kernels* scalar_kernels();
const Kernels* avx2_kernels();  // nullptr where it was not compiled
const Kernels* avx512_kernels();
const Kernels* neon_kernels();

}  // namespace sapwood

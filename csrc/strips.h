// How a convolution's result is divided: rows of whole vectors, or one strip of all rows.
#pragma once

#include <cstdint>

#include "sapwood_engine.h"

namespace sapwood {

// Where the pitch is a multiple of the lanes, a strip is a row. Otherwise vectors go on from row to row, and all rows
// are one strip.
struct Strips {
  int64_t count;
  int64_t vectors;  // of each
  int64_t values;   // of each, with the padding between rows
};

inline Strips strips_of(const sw_op& op, int lanes) {
  if (op.in.pitch % lanes == 0) return {op.conv.height, op.in.pitch / lanes, op.in.pitch};
  const int64_t values = int64_t{op.conv.height} * op.in.pitch;
  return {1, (values + lanes - 1) / lanes, values};
}

// Vectors of a depthwise convolution's strip.
inline int64_t strip_vectors(const sw_op& op, int lanes) {
  return (int64_t{op.out.height} * op.out.pitch + lanes - 1) / lanes;
}

}  // namespace sapwood

// Operations that go through their maps together, some rows at a time: what stands between them stays in the cache.
#pragma once

#include <cstdint>

#include "program.h"

namespace sapwood {

// How the memory of a thread is shared out while a chain runs, in floats.
struct Bands {
  int64_t sums;         // between the chunks of a convolution
  int64_t wide_front;   // zeros in front of the first row of what DEPTHWISE reads,
  int64_t wide_stride;  // and all of a plane of it
  int64_t wide_rows;
  int32_t group;   // planes of it at a time
  int64_t middle;  // what DEPTHWISE makes for the convolution behind it
  int64_t total() const { return sums + group * wide_stride + middle; }
};

// Of the chain at `ops`, which was checked.
Bands bands_of(const sw_op* ops, const Kernels& kernels);

// Runs the chain that begins at operation `number`; `nanoseconds`, if not NULL, gets the time of each of its parts.
void run_chain(sw_program& program, size_t number, int threads, int64_t* nanoseconds);

}  // namespace sapwood

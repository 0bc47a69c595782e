// Programs: operations that were checked once, and the memory that they run over.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "depthwise.h"
#include "floats.h"
#include "fork.h"
#include "kernels/kernels.h"
#include "pool.h"
#include "sapwood_engine.h"

namespace sapwood {

// What a convolution needs besides its weights.
struct Convolution {
  std::unique_ptr<Floats> mask;  // of one row of the output, or of its strip
  bool alone = false;            // it reads where it writes: one thread
  bool points = false;           // lists between maps of one place, each entry reads the one of its channel
};

}  // namespace sapwood

struct sw_program {
  const sapwood::Kernels* kernels;
  std::vector<sw_op> ops;
  std::shared_ptr<const sapwood::Floats> weights;  // all that operations point to; copies share it, and:
  std::vector<std::shared_ptr<const sapwood::Convolution>> convolutions;
  std::vector<std::shared_ptr<const sapwood::Depthwise>> depthwises;
  std::unique_ptr<sapwood::Floats> memory;
  float* arena;
  std::unique_ptr<sapwood::Floats> scratch;
  int64_t scratch_of_thread = 0;
  int scratch_threads = 0;
  sapwood::Pool pool;
  unsigned forks = sapwood::num_forks();

  float* row(const sw_map& map, int channel, int row) const {
    return arena + map.offset + channel * map.stride + static_cast<int64_t>(row + map.margin) * map.pitch;
  }
};

namespace sapwood {

// A program with copies of all that `ops` point to. Throws std::invalid_argument that says which one is not valid, and
// why.
std::unique_ptr<sw_program> make_program(const sw_op* ops, int32_t count, int64_t arena);

// The same operations over an arena of their own.
std::unique_ptr<sw_program> copy_program(const sw_program& program);

// Threads, and what each needs to itself. Throws where they cannot be had.
void prepare(sw_program& program, int threads);

int64_t num_bytes(const sw_program& program);

}  // namespace sapwood

// Random programs for the engine: such that make sense, and such that somebody has changed.
#pragma once

#include <cstdint>
#include <vector>

#include "sapwood_engine.h"

namespace fuzz {

// The same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  int64_t between(int64_t least, int64_t most) { return least + static_cast<int64_t>(next() % (most - least + 1)); }
  bool one_in(int count) { return next() % count == 0; }
  float value() { return static_cast<float>(between(-1000, 1000)) / 1000.0f; }

 private:
  uint64_t state_;
};

// Operations with the arrays that they point to, each in memory of exactly its size.
struct Program {
  std::vector<sw_op> ops;
  std::vector<std::vector<int64_t>> starts;  // of each operation
  std::vector<std::vector<sw_entry>> entries;
  std::vector<std::vector<float>> bias, windows;
  int64_t arena = 0;

  void point();  // to the arrays as they are
};

// One that the engine must take.
Program sensible(Random& random);

// Changes some numbers of it.
void mutate(Program& program, Random& random);

// What the outputs must be: every operation done slowly. `largest` gets the largest number on the way.
std::vector<std::vector<float>> reference(const Program& program, const std::vector<std::vector<float>>& inputs,
                                          float& largest);

// Floats of the picture of a PACK or UNPACK.
int64_t floats_of(const sw_op& op);

}  // namespace fuzz

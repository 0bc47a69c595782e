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
  std::vector<std::vector<float>> bias, numbers;  // and weights, shifts and factors, values, tables
  int64_t arena = 0;

  void point();  // to the arrays as they are
};

// One that the engine must take.
Program sensible(Random& random);

// Changes some numbers of it.
void mutate(Program& program, Random& random);

using Pictures = std::vector<std::vector<float>>;

// What a run must give.
struct Result {
  Pictures outputs;
  float largest = 1.0f;  // number on the way
  bool right = true;     // no embedding was asked for a row that is not there
};

// Every operation done slowly, in double precision; what is computed is wrong by `noise` of it, up and down.
Result reference(const Program& program, const Pictures& inputs, double noise = 0.0);

// Floats of the picture of a PACK or UNPACK.
int64_t floats_of(const sw_op& op);

}  // namespace fuzz

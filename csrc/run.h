// A picture goes through a program.
#pragma once

#include <cstdint>

#include "program.h"

namespace sapwood {

// Pictures that are read and written.
struct Pictures {
  const sw_picture* inputs;
  int32_t num_inputs;
  const sw_picture* outputs;
  int32_t num_outputs;
};

// Whether there is a picture of the right size for each PACK and UNPACK.
bool fit(const sw_program& program, const Pictures& pictures);

// Runs a program that was prepared for `threads`, over pictures that fit.
// Says whether all rows that embeddings were asked for are there.
bool run(sw_program& program, const Pictures& pictures, int threads, int64_t* nanoseconds);

}  // namespace sapwood

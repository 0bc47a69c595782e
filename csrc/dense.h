// Operations on whole planes: one channel at a time.
#pragma once

#include "kernels/kernels.h"
#include "sapwood_engine.h"

namespace sapwood {

// All channels of an operation on small planes, each of which takes less time than to find out what is to be done;
// false for those that have no such way.
bool run_together(const Kernels& kernels, const sw_op& op, float* arena, const sw_picture* outputs);

// Channel `channel` of the input (of PACK: of the output). `inputs` and `outputs` are dense NCHW pictures.
void run_channel(const Kernels& kernels, const sw_op& op, float* arena, int channel, const sw_picture* inputs,
                 const sw_picture* outputs);

}  // namespace sapwood

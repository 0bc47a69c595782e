// Operations over tokens: attention, norms, embeddings, and values in another order.
#pragma once

#include "program.h"

namespace sapwood {

bool is_of_tokens(const sw_op& op);

// Floats of scratch that a thread needs for it.
int64_t token_scratch(const Kernels& kernels, const sw_op& op);

// Runs one; false if an embedding was asked for a row that is not there.
bool run_tokens(sw_program& program, const sw_op& op, int threads);

}  // namespace sapwood

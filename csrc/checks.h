// Whether an operation may run: after these checks no field of it leads outside of the arena, its guards and its
// arrays.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "sapwood_engine.h"

namespace sapwood {

constexpr int64_t kGuard =
    4096;  // floats of zeros before and after the arena: what the first and last rows' padding reads
constexpr int64_t kLargestArena = int64_t{1} << 44;

// Of an operation among `count` in an arena of `arena` floats; throws std::invalid_argument with its number and the
// reason.
void check(const sw_op& op, int number, int count, int64_t arena, const Kernels& kernels);

// Of a CHAIN, operation `number` of `count`, with its parts.
void check_chain(const sw_op* ops, int number, int count, int64_t arena, const Kernels& kernels);

// Floats of the dense picture that a PACK reads or an UNPACK writes.
int64_t picture_floats(const sw_op& op);

// Whether an operation that was checked, a CONV, DEPTHWISE or CHAIN, reads where it writes: lanes that the mask drops,
// or a program that makes no sense.
bool reads_own_output(const sw_op* op, const Kernels& kernels);

}  // namespace sapwood

// The C interface: no exception leaves it.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "dispatch.h"
#include "facts.h"
#include "program.h"
#include "run.h"
#include "sapwood_engine.h"

namespace {

constexpr int32_t kMostThreads = 1024;

}  // namespace

extern "C" {

int32_t sw_abi(void) { return SW_ABI; }

const sw_fact* sw_facts(void) { return sapwood::facts(); }

const char* sw_isa(void) { return sapwood::current()->name; }

int32_t sw_has_isa(const char* isa) { return isa && sapwood::kernels_of(isa) ? 1 : 0; }

int32_t sw_set_isa(const char* isa) {
  const sapwood::Kernels* found = isa ? sapwood::kernels_of(isa) : nullptr;
  if (!found) return -1;
  sapwood::current() = found;
  return 0;
}

int32_t sw_lanes(void) { return sapwood::current()->lanes; }

int32_t sw_most_vectors(void) { return sapwood::current()->most_vectors; }

int32_t sw_block(void) { return sapwood::current()->block; }

int32_t sw_wide(void) { return sapwood::current()->wide; }

sw_program* sw_create(const sw_op* ops, int32_t count, int64_t arena, char* error, int32_t size) {
  try {
    return sapwood::make_program(ops, count, arena).release();
  } catch (const std::exception& problem) {
    if (error && size > 0) std::snprintf(error, static_cast<size_t>(size), "%s", problem.what());
    return nullptr;
  }
}

sw_program* sw_copy(const sw_program* program) {
  try {
    return program ? sapwood::copy_program(*program).release() : nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
}

void sw_free(sw_program* program) { delete program; }

int32_t sw_run(sw_program* program, const sw_picture* inputs, int32_t num_inputs, const sw_picture* outputs,
               int32_t num_outputs, int32_t threads, int64_t* nanoseconds) {
  const sapwood::Pictures pictures{inputs, num_inputs, outputs, num_outputs};
  if (!program || !sapwood::fit(*program, pictures)) return SW_WRONG_PICTURES;
  threads = std::max<int32_t>(1, threads);
  if (threads > kMostThreads) return SW_NO_THREADS;
  try {
    sapwood::prepare(*program, threads);
  } catch (const std::exception&) {
    return SW_NO_THREADS;
  }
  return sapwood::run(*program, pictures, threads, nanoseconds) ? SW_DONE : SW_WRONG_ROW;
}

int64_t sw_bytes(const sw_program* program) { return program ? sapwood::num_bytes(*program) : 0; }
}

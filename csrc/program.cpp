#include "program.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "chain.h"
#include "checks.h"
#include "dispatch.h"
#include "strips.h"
#include "tokens.h"

namespace sapwood {
namespace {

void allocate(sw_program& program, int64_t floats) {
  program.memory = std::make_unique<Floats>(floats);
  program.arena = program.memory->get() + kGuard;
  prepare(program, 1);
}

// Hands out the parts of one piece of memory, each on a cache line. Weights are read from front to back once a picture,
// and come from far away: on large pages that costs fewer addresses than as arrays of their own.
class Shelf {
 public:
  template <class T>
  static int64_t floats(int64_t count) {
    constexpr int64_t line = SW_ALIGN / sizeof(float);
    return (count * static_cast<int64_t>(sizeof(T) / sizeof(float)) + line - 1) / line * line;
  }

  explicit Shelf(float* from) : next_(from) {}

  // Copies an array, and points to the copy.
  template <class T>
  void take(const T*& array, int64_t count) {
    if (count) std::memcpy(next_, array, static_cast<size_t>(count) * sizeof(T));
    array = reinterpret_cast<const T*>(next_);
    next_ += floats<T>(count);
  }

 private:
  float* next_;
};

// Calls `take(array, count)` for each array that an operation points to, but for what stays where it is and for those
// of depthwise convolutions.
template <class Take>
void for_each_array(sw_op& op, const Take& take) {
  switch (op.kind) {
    case SW_CONV:
      take(op.conv.starts, op.conv.num_starts);
      take(op.conv.bias, op.conv.num_bias);
      if (!op.conv.groups) op.conv.weights = nullptr;
      if (op.conv.stays) break;
      take(op.conv.entries, op.conv.num_entries);
      if (op.conv.groups) take(op.conv.weights, op.conv.num_weights);
      break;
    case SW_CONSTANT: take(op.constant.values, op.constant.num_values); break;
    case SW_EMBED:
      if (!op.embed.stays) take(op.embed.table, op.embed.num_values);
      break;
    case SW_NORM:
      take(op.norm.factors, op.norm.num_factors);
      take(op.norm.shifts, op.norm.num_shifts);
      break;
    default: break;
  }
}

template <class T>
int64_t floats_of(const T*, int64_t count) {
  return Shelf::floats<T>(count);
}

// Copies what operations that were checked point to, and points them there.
void keep_weights(sw_program& program) {
  int64_t floats = SW_ALIGN / sizeof(float);
  for (sw_op& op : program.ops)
    for_each_array(op, [&](const auto*& array, int64_t count) { floats += floats_of(array, count); });
  const auto memory = std::make_shared<Floats>(floats, Fill::none);
  Shelf shelf(memory->get());
  for (sw_op& op : program.ops)
    for_each_array(op, [&](const auto*& array, int64_t count) { shelf.take(array, count); });
  program.weights = memory;
}

// Whether lists go through planes of one value each, a cache line apart.
bool is_of_points(const sw_op& op) {
  const sw_conv& conv = op.conv;
  const auto is_point = [](const sw_map& map) { return map.height == 1 && map.width == 1; };
  if (conv.groups || conv.phased || !is_point(op.in) || !is_point(op.out) || op.in.offset < 0) return false;
  if (op.in.stride * static_cast<int64_t>(sizeof(float)) != SW_ALIGN) return false;
  for (int64_t list = 0; list + 1 < conv.num_starts; ++list)
    if (list % 3 != 2 && conv.starts[list] != conv.starts[list + 1]) return false;
  return std::all_of(conv.entries, conv.entries + conv.num_entries, [&](const sw_entry& entry) {
    return entry.offset >= 0 && entry.offset % SW_ALIGN == 0 && entry.offset / SW_ALIGN < op.in.channels;
  });
}

std::shared_ptr<const Convolution> own_convolution(const sw_op& op, int lanes, bool alone) {
  auto own = std::make_shared<Convolution>();
  own->alone = alone;
  own->points = is_of_points(op);
  const Strips strips = strips_of(op, lanes);
  own->mask = std::make_unique<Floats>(strips.vectors * lanes);
  for (int64_t row = 0; row < strips.values / op.in.pitch; ++row)
    std::memset(own->mask->get() + row * op.in.pitch, 0xff, static_cast<size_t>(op.conv.width) * sizeof(float));
  return own;
}

// Floats that a thread keeps between the chunks of a tile, or of what it reads.
int64_t conv_scratch(const sw_op& op, int lanes) {
  const sw_conv& conv = op.conv;
  const int64_t sums = conv.num_chunks > 1 ? int64_t{conv.channels} * conv.rows * conv.columns * lanes : 0;
  return std::max<int64_t>(sums, op.in.height == 1 && op.in.width == 1 ? op.in.channels : 0);
}

void keep_arrays(sw_program& program, int number, bool alone) {
  sw_op& op = program.ops[number];
  if (op.kind == SW_CONV) program.convolutions[number] = own_convolution(op, program.kernels->lanes, alone);
  if (op.kind == SW_DEPTHWISE) program.depthwises[number] = own_depthwise(op, program.kernels->lanes, alone);
}

// Checks an operation, with its parts where it is a chain, and keeps what it needs; how many they are.
int take(sw_program& program, int number, int count, int64_t arena) {
  const sw_op& op = program.ops[number];
  const Kernels& kernels = *program.kernels;
  const bool chain = op.kind == SW_CHAIN, keeps = chain || op.kind == SW_CONV || op.kind == SW_DEPTHWISE;
  if (chain) check_chain(program.ops.data(), number, count, arena, kernels);
  else check(op, number, count, arena, kernels);
  const int parts = chain ? op.chain.count : 0;
  int64_t scratch = op.kind == SW_CONV ? conv_scratch(op, kernels.lanes) : token_scratch(kernels, op);
  if (chain) scratch = bands_of(&op, kernels).total();
  if (scratch > kLargestArena)
    throw std::invalid_argument("operation " + std::to_string(number) + ": rows that a thread keeps do not fit");
  program.scratch_of_thread = std::max(program.scratch_of_thread, scratch);
  const bool alone = keeps && reads_own_output(&op, kernels);
  for (int part = number; part <= number + parts; ++part) keep_arrays(program, part, alone);
  return 1 + parts;
}

}  // namespace

std::unique_ptr<sw_program> make_program(const sw_op* ops, int32_t count, int64_t arena) {
  if (count < 1 || !ops || arena < 1) throw std::invalid_argument("there are no operations");
  if (arena > kLargestArena) throw std::invalid_argument("the arena is larger than 2^44 floats");
  auto program = std::make_unique<sw_program>();
  program->kernels = current();
  program->ops.assign(ops, ops + count);
  program->convolutions.resize(count);
  program->depthwises.resize(count);
  for (int number = 0; number < count;) number += take(*program, number, count, arena);
  keep_weights(*program);
  allocate(*program, arena + 2 * kGuard);
  return program;
}

std::unique_ptr<sw_program> copy_program(const sw_program& program) {
  auto copy = std::make_unique<sw_program>();
  copy->kernels = program.kernels;
  copy->ops = program.ops;
  copy->weights = program.weights;
  copy->convolutions = program.convolutions;
  copy->depthwises = program.depthwises;
  copy->scratch_of_thread = program.scratch_of_thread;
  allocate(*copy, program.memory->count());
  return copy;
}

void prepare(sw_program& program, int threads) {
  program.pool.grow(threads);
  if (threads > program.scratch_threads) {
    program.scratch = std::make_unique<Floats>(std::max<int64_t>(16, program.scratch_of_thread * threads));
    program.scratch_threads = threads;
  }
}

int64_t num_bytes(const sw_program& program) {
  int64_t bytes = program.memory->bytes() + program.scratch->bytes() + program.weights->bytes();
  for (const auto& one : program.depthwises)
    if (one) bytes += one->bytes();
  return bytes;
}

}  // namespace sapwood

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

// Copies what the operation points to, and points it there.
std::shared_ptr<const Convolution> own_arrays(sw_op& op, int lanes, bool alone) {
  auto own = std::make_shared<Convolution>();
  sw_conv& conv = op.conv;
  own->alone = alone;
  own->starts.assign(conv.starts, conv.starts + conv.num_starts);
  own->entries.assign(conv.entries, conv.entries + conv.num_entries);
  own->bias.assign(conv.bias, conv.bias + conv.num_bias);
  if (conv.groups) own->weights.assign(conv.weights, conv.weights + conv.num_weights);
  const Strips strips = strips_of(op, lanes);
  own->mask = std::make_unique<Floats>(strips.vectors * lanes);
  for (int64_t row = 0; row < strips.values / op.in.pitch; ++row)
    std::memset(own->mask->get() + row * op.in.pitch, 0xff, static_cast<size_t>(conv.width) * sizeof(float));
  conv.starts = own->starts.data();
  conv.entries = own->entries.data();
  conv.bias = own->bias.data();
  conv.weights = own->weights.data();
  return own;
}

// The same for what is read as plain numbers; nothing for other kinds.
std::shared_ptr<const Numbers> own_numbers(sw_op& op) {
  const auto own = std::make_shared<Numbers>();
  const auto take = [](std::vector<float>& into, const float*& from, int64_t count) {
    into.assign(from, from + count);
    from = into.data();
  };
  if (op.kind == SW_CONSTANT) take(own->first, op.constant.values, op.constant.num_values);
  else if (op.kind == SW_EMBED) take(own->first, op.embed.table, op.embed.num_values);
  else if (op.kind == SW_NORM) {
    take(own->first, op.norm.factors, op.norm.num_factors);
    take(own->second, op.norm.shifts, op.norm.num_shifts);
  } else return nullptr;
  return own;
}

// Floats that a thread keeps between the chunks of a tile.
int64_t sums_between_chunks(const sw_conv& conv, int lanes) {
  return conv.num_chunks > 1 ? int64_t{conv.channels} * conv.rows * conv.columns * lanes : 0;
}

void keep_arrays(sw_program& program, int number, bool alone) {
  sw_op& op = program.ops[number];
  program.numbers[number] = own_numbers(op);
  if (op.kind == SW_CONV) program.convolutions[number] = own_arrays(op, program.kernels->lanes, alone);
  if (op.kind == SW_DEPTHWISE) program.depthwises[number] = own_depthwise(op, alone);
}

// Checks an operation, with its parts where it is a chain, and keeps what it needs; how many they are.
int take(sw_program& program, int number, int count, int64_t arena) {
  const sw_op& op = program.ops[number];
  const Kernels& kernels = *program.kernels;
  const bool chain = op.kind == SW_CHAIN, keeps = chain || op.kind == SW_CONV || op.kind == SW_DEPTHWISE;
  if (chain) check_chain(program.ops.data(), number, count, arena, kernels);
  else check(op, number, count, arena, kernels);
  const int parts = chain ? op.chain.count : 0;
  int64_t scratch = op.kind == SW_CONV ? sums_between_chunks(op.conv, kernels.lanes) : token_scratch(kernels, op);
  if (chain) scratch = bands_of(&op, kernels.lanes).total();
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
  program->numbers.resize(count);
  for (int number = 0; number < count;) number += take(*program, number, count, arena);
  allocate(*program, arena + 2 * kGuard);
  return program;
}

std::unique_ptr<sw_program> copy_program(const sw_program& program) {
  auto copy = std::make_unique<sw_program>();
  copy->kernels = program.kernels;
  copy->ops = program.ops;
  copy->convolutions = program.convolutions;
  copy->depthwises = program.depthwises;
  copy->numbers = program.numbers;
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
  int64_t bytes = program.memory->bytes() + program.scratch->bytes();
  for (const auto& one : program.convolutions)
    if (one)
      bytes += static_cast<int64_t>(one->entries.size() * sizeof(sw_entry) + one->starts.size() * sizeof(int64_t) +
                                    (one->bias.size() + one->weights.size()) * sizeof(float));
  for (const auto& one : program.depthwises)
    if (one) bytes += one->bytes();
  for (const auto& one : program.numbers)
    if (one) bytes += static_cast<int64_t>((one->first.size() + one->second.size()) * sizeof(float));
  return bytes;
}

}  // namespace sapwood

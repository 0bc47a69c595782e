#include "program.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "checks.h"
#include "dispatch.h"
#include "tokens.h"

namespace sapwood {
namespace {

void allocate(sw_program& program, int64_t floats) {
  program.memory = std::make_unique<Floats>(floats);
  program.arena = program.memory->get() + kGuard;
  prepare(program, 1);
}

// Copies what the operation points to, and points it there.
std::shared_ptr<const Convolution> own_arrays(sw_op& op) {
  auto own = std::make_shared<Convolution>();
  sw_conv& conv = op.conv;
  own->alone = reads_own_output(op);
  own->starts.assign(conv.starts, conv.starts + conv.num_starts);
  own->entries.assign(conv.entries, conv.entries + conv.num_entries);
  own->bias.assign(conv.bias, conv.bias + conv.num_bias);
  own->mask = std::make_unique<Floats>(op.in.pitch);
  std::memset(own->mask->get(), 0xff, static_cast<size_t>(conv.width) * sizeof(float));
  conv.starts = own->starts.data();
  conv.entries = own->entries.data();
  conv.bias = own->bias.data();
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

}  // namespace

std::unique_ptr<sw_program> make_program(const sw_op* ops, int32_t count, int64_t arena) {
  if (count < 1 || !ops || arena < 1) throw std::invalid_argument("there are no operations");
  if (arena > kLargestArena) throw std::invalid_argument("the arena is larger than 2^44 floats");
  auto program = std::make_unique<sw_program>();
  program->kernels = current();
  program->ops.assign(ops, ops + count);
  program->convolutions.resize(count);
  program->numbers.resize(count);
  for (int number = 0; number < count; ++number) {
    sw_op& op = program->ops[number];
    check(op, number, count, arena, *program->kernels);
    program->numbers[number] = own_numbers(op);
    program->scratch_of_thread = std::max(program->scratch_of_thread, token_scratch(*program->kernels, op));
    if (op.kind != SW_CONV) continue;
    program->convolutions[number] = own_arrays(op);
    program->scratch_of_thread =
        std::max(program->scratch_of_thread, sums_between_chunks(op.conv, program->kernels->lanes));
  }
  allocate(*program, arena + 2 * kGuard);
  return program;
}

std::unique_ptr<sw_program> copy_program(const sw_program& program) {
  auto copy = std::make_unique<sw_program>();
  copy->kernels = program.kernels;
  copy->ops = program.ops;
  copy->convolutions = program.convolutions;
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
                                    one->bias.size() * sizeof(float));
  for (const auto& one : program.numbers)
    if (one) bytes += static_cast<int64_t>((one->first.size() + one->second.size()) * sizeof(float));
  return bytes;
}

}  // namespace sapwood

#include "tokens.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace sapwood {
namespace {

constexpr int kTogether = 16;      // channels of a task of an embedding: a cache line of a row of the table
constexpr int kNormed = 4;         // vectors that are normed at once
constexpr int64_t kSmall = 16384;  // values below which threads are not worth waking

struct TokenRun {
  sw_program* program;
  const sw_op* op;
  int parts;    // of the places
  int vectors;  // of places, in all
  std::atomic<bool> right{true};
};

int64_t num_values(const sw_map& map) { return int64_t{map.channels} * map.height * map.width; }

// A value of a map by its number, and steps from there.
struct Cursor {
  const sw_map& map;
  int64_t channel, row, column;

  Cursor(const sw_map& map, int64_t number)
      : map(map),
        channel(number / (int64_t{map.height} * map.width)),
        row(number / map.width % map.height),
        column(number % map.width) {}

  // Both are of numbers, so that there is at most one carry at each place.
  void step(const Cursor& by) {
    column += by.column;
    row += by.row;
    channel += by.channel;
    if (column >= map.width) column -= map.width, ++row;
    if (row >= map.height) row -= map.height, ++channel;
  }

  int64_t place() const { return map.offset + channel * map.stride + (row + map.margin) * map.pitch + column; }
};

void view_task(void* context, int channel, int) {
  const TokenRun& run = *static_cast<TokenRun*>(context);
  const sw_op& op = *run.op;
  const sw_view& view = op.view;
  float* arena = run.program->arena;
  const int64_t start = view.first + channel / view.count[1] * view.step[0] + channel % view.count[1] * view.step[1];
  const bool whole_runs = view.step[3] == 1;
  const Cursor step(op.in, view.step[3]), one(op.out, 1);
  const bool turned = step.row == 0 && step.column == 0;
  for (int i2 = 0; i2 < view.count[2]; ++i2) {
    Cursor from(op.in, start + i2 * view.step[2]);
    Cursor into(op.out, int64_t{channel} * op.out.height * op.out.width + view.at + int64_t{i2} * view.count[3]);
    if (turned && into.column + view.count[3] <= op.out.width) {  // channels become places of one row
      const float* source = arena + from.place();
      float* values = arena + into.place();
      for (int i3 = 0; i3 < view.count[3]; ++i3) values[i3] = source[i3 * step.channel * op.in.stride];
      continue;
    }
    for (int64_t left = view.count[3]; left > 0;) {
      if (!whole_runs) {
        arena[into.place()] = arena[from.place()];
        if (--left) from.step(step), into.step(one);
        continue;
      }
      const int64_t run_length = std::min({left, op.in.width - from.column, op.out.width - into.column});
      std::memcpy(arena + into.place(), arena + from.place(), static_cast<size_t>(run_length) * sizeof(float));
      left -= run_length;
      if (left) from.step(Cursor(op.in, run_length)), into.step(Cursor(op.out, run_length));
    }
  }
}

void constant_task(void* context, int channel, int) {
  const TokenRun& run = *static_cast<TokenRun*>(context);
  const sw_op& op = *run.op;
  const float* from = op.constant.values + int64_t{channel} * op.constant.count;
  Cursor into(op.out, int64_t{channel} * op.out.height * op.out.width + op.constant.at);
  for (int64_t left = op.constant.count; left > 0;) {
    const int64_t length = std::min<int64_t>(left, op.out.width - into.column);
    std::memcpy(run.program->arena + into.place(), from, static_cast<size_t>(length) * sizeof(float));
    from += length;
    left -= length;
    if (left) into.step(Cursor(op.out, length));
  }
}

void embed_task(void* context, int part, int) {
  TokenRun& run = *static_cast<TokenRun*>(context);
  const sw_op& op = *run.op;
  const int first = part * kTogether, last = std::min(op.out.channels, first + kTogether);
  for (int row = 0; row < op.in.height; ++row) {
    const float* numbers = run.program->row(op.in, 0, row);
    for (int at = 0; at < op.in.width; ++at) {
      const float number = numbers[at];
      const bool right = number >= 0.0f && number < static_cast<float>(op.embed.rows);
      if (!right) run.right.store(false, std::memory_order_relaxed);
      const float* from = op.embed.table + (right ? static_cast<int64_t>(number) : 0) * op.out.channels;
      for (int channel = first; channel < last; ++channel)
        run.program->row(op.out, channel, row)[at] = right ? from[channel] : 0.0f;
    }
  }
}

// Values of the last vector of a row that belong to the map.
int inside_of(const sw_map& map, int lanes, int first, int vectors) {
  return std::max(0, std::min(lanes, map.width - (first + vectors - 1) * lanes));
}

void norm_task(void* context, int number, int) {
  const TokenRun& run = *static_cast<TokenRun*>(context);
  const sw_op& op = *run.op;
  const int lanes = run.program->kernels->lanes;
  const int row = number / run.parts, first = number % run.parts * kNormed;
  const int vectors = std::min(kNormed, run.vectors - first);
  const Tokens tokens{run.program->row(op.in, 0, row) + first * lanes,
                      op.in.stride,
                      run.program->row(op.out, 0, row) + first * lanes,
                      op.out.stride,
                      op.in.channels,
                      vectors,
                      inside_of(op.out, lanes, first, vectors)};
  run.program->kernels->normalize(tokens, op.norm);
}

void attention_task(void* context, int number, int thread) {
  const TokenRun& run = *static_cast<TokenRun*>(context);
  const sw_program& program = *run.program;
  const sw_op& op = *run.op;
  const sw_attention& attention = op.attention;
  const int lanes = program.kernels->lanes;
  const int head = number / run.parts, part = number % run.parts;
  const int group = static_cast<int>(int64_t{head} * attention.groups / attention.heads);
  const int first = static_cast<int>(int64_t{run.vectors} * part / run.parts);
  const int last = static_cast<int>(int64_t{run.vectors} * (part + 1) / run.parts);
  const sw_map& mask = attention.mask;
  Head one;
  one.q = program.row(op.in, head * attention.step[0], 0) + first * lanes;
  one.k = program.row(op.other, group * attention.step[1], 0);
  one.v = program.row(attention.value, group * attention.step[2], 0);
  one.out = program.row(op.out, head * attention.value_depth, 0) + first * lanes;
  one.q_stride = op.in.stride, one.k_stride = op.other.stride;
  one.v_stride = attention.value.stride, one.out_stride = op.out.stride;
  one.mask = nullptr;
  one.mask_wide = mask.channels && (mask.width > 1 || op.in.width == 1);
  if (mask.channels)
    one.mask = program.row(mask, mask.channels > op.other.width ? head * op.other.width : 0, 0) +
               (one.mask_wide ? first * lanes : 0);
  one.mask_stride = mask.stride;
  one.keys = op.other.width, one.depth = attention.depth, one.value_depth = attention.value_depth;
  one.vectors = last - first;
  one.inside = inside_of(op.out, lanes, first, one.vectors);
  one.scale = attention.scale, one.safe = attention.safe != 0;
  one.shares = program.scratch->get() + thread * program.scratch_of_thread;
  program.kernels->attend(one);
}

int divided(int size, int step) { return (size + step - 1) / step; }

}  // namespace

bool is_of_tokens(const sw_op& op) {
  return op.kind == SW_VIEW || op.kind == SW_CONSTANT || op.kind == SW_NORM || op.kind == SW_ATTENTION ||
         op.kind == SW_EMBED;
}

int64_t token_scratch(const Kernels& kernels, const sw_op& op) {
  return op.kind == SW_ATTENTION ? int64_t{op.other.width} * kernels.most_queries * kernels.lanes : 0;
}

bool run_tokens(sw_program& program, const sw_op& op, int threads) {
  TokenRun run{&program, &op, 1, divided(op.out.width, program.kernels->lanes)};
  const int few = num_values(op.out) < kSmall ? 1 : threads;
  switch (op.kind) {
    case SW_VIEW: program.pool.run(&view_task, &run, op.out.channels, few); break;
    case SW_CONSTANT: program.pool.run(&constant_task, &run, op.out.channels, few); break;
    case SW_EMBED: program.pool.run(&embed_task, &run, divided(op.out.channels, kTogether), few); break;
    case SW_NORM:
      run.parts = divided(run.vectors, kNormed);
      program.pool.run(&norm_task, &run, run.parts * op.out.height, few);
      break;
    default:
      run.parts = divided(run.vectors, program.kernels->most_queries);
      program.pool.run(&attention_task, &run, run.parts * op.attention.heads, threads);
  }
  return run.right.load(std::memory_order_relaxed);
}

}  // namespace sapwood

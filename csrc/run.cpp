#include "run.h"

#include <algorithm>
#include <chrono>

#include "chain.h"
#include "checks.h"
#include "dense.h"
#include "strips.h"
#include "tokens.h"

namespace sapwood {
namespace {

struct ConvRun {
  sw_program* program;
  const sw_op* op;
  const Convolution* convolution;
  int tiles;
  int across;  // tiles of a row
  int parts;   // of the output channels
};

// The first output channel of a part: of dense weights where a block begins.
int first_of(const ConvRun& run, int part) {
  const sw_conv& conv = run.op->conv;
  if (!conv.groups) return static_cast<int>(static_cast<int64_t>(conv.channels) * part / run.parts);
  const int block = run.program->kernels->block, of_group = conv.channels / conv.groups;
  const int64_t blocks = (of_group + block - 1) / block, at = blocks * conv.groups * part / run.parts;
  return static_cast<int>(at / blocks * of_group + at % blocks * block);
}

void conv_task(void* context, int number, int thread) {
  const ConvRun& run = *static_cast<ConvRun*>(context);
  const sw_op& op = *run.op;
  const sw_conv& conv = op.conv;
  const int place = number / run.parts, part = number % run.parts;
  const int lanes = run.program->kernels->lanes;
  const Strips strips = strips_of(op, lanes);
  const int row = place / run.across * conv.rows, rows = std::min(conv.rows, static_cast<int>(strips.count) - row);
  const int row_vectors = static_cast<int>(strips.vectors);
  const int from = place % run.across * conv.columns, columns = std::min(conv.columns, row_vectors - from);
  const int first = first_of(run, part), last = first_of(run, part + 1);
  Tile tile;
  tile.in = reinterpret_cast<const char*>(run.program->row(op.in, 0, row) + from * lanes);
  tile.mask = run.convolution->mask->get() + from * lanes;
  tile.row_vectors = columns;
  tile.vectors = rows * columns;
  tile.row = row;
  float* partial = run.program->scratch->get() + thread * run.program->scratch_of_thread;
  float* out = run.program->row(op.out, 0, conv.phased ? 0 : row) + from * lanes;
  const float* other = op.other.channels ? run.program->row(op.other, 0, row) + from * lanes : nullptr;
  for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
    run.program->kernels->conv(tile, op, chunk, first, last, partial, out, other);
}

void columns_task(void* context, int part, int) {
  const ConvRun& run = *static_cast<ConvRun*>(context);
  const sw_op& op = *run.op;
  const sw_program& program = *run.program;
  const int64_t wide = program.kernels->wide, blocks = (op.conv.channels + wide - 1) / wide;
  const auto first = [&](int64_t number) {
    return static_cast<int>(std::min<int64_t>(op.conv.channels, blocks * number / run.parts * wide));
  };
  program.kernels->conv_columns(op, first(part), first(part + 1),
                                reinterpret_cast<const char*>(program.row(op.in, 0, 0)), program.row(op.out, 0, 0),
                                op.other.channels ? program.row(op.other, 0, 0) : nullptr);
}

// Entries of lists between maps of one place that are worth another thread.
constexpr int64_t kTaskEntries = 8192;

void points_task(void* context, int part, int thread) {
  const ConvRun& run = *static_cast<ConvRun*>(context);
  const sw_op& op = *run.op;
  const sw_program& program = *run.program;
  float* values = program.scratch->get() + thread * program.scratch_of_thread;
  const float* from = program.row(op.in, 0, 0);
  for (int channel = 0; channel < op.in.channels; ++channel) values[channel] = from[channel * op.in.stride];
  program.kernels->conv_points(op, first_of(run, part), first_of(run, part + 1), values, program.row(op.out, 0, 0),
                               op.other.channels ? program.row(op.other, 0, 0) : nullptr);
}

void convolve(sw_program& program, const sw_op& op, const Convolution& convolution, int threads) {
  const sw_conv& conv = op.conv;
  if (conv.by_channels) {
    ConvRun run{&program, &op, &convolution, 1, 1, threads > 1 ? 4 * threads : 1};
    return program.pool.run(&columns_task, &run, run.parts, convolution.alone ? 1 : threads);
  }
  if (convolution.points) {
    const int parts = static_cast<int>(std::min<int64_t>(threads, conv.num_entries / kTaskEntries + 1));
    ConvRun run{&program, &op, &convolution, 1, 1, parts};
    return program.pool.run(&points_task, &run, parts, convolution.alone ? 1 : threads);
  }
  const Strips strips = strips_of(op, program.kernels->lanes);
  const int across = static_cast<int>((strips.vectors + conv.columns - 1) / conv.columns);
  const int down = static_cast<int>((strips.count + conv.rows - 1) / conv.rows);
  ConvRun run{&program, &op, &convolution, down * across, across, 1};
  if (threads > 1) {  // few tiles leave threads without work: split the outputs as well
    while (run.tiles * run.parts < 4 * threads && run.parts * 8 <= conv.channels) run.parts *= 2;
  }
  program.pool.run(&conv_task, &run, run.tiles * run.parts, convolution.alone ? 1 : threads);
}

struct DenseRun {
  sw_program* program;
  const sw_op* op;
  const Pictures* pictures;
};

// Over whole rows, and padding is zero again.
void activate_plane(const Kernels& kernels, const sw_op& op, float* values) {
  kernels.activate(values, static_cast<int64_t>(op.out.height) * op.out.pitch, op.activation, op.slope);
  for (int row = 0; row < op.out.height; ++row)
    std::fill(values + static_cast<int64_t>(row) * op.out.pitch + op.out.width,
              values + static_cast<int64_t>(row + 1) * op.out.pitch, 0.0f);
}

void dense_task(void* context, int channel, int) {
  const DenseRun& run = *static_cast<DenseRun*>(context);
  const sw_op& op = *run.op;
  const Kernels& kernels = *run.program->kernels;
  run_channel(kernels, op, run.program->arena, channel, run.pictures->inputs, run.pictures->outputs);
  if (op.activation == SW_LINEAR || op.kind == SW_UNPACK || op.kind == SW_PACK) return;
  const int planes = op.kind == SW_PHASES ? op.phases.step[0] * op.phases.step[1] : 1;
  for (int plane = 0; plane < planes; ++plane)
    activate_plane(kernels, op, run.program->row(op.out, channel + plane * op.in.channels, 0));
}

void run_dense(sw_program& program, const sw_op& op, const Pictures& pictures, int threads) {
  DenseRun run{&program, &op, &pictures};
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  const int64_t work = static_cast<int64_t>(map.channels) * map.height * map.pitch;
  const int channels = op.kind == SW_PACK && op.pack.phased ? op.pack.channels : map.channels;
  const bool alone = threads == 1 || work < 16384;
  if (alone && run_together(*program.kernels, op, program.arena, pictures.outputs)) return;
  program.pool.run(&dense_task, &run, channels, alone ? 1 : threads);
}

// In a child of `fork`, what another thread was writing at that moment must not be taken for padding.
void forget_parent(sw_program& program) {
  if (program.forks == num_forks()) return;
  program.memory->clear();
  program.forks = num_forks();
}

bool fits(const sw_op& op, const sw_picture* pictures, int32_t count, int32_t index) {
  if (!pictures || index >= count) return false;
  return pictures[index].values && pictures[index].floats == picture_floats(op);
}

}  // namespace

bool fit(const sw_program& program, const Pictures& pictures) {
  return std::all_of(program.ops.begin(), program.ops.end(), [&](const sw_op& op) {
    if (op.kind == SW_PACK) return fits(op, pictures.inputs, pictures.num_inputs, op.pack.index);
    if (op.kind == SW_UNPACK) return fits(op, pictures.outputs, pictures.num_outputs, op.unpack.index);
    return true;
  });
}

bool run(sw_program& program, const Pictures& pictures, int threads, int64_t* nanoseconds) {
  forget_parent(program);
  auto before = std::chrono::steady_clock::now();
  bool right = true;
  for (size_t number = 0, parts = 0; number < program.ops.size(); number += 1 + parts) {
    const sw_op& op = program.ops[number];
    parts = op.kind == SW_CHAIN ? op.chain.count : 0;
    if (parts) run_chain(program, number, threads, nanoseconds ? nanoseconds + number : nullptr);
    else if (op.kind == SW_DEPTHWISE) run_depthwise(program, op, *program.depthwises[number], threads);
    else if (op.kind == SW_CONV) convolve(program, op, *program.convolutions[number], threads);
    else if (is_of_tokens(op)) right &= run_tokens(program, op, threads);
    else run_dense(program, op, pictures, threads);
    if (nanoseconds) {
      auto now = std::chrono::steady_clock::now();
      if (!parts) nanoseconds[number] = std::chrono::duration_cast<std::chrono::nanoseconds>(now - before).count();
      before = now;
    }
  }
  return right;
}

}  // namespace sapwood

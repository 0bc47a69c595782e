#include "chain.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace sapwood {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLine = SW_ALIGN / sizeof(float);
constexpr int64_t kGroupFloats = 4096;  // of the wide map at a time: a part of the fastest cache
constexpr int kMostPlanes = 16;

int64_t lines(int64_t floats) { return (floats + kLine - 1) / kLine * kLine; }

// The parts of a chain; the convolutions may be missing.
struct Parts {
  const sw_op* first = nullptr;
  const sw_op* depthwise = nullptr;
  const sw_op* last = nullptr;

  explicit Parts(const sw_op* ops) {
    for (const sw_op* op = ops + 1; op <= ops + ops->chain.count; ++op) {
      if (op->kind == SW_DEPTHWISE) depthwise = op;
      else (depthwise ? last : first) = op;
    }
  }
};

int64_t sums_of(const sw_op* op, int lanes) {
  if (!op || op->conv.num_chunks == 1) return 0;
  return lines(int64_t{op->conv.channels} * op->conv.rows * op->conv.columns * lanes);
}

struct ChainRun {
  sw_program* program;
  const sw_op* ops;
  Parts parts;
  Bands bands;
  const Convolution* first;
  const Depthwise* depthwise;
  const Convolution* last;
  bool timed;
  std::atomic<int64_t> spent[3];
};

// Rows of a convolution for the outputs `from` to `to`: `in`, `out` and `other` are value (row, 0) of channel 0.
void conv_rows(const Kernels& kernels, const sw_op& op, const Convolution& own, int count, int from, int to,
               const float* in, float* out, const float* other, float* sums) {
  const sw_conv& conv = op.conv;
  // Parts of rows that hold no values are left out: they are zero already.
  const bool whole = conv.columns * kernels.lanes == op.in.pitch;
  const int row_vectors = whole ? conv.columns : (conv.width + kernels.lanes - 1) / kernels.lanes;
  for (int row = 0; row < count; row += conv.rows)
    for (int column = 0; column < row_vectors; column += conv.columns) {
      const int columns = std::min(conv.columns, row_vectors - column);
      const int64_t at = int64_t{row} * op.in.pitch + int64_t{column} * kernels.lanes;
      Tile tile;
      tile.in = reinterpret_cast<const char*>(in + at);
      tile.mask = own.mask->get() + column * kernels.lanes;
      tile.row_vectors = columns;
      tile.vectors = std::min(conv.rows, count - row) * columns;
      tile.row = row;
      for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
        kernels.conv(tile, op, chunk, from, to, sums, out + at, other ? other + at : nullptr);
    }
}

// One band of rows of the result.
class Band {
 public:
  Band(ChainRun& run, int number, int thread)
      : run_(run),
        program_(*run.program),
        window_(run.parts.depthwise->depthwise),
        row_(number * run.ops->chain.rows),
        count_(std::min(run.ops->chain.rows, run.parts.depthwise->out.height - row_)),
        from_(row_ * window_.step[0] - window_.pad[0]),
        end_(from_ + (count_ - 1) * window_.step[0] + (window_.kernel[0] - 1) * window_.dilation[0] + 1),
        sums_(program_.scratch->get() + thread * program_.scratch_of_thread),
        wide_(sums_ + run.bands.sums),
        middle_(wide_ + run.bands.group * run.bands.wide_stride) {}

  void all() {
    if (run_.parts.first) std::fill(wide_, middle_, 0.0f);  // what surrounds the map's rows stays so
    const int channels = run_.parts.depthwise->out.channels, group = run_.parts.first ? run_.bands.group : channels;
    for (int channel = 0; channel < channels; channel += group) some(channel, std::min(channel + group, channels));
    if (run_.parts.last) last();
  }

 private:
  ChainRun& run_;
  const sw_program& program_;
  const sw_depthwise& window_;
  const int row_, count_;
  const int from_, end_;  // rows of the wide map that it reads
  float* sums_;
  float* wide_;
  float* middle_;
  Clock::time_point before_ = Clock::now();

  float* wide(int plane, int row) const {
    return wide_ + plane * run_.bands.wide_stride + run_.bands.wide_front +
           int64_t{row} * run_.parts.depthwise->in.pitch;
  }

  void some(int first, int last) {
    if (run_.parts.first) {
      if (run_.parts.first->conv.groups) widen(first, last, 0);  // whole blocks
      else widen_read(first, last);
      spend(0);
    }
    for (int channel = first; channel < last; ++channel) filter(channel, channel - first);
    spend(1);
  }

  // Those of some channels that a filter reads.
  void widen_read(int first, int last) const {
    for (int channel = first; channel < last; ++channel) {
      if (run_.depthwise->is_constant(channel)) continue;
      int end = channel + 1;
      while (end < last && !run_.depthwise->is_constant(end)) ++end;
      widen(channel, end, channel - first);
      channel = end;
    }
  }

  // Channels of the wide map, from plane `plane` of those that are kept on.
  void widen(int first, int last, int plane) const {
    const sw_op& op = *run_.parts.first;
    const int from = std::max(0, from_);
    const int count = std::min(op.out.height, end_) - from;
    if (count <= 0) return;
    sw_op own = op;
    own.out.stride = run_.bands.wide_stride;
    conv_rows(*program_.kernels, own, *run_.first, count, first, last, program_.row(op.in, 0, from),
              wide(plane, from - from_) - int64_t{first} * own.out.stride,
              op.other.channels ? program_.row(op.other, 0, from) : nullptr, sums_);
  }

  void filter(int channel, int plane) const {
    const sw_op& op = *run_.parts.depthwise;
    const float* in = run_.parts.first ? wide(plane, 0) : program_.row(op.in, channel / window_.multiplier, from_);
    float* out = run_.parts.last ? middle_ + channel * op.out.stride : program_.row(op.out, channel, row_);
    depthwise_rows(*program_.kernels, op, *run_.depthwise, channel, count_, in, out,
                   op.other.channels ? program_.row(op.other, channel, row_) : nullptr);
  }

  void last() {
    const sw_op& op = *run_.parts.last;
    conv_rows(*program_.kernels, op, *run_.last, count_, 0, op.conv.channels, middle_, program_.row(op.out, 0, row_),
              op.other.channels ? program_.row(op.other, 0, row_) : nullptr, sums_);
    spend(2);
  }

  void spend(int part) {
    if (!run_.timed) return;
    const auto now = Clock::now();
    run_.spent[part] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - before_).count();
    before_ = now;
  }
};

void chain_task(void* context, int number, int thread) { Band(*static_cast<ChainRun*>(context), number, thread).all(); }

// Of the time that all took, each part gets its share of what threads spent.
void share_time(const ChainRun& run, int64_t whole, int64_t* nanoseconds) {
  const int64_t all = std::max<int64_t>(1, run.spent[0] + run.spent[1] + run.spent[2]);
  int part = run.parts.first ? 0 : 1;
  nanoseconds[0] = 0;
  for (int at = 1; at <= run.ops->chain.count; ++at, ++part)
    nanoseconds[at] = static_cast<int64_t>(static_cast<double>(whole) * static_cast<double>(run.spent[part]) /
                                           static_cast<double>(all));
}

}  // namespace

Bands bands_of(const sw_op* ops, const Kernels& kernels) {
  const int lanes = kernels.lanes;
  const Parts parts(ops);
  const sw_op& op = *parts.depthwise;
  const sw_depthwise& window = op.depthwise;
  Bands found{std::max(sums_of(parts.first, lanes), sums_of(parts.last, lanes)), 0, 0, 0, 0, 0};
  if (parts.first) {
    const int64_t vectors = (op.out.width + lanes - 1) / lanes;
    const int64_t reach =
        (vectors * lanes - 1) * window.step[1] + int64_t{window.kernel[1] - 1} * window.dilation[1] + 2 - window.pad[1];
    found.wide_rows =
        int64_t{ops->chain.rows - 1} * window.step[0] + int64_t{window.kernel[0] - 1} * window.dilation[0] + 1;
    found.wide_front = lines(window.pad[1]);
    found.wide_stride =
        lines(found.wide_front + found.wide_rows * op.in.pitch + std::max<int64_t>(0, reach - op.in.pitch));
    found.group =
        static_cast<int32_t>(std::min<int64_t>({kMostPlanes, op.out.channels, kGroupFloats / found.wide_stride + 1}));
    if (parts.first->conv.groups) found.group = std::max(1, found.group / kernels.block) * kernels.block;
  }
  if (parts.last) found.middle = op.out.channels * op.out.stride;
  return found;
}

void run_chain(sw_program& program, size_t number, int threads, int64_t* nanoseconds) {
  const sw_op* ops = &program.ops[number];
  const auto before = Clock::now();
  ChainRun run{&program, ops,     Parts(ops), bands_of(ops, *program.kernels),
               nullptr,  nullptr, nullptr,    nanoseconds != nullptr,
               {}};
  const auto of = [&](const sw_op* op) { return number + static_cast<size_t>(op - ops); };
  if (run.parts.first) run.first = program.convolutions[of(run.parts.first)].get();
  run.depthwise = program.depthwises[of(run.parts.depthwise)].get();
  if (run.parts.last) run.last = program.convolutions[of(run.parts.last)].get();
  const int height = run.parts.depthwise->out.height, bands = (height + ops->chain.rows - 1) / ops->chain.rows;
  program.pool.run(&chain_task, &run, bands, run.depthwise->alone ? 1 : threads);
  if (nanoseconds)
    share_time(run, std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - before).count(), nanoseconds);
}

}  // namespace sapwood

#include "depthwise.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "program.h"
#include "strips.h"

namespace sapwood {
namespace {

constexpr int64_t kTaskFloats = 8192;  // of the result: what makes a task worth its ticket

struct DepthwiseRun {
  sw_program* program;
  const sw_op* op;
  const Depthwise* own;
  int channels;  // of a task
  int rows;      // of a task
  int bands;     // of a plane
};

// All bits set where value `shift` columns away is of the same row of a strip, and inside of the map.
void set_mask(const sw_op& op, int64_t shift, float* mask) {
  for (int row = 0; row < op.out.height; ++row)
    for (int column = 0; column < op.out.width; ++column)
      if (column + shift >= 0 && column + shift < op.out.width)
        std::memset(mask + static_cast<int64_t>(row) * op.out.pitch + column, 0xff, sizeof(float));
}

// The taps of a strip: those first that never read another row where they leave theirs. Where a channel has few, all go
// through masks: the end of a loop is guessed wrong, and costs more.
void own_strip(const sw_op& op, int lanes, Depthwise& own) {
  const sw_depthwise& window = op.depthwise;
  const int64_t floats = strip_vectors(op, lanes) * lanes, spare = op.out.pitch - op.out.width;
  std::vector<int64_t> shifts{0};  // that have a mask
  const auto shift_of = [&](int right) { return int64_t{right} * window.dilation[1] - window.pad[1]; };
  const auto is_plain = [&](int right) { return std::abs(shift_of(right)) <= spare; };
  std::vector<int32_t> mask_of(window.kernel[1]);
  for (int right = 0; right < window.kernel[1]; ++right) {
    if (is_plain(right) || std::abs(shift_of(right)) >= op.out.width) continue;
    mask_of[right] = static_cast<int32_t>(shifts.size() * floats);
    shifts.push_back(shift_of(right));
  }
  own.masks = std::make_unique<Floats>(static_cast<int64_t>(shifts.size()) * floats);
  for (size_t at = 0; at < shifts.size(); ++at) set_mask(op, shifts[at], own.masks->get() + at * floats);
  own.mask = std::make_unique<Floats>(floats);
  set_mask(op, 0, own.mask->get());
  for (int channel = 0; channel < op.out.channels; ++channel) {
    const float* weights = window.weights + int64_t{channel} * window.kernel[0] * window.kernel[1];
    for (const bool plain : {true, false}) {
      for (int down = 0; down < window.kernel[0]; ++down)
        for (int right = 0; right < window.kernel[1]; ++right) {
          const float weight = weights[down * window.kernel[1] + right];
          if (weight == 0.0f || is_plain(right) != plain || std::abs(shift_of(right)) >= op.out.width) continue;
          const int64_t row = int64_t{down} * window.dilation[0] - window.pad[0];
          own.taps.push_back({static_cast<int32_t>(row * op.in.pitch + shift_of(right)), weight});
          own.beside.push_back(mask_of[right]);
        }
      if (plain) own.plain.push_back(static_cast<int64_t>(own.taps.size()));
    }
    own.starts.push_back(static_cast<int64_t>(own.taps.size()));
    if (3 * (own.starts[channel + 1] - own.starts[channel]) <= window.kernel[0] * window.kernel[1])
      own.plain[channel] = own.starts[channel];
  }
}

void strip_channel(const sw_program& program, const sw_op& op, const Depthwise& own, int channel) {
  const int64_t first = own.starts[channel];
  const sw_entry* taps = own.taps.data();
  program.kernels->depthwise_strip(
      op, {program.row(op.in, channel / op.depthwise.multiplier, 0), program.row(op.out, channel, 0),
           op.other.channels ? program.row(op.other, channel, 0) : nullptr, own.mask->get(),
           static_cast<int>(strip_vectors(op, program.kernels->lanes)), taps + first, taps + own.plain[channel],
           taps + own.starts[channel + 1], own.beside.data() + first, own.masks->get(), op.depthwise.bias[channel]});
}

void depthwise_task(void* context, int number, int) {
  const DepthwiseRun& run = *static_cast<DepthwiseRun*>(context);
  const sw_op& op = *run.op;
  const sw_program& program = *run.program;
  const int first = number / run.bands * run.channels, last = std::min(first + run.channels, op.out.channels);
  if (op.depthwise.strip) {
    for (int channel = first; channel < last; ++channel) strip_channel(program, op, *run.own, channel);
    return;
  }
  const int row = number % run.bands * run.rows, count = std::min(run.rows, op.out.height - row);
  for (int channel = first; channel < last; ++channel)
    depthwise_rows(
        *program.kernels, op, *run.own, channel, count,
        program.row(op.in, channel / op.depthwise.multiplier, row * op.depthwise.step[0] - op.depthwise.pad[0]),
        program.row(op.out, channel, row), op.other.channels ? program.row(op.other, channel, row) : nullptr);
}

}  // namespace

std::shared_ptr<const Depthwise> own_depthwise(sw_op& op, int lanes, bool alone) {
  auto own = std::make_shared<Depthwise>();
  sw_depthwise& window = op.depthwise;
  own->alone = alone;
  own->weights.assign(window.weights, window.weights + window.num_weights);
  own->bias.assign(window.bias, window.bias + window.num_bias);
  window.weights = own->weights.data();
  window.bias = own->bias.data();
  own->starts.push_back(0);
  if (window.strip) {
    own_strip(op, lanes, *own);
    return own;
  }
  own->mask = std::make_unique<Floats>(std::max(op.out.pitch, lanes));
  std::memset(own->mask->get(), 0xff, static_cast<size_t>(op.out.width) * sizeof(float));
  const float* weight = window.weights;
  for (int channel = 0; channel < op.out.channels; ++channel) {
    for (int down = 0; down < window.kernel[0]; ++down)
      for (int right = 0; right < window.kernel[1]; ++right, ++weight)
        if (*weight != 0.0f)
          own->taps.push_back({down * window.dilation[0] * op.in.pitch + right * window.dilation[1], *weight});
    own->starts.push_back(static_cast<int64_t>(own->taps.size()));
  }
  return own;
}

void depthwise_rows(const Kernels& kernels, const sw_op& op, const Depthwise& own, int channel, int count,
                    const float* in, float* out, const float* other) {
  const sw_depthwise& window = op.depthwise;
  const DepthwiseRows rows{in - window.pad[1],
                           op.in.pitch,
                           out,
                           op.out.pitch,
                           other,
                           op.other.pitch,
                           own.mask->get(),
                           {window.step[0], window.step[1]},
                           (op.out.width + kernels.lanes - 1) / kernels.lanes,
                           count};
  const Filter filter{window.weights + static_cast<int64_t>(channel) * window.kernel[0] * window.kernel[1],
                      own.taps.data() + own.starts[channel], own.taps.data() + own.starts[channel + 1],
                      window.bias[channel]};
  kernels.depthwise(op, rows, filter);
}

void run_depthwise(sw_program& program, const sw_op& op, const Depthwise& own, int threads) {
  const int64_t plane = static_cast<int64_t>(op.out.height) * op.out.pitch;
  const int channels = static_cast<int>(std::min<int64_t>(op.out.channels, kTaskFloats / plane + 1));
  DepthwiseRun run{&program, &op, &own, channels, op.out.height, 1};
  const int groups = (op.out.channels + channels - 1) / channels;
  if (threads > 1 && groups < 4 * threads &&
      !op.depthwise.strip) {  // few planes: their rows are split as well, in fours as kernels take them
    run.rows = std::max(4, (op.out.height / (4 * threads) + 3) / 4 * 4);
    run.bands = (op.out.height + run.rows - 1) / run.rows;
  }
  program.pool.run(&depthwise_task, &run, groups * run.bands, own.alone ? 1 : threads);
}

}  // namespace sapwood

#include "depthwise.h"

#include <algorithm>
#include <cstring>

#include "program.h"

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

void depthwise_task(void* context, int number, int) {
  const DepthwiseRun& run = *static_cast<DepthwiseRun*>(context);
  const sw_op& op = *run.op;
  const sw_program& program = *run.program;
  const int first = number / run.bands * run.channels, last = std::min(first + run.channels, op.out.channels);
  const int row = number % run.bands * run.rows, count = std::min(run.rows, op.out.height - row);
  for (int channel = first; channel < last; ++channel)
    depthwise_rows(
        *program.kernels, op, *run.own, channel, count,
        program.row(op.in, channel / op.depthwise.multiplier, row * op.depthwise.step[0] - op.depthwise.pad[0]),
        program.row(op.out, channel, row), op.other.channels ? program.row(op.other, channel, row) : nullptr);
}

}  // namespace

std::shared_ptr<const Depthwise> own_depthwise(sw_op& op, bool alone) {
  auto own = std::make_shared<Depthwise>();
  sw_depthwise& window = op.depthwise;
  own->alone = alone;
  own->weights.assign(window.weights, window.weights + window.num_weights);
  own->bias.assign(window.bias, window.bias + window.num_bias);
  own->mask = std::make_unique<Floats>(op.out.pitch);
  std::memset(own->mask->get(), 0xff, static_cast<size_t>(op.out.width) * sizeof(float));
  window.weights = own->weights.data();
  window.bias = own->bias.data();
  own->starts.push_back(0);
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
  if (threads > 1 && groups < 4 * threads) {  // few planes: their rows are split as well, in fours as kernels take them
    run.rows = std::max(4, (op.out.height / (4 * threads) + 3) / 4 * 4);
    run.bands = (op.out.height + run.rows - 1) / run.rows;
  }
  program.pool.run(&depthwise_task, &run, groups * run.bands, own.alone ? 1 : threads);
}

}  // namespace sapwood

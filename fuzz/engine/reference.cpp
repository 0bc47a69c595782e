// Every operation done slowly, one value after the other, in double precision.
#include <algorithm>
#include <cmath>

#include "programs.h"

namespace fuzz {
namespace {

double activated(double x, const sw_op& op) {
  const auto clamp = [](double value) { return std::min(std::max(value, 0.0), 6.0); };
  switch (op.activation) {
    case SW_LEAKY: return std::max(x, x * op.slope);
    case SW_SILU: return x / (1.0 + std::exp(-x));
    case SW_MISH: return x * std::tanh(std::log1p(std::exp(x)));
    case SW_HARDSWISH: return x * clamp(x + 3.0) / 6.0;
    case SW_SIGMOID: return 1.0 / (1.0 + std::exp(-x));
    case SW_TANH: return std::tanh(x);
    case SW_RELU6: return clamp(x);
    case SW_HARDSIGMOID: return clamp(x + 3.0) / 6.0;
    default: return x;
  }
}

class Slow {
 public:
  Slow(const Program& program, const std::vector<std::vector<float>>& inputs)
      : arena_(program.arena + 8192), program_(program), inputs_(inputs) {}

  void run(std::vector<std::vector<float>>& outputs) {
    for (size_t number = 0; number < program_.ops.size(); ++number) {
      const sw_op op = moved(program_.ops[number]);
      if (op.kind == SW_CHAIN) continue;
      if (program_.ops[number].kind == SW_CONV && program_.ops[number].in.offset < 0)
        places(op, program_.ops[number].in);
      else if (op.kind == SW_DEPTHWISE) filter(op);
      else if (op.kind == SW_UNPACK) unpack(op, outputs);
      else if (op.kind == SW_CONV) convolve(op);
      else if (op.kind == SW_PACK && op.pack.phased)
        phases(op, op.pack.step, op.pack.channels, op.pack.height, op.pack.width);
      else if (op.kind == SW_PHASES) phases(op, op.phases.step, op.in.channels, op.in.height, op.in.width);
      else each(op);
    }
  }

  float largest = 1.0f;

 private:
  std::vector<double> arena_;
  const Program& program_;
  const std::vector<std::vector<float>>& inputs_;

  // What a chain hands on stands behind the arena, whole: two maps at a time.
  sw_op moved(sw_op op) {
    if (op.in.offset < 0) op.in = last_;
    if (op.out.offset < 0) {
      op.out.stride = int64_t{op.out.height} * op.out.pitch;
      op.out.offset = static_cast<int64_t>(arena_.size()) - 4096;
      arena_.resize(arena_.size() + op.out.channels * op.out.stride);
      last_ = op.out;
    }
    return op;
  }

  // A convolution whose entries say which channel they read.
  void places(const sw_op& op, const sw_map& rows) {
    const sw_conv& conv = op.conv;
    for (int channel = 0; channel < conv.channels; ++channel)
      for (int row = 0; row < conv.height; ++row)
        for (int column = 0; column < conv.width; ++column) {
          double sum = conv.bias[channel];
          for (int chunk = 0; chunk < conv.num_chunks; ++chunk) {
            const int64_t list = (int64_t{chunk} * conv.channels + channel) * 3 + 2;
            for (int64_t number = conv.starts[list]; number < conv.starts[list + 1]; ++number)
              sum += conv.entries[number].value * at(op.in, conv.entries[number].offset / 4 / rows.stride, row, column);
          }
          put(op, channel, row, column, activated(sum, op));
        }
  }

  void filter(const sw_op& op) {
    const sw_depthwise& window = op.depthwise;
    for (int channel = 0; channel < op.out.channels; ++channel)
      for (int row = 0; row < op.out.height; ++row)
        for (int column = 0; column < op.out.width; ++column) {
          const float* weight = window.weights + int64_t{channel} * window.kernel[0] * window.kernel[1];
          double sum = window.bias[channel] + (op.other.channels ? at(op.other, channel, row, column) : 0.0);
          for (int down = 0; down < window.kernel[0]; ++down)
            for (int right = 0; right < window.kernel[1]; ++right, ++weight) {
              const int y = row * window.step[0] - window.pad[0] + down * window.dilation[0];
              const int x = column * window.step[1] - window.pad[1] + right * window.dilation[1];
              if (y >= 0 && x >= 0 && y < op.in.height && x < op.in.width)
                sum += *weight * at(op.in, channel / window.multiplier, y, x);
            }
          put(op, channel, row, column, activated(sum, op));
        }
  }

  sw_map last_{};

  double& at(const sw_map& map, int64_t channel, int64_t row, int64_t column) {
    return arena_[4096 + map.offset + channel * map.stride + (row + map.margin) * map.pitch + column];
  }

  void put(const sw_op& op, int64_t channel, int64_t row, int64_t column, double value) {
    at(op.out, channel, row, column) = value;
    if (std::isfinite(value)) largest = std::max(largest, static_cast<float>(std::fabs(value)));
  }

  void unpack(const sw_op& op, std::vector<std::vector<float>>& outputs) {
    auto& into = outputs[op.unpack.index];
    into.clear();
    for (int channel = 0; channel < op.in.channels; ++channel)
      for (int row = 0; row < op.in.height; ++row)
        for (int column = 0; column < op.in.width; ++column)
          into.push_back(static_cast<float>(at(op.in, channel, row, column)));
  }

  void phases(const sw_op& op, const int32_t (&step)[2], int64_t channels, int64_t height, int64_t width) {
    for (int64_t plane = 0; plane < op.out.channels; ++plane)
      for (int64_t row = 0; row < op.out.height; ++row)
        for (int64_t column = 0; column < op.out.width; ++column) {
          const int64_t channel = plane % channels, phase = plane / channels;
          const int64_t y = row * step[0] + phase / step[1], x = column * step[1] + phase % step[1];
          const bool inside = y < height && x < width;
          double value = 0.0;
          if (inside && op.kind == SW_PACK) value = inputs_[op.pack.index][(channel * height + y) * width + x];
          if (inside && op.kind == SW_PHASES) value = at(op.in, channel, y, x);
          put(op, plane, row, column, op.kind == SW_PACK ? value : activated(value, op));
        }
  }

  void each(const sw_op& op) {
    for (int channel = 0; channel < op.out.channels; ++channel)
      for (int row = 0; row < op.out.height; ++row)
        for (int column = 0; column < op.out.width; ++column) {
          const double value = one(op, channel, row, column);
          put(op, channel, row, column, op.kind == SW_PACK ? value : activated(value, op));
        }
  }

  double one(const sw_op& op, int channel, int row, int column) {
    const bool single = op.other.height == 1 && op.other.width == 1;
    switch (op.kind) {
      case SW_PACK:
        return inputs_[op.pack.index][(static_cast<int64_t>(channel) * op.out.height + row) * op.out.width + column];
      case SW_UPSAMPLE: return at(op.in, channel, row / op.upsample.step[0], column / op.upsample.step[1]);
      case SW_ADD: return at(op.in, channel, row, column) + at(op.other, channel, row, column);
      case SW_MUL:
        return at(op.in, channel, row, column) * at(op.other, channel, single ? 0 : row, single ? 0 : column);
      case SW_COPY: return at(op.in, channel, row, column);
      default: return window(op, channel, row, column);
    }
  }

  double window(const sw_op& op, int channel, int row, int column) {
    const sw_pool& pool = op.pool;
    double sum = 0.0, most = -INFINITY;
    int count = 0;
    for (int down = 0; down < pool.kernel[0]; ++down)
      for (int right = 0; right < pool.kernel[1]; ++right) {
        const int y = row * pool.step[0] - pool.pad[0] + down, x = column * pool.step[1] - pool.pad[1] + right;
        if (y < 0 || x < 0 || y >= op.in.height || x >= op.in.width) continue;
        sum += at(op.in, channel, y, x);
        most = std::max(most, at(op.in, channel, y, x));
        ++count;
      }
    if (op.kind == SW_MAXPOOL) return most;
    return sum / (pool.all_places ? pool.kernel[0] * pool.kernel[1] : count);
  }

  void convolve(const sw_op& op) {
    const sw_conv& conv = op.conv;
    for (int channel = 0; channel < conv.channels; ++channel)
      for (int row = 0; row < conv.height; ++row)
        for (int column = 0; column < conv.width; ++column) {
          double sum = conv.bias[channel] + (op.other.channels ? at(op.other, channel, row, column) : 0.0);
          for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
            for (int list = 0; list < 3; ++list) {
              const int64_t place = (int64_t{chunk} * conv.channels + channel) * 3 + list;
              const int64_t moved = list == 0 ? -1 : list == 1 ? 1 : 0;
              if (column + moved < 0) continue;
              for (int64_t number = conv.starts[place]; number < conv.starts[place + 1]; ++number) {
                const int64_t from = 4096 + op.in.offset + (row + int64_t{op.in.margin}) * op.in.pitch + column + moved;
                sum += conv.entries[number].value * arena_[from + conv.entries[number].offset / 4];
              }
            }
          const int64_t plane = conv.phased ? (row % 2 * 2 + column % 2) * conv.channels + channel : channel;
          put(op, plane, conv.phased ? row / 2 : row, conv.phased ? column / 2 : column, activated(sum, op));
        }
  }
};

}  // namespace

std::vector<std::vector<float>> reference(const Program& program, const std::vector<std::vector<float>>& inputs,
                                          float& largest) {
  std::vector<std::vector<float>> outputs(program.ops.size());
  Slow slow(program, inputs);
  slow.run(outputs);
  largest = slow.largest;
  return outputs;
}

}  // namespace fuzz

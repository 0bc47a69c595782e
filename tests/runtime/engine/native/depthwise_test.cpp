// Depthwise convolutions against sums in double, over windows, strides and sizes of all kinds; and what the checks of
// them and of chains refuse.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"
#include "depthwise.h"
#include "dispatch.h"
#include "expect.h"
#include "program.h"

namespace tests {
namespace {

using sapwood::Kernels;

constexpr int64_t kArena = 1 << 16;

float number(int64_t seed) { return static_cast<float>((seed * 2654435761u >> 7) % 2001) / 1000.0f - 1.0f; }

struct Window {
  int kernel[2], step[2], dilation[2], pad[2], multiplier, height, width, activation;
  bool with_other;
  int zeros;            // of ten weights
  int spare = -1;       // of a strip: columns behind a row; or else it is none
  bool halves = false;  // rows of the result are half a vector
};

int results(const Window& one, int side, int size) {
  return (size + 2 * one.pad[side] - one.dilation[side] * (one.kernel[side] - 1) - 1) / one.step[side] + 1;
}

sw_map map_of(int64_t offset, int channels, int height, int width, int margin, int pitch) {
  const int64_t plane = int64_t{height + 2 * margin} * pitch;
  return {offset, (plane + 15) / 16 * 16, channels, height, width, margin, pitch, 0};
}

double activated(double x, int activation) {
  switch (activation) {
    case SW_LEAKY: return std::max(x, 0.25 * x);
    case SW_RELU6: return std::min(std::max(x, 0.0), 6.0);
    case SW_HARDSWISH: return x * std::min(std::max(x + 3.0, 0.0), 6.0) / 6.0;
    case SW_SILU: return x / (1.0 + std::exp(-x));
    default: return x;
  }
}

class Filtered {
 public:
  Filtered(const Kernels& kernels, const Window& one)
      : one_(one), height_(results(one, 0, one.height)), width_(results(one, 1, one.width)) {
    const int lanes = kernels.lanes, outputs = kInputs * one.multiplier;
    const auto pitch = [&](int floats) { return (floats + lanes - 1) / lanes * lanes; };
    const int margin = std::max({one.pad[0] + 1, height_ * one.step[0] + one.kernel[0] * one.dilation[0] - one.height});
    std::memset(&op_, 0, sizeof(op_));
    op_.kind = SW_DEPTHWISE;
    op_.activation = one.activation;
    op_.slope = 0.25f;
    op_.in = map_of(64, kInputs, one.height, one.width, margin,
                    pitch(one.width + one.pad[1] + one.kernel[1] * one.dilation[1] + one.step[1]));
    op_.out = map_of(op_.in.offset + kInputs * op_.in.stride + 64, outputs, height_, width_, 1, pitch(width_ + 1));
    if (one.spare >= 0) {  // rows of zeros after which a vector begins
      op_.depthwise.strip = 1;
      op_.in = map_of(64, kInputs, one.height, one.width, 2 * lanes, one.width + one.spare);
      op_.out = map_of(op_.in.offset + kInputs * op_.in.stride + 64, outputs, height_, width_, lanes, op_.in.pitch);
    }
    if (one.halves)
      op_.out = map_of(op_.in.offset + kInputs * op_.in.stride + 64, outputs, height_, width_, 2, lanes / 2);
    if (one.with_other) {
      op_.other = op_.out;
      op_.other.offset += outputs * op_.out.stride + 64;
    }
    for (int at = 0; at < outputs * one.kernel[0] * one.kernel[1]; ++at)
      weights_.push_back(at * 7 % 10 < one.zeros ? 0.0f : number(at));
    for (int channel = 0; channel < outputs; ++channel) bias_.push_back(number(channel + 99));
    sw_depthwise& window = op_.depthwise;
    window.multiplier = one.multiplier;
    for (int side = 0; side < 2; ++side) {
      window.kernel[side] = one.kernel[side], window.step[side] = one.step[side];
      window.dilation[side] = one.dilation[side], window.pad[side] = one.pad[side];
    }
    window.weights = weights_.data(), window.bias = bias_.data();
    window.num_weights = static_cast<int64_t>(weights_.size()), window.num_bias = outputs;
  }

  void check(int threads) {
    const auto program = sapwood::make_program(&op_, 1, kArena);
    sapwood::prepare(*program, threads);
    const sw_op& op = program->ops[0];
    fill(*program, op.in, 1);
    if (one_.with_other) fill(*program, op.other, 2);
    sapwood::run_depthwise(*program, op, *program->depthwises[0], threads);
    for (int channel = 0; channel < op.out.channels; ++channel)
      for (int row = -1; row <= height_; ++row)
        for (int column = 0; column < op.out.pitch; ++column) {
          const float found = program->row(op.out, channel, row)[column];
          const bool inside = row >= 0 && row < height_ && column < width_;
          const double sum = inside ? wanted(*program, channel, row, column) : 0.0;
          EXPECT(std::fabs(found - (inside ? activated(sum, one_.activation) : 0.0)) <=
                 1e-5 * std::max(1.0, std::fabs(sum)));
        }
  }

 private:
  static constexpr int kInputs = 3;
  const Window one_;
  const int height_, width_;
  sw_op op_;
  std::vector<float> weights_, bias_;

  static void fill(sw_program& program, const sw_map& map, int seed) {
    for (int channel = 0; channel < map.channels; ++channel)
      for (int row = 0; row < map.height; ++row)
        for (int column = 0; column < map.width; ++column)
          program.row(map, channel, row)[column] = number(seed + channel * 977 + row * 31 + column);
  }

  double wanted(const sw_program& program, int channel, int row, int column) const {
    const float* weight = weights_.data() + channel * one_.kernel[0] * one_.kernel[1];
    double sum = bias_[channel];
    if (one_.with_other) sum += program.row(op_.other, channel, row)[column];
    for (int down = 0; down < one_.kernel[0]; ++down)
      for (int right = 0; right < one_.kernel[1]; ++right, ++weight) {
        const int y = row * one_.step[0] - one_.pad[0] + down * one_.dilation[0];
        const int x = column * one_.step[1] - one_.pad[1] + right * one_.dilation[1];
        if (y < 0 || y >= one_.height || x < 0 || x >= one_.width) continue;
        sum += static_cast<double>(*weight) * program.row(op_.in, channel / one_.multiplier, y)[x];
      }
    return sum;
  }
};

void check_windows(const Kernels& kernels) {
  const int activations[] = {SW_LINEAR, SW_LEAKY, SW_RELU6, SW_HARDSWISH, SW_SILU};
  int number = 0;
  const auto each = [&](int rows, int columns, int down, int right, int gap) {
    for (int width : {1, 3, 7, kernels.lanes, 2 * kernels.lanes + 1, 3 * kernels.lanes}) {
      const int tall = gap * (rows - 1) + 1, height = 1 + number % 13;
      Window one{{rows, columns},
                 {down, right},
                 {gap, gap},
                 {},
                 1 + number % 7 / 6,
                 height,
                 width,
                 activations[number % 5],
                 number % 3 == 0,
                 number % 4 == 0   ? 8
                 : number % 4 == 1 ? 10
                                   : 0};
      one.pad[0] = std::max(number % 2 ? rows / 2 : 0, (tall - height + 1) / 2);
      one.pad[1] = std::max(columns / 2, (gap * (columns - 1) + 1 - width + 1) / 2);
      Filtered(kernels, one).check(1 + number++ % 3);
    }
  };
  for (int size : {1, 3, 5, 7})
    for (int step : {1, 2, 3}) each(size, size, step, step, 1), each(size, size, step, step, 2);
  each(1, 5, 1, 1, 1), each(5, 1, 2, 1, 1), each(3, 3, 1, 2, 1), each(2, 4, 2, 2, 1), each(9, 9, 1, 1, 1);
}

void check_strips(const Kernels& kernels) {
  const int activations[] = {SW_LINEAR, SW_LEAKY, SW_RELU6, SW_HARDSWISH, SW_SILU};
  int number = 0;
  for (int side : {1, 3, 5, 7})
    for (int gap : {1, 2})
      for (int width : {1, 2, 4, 7, 13, 20})
        for (int spare : {0, 1, 3}) {
          const int reach = gap * (side - 1) / 2;
          const Window one{{side, side},
                           {1, 1},
                           {gap, gap},
                           {reach, reach},
                           1 + number % 7 / 6,
                           1 + number % 13,
                           width,
                           activations[number % 5],
                           number % 3 == 0,
                           number % 4 == 0   ? 9
                           : number % 4 == 1 ? 10
                                             : 2,
                           spare};
          Filtered(kernels, one).check(1 + number++ % 3);
        }
}

void check_halves(const Kernels& kernels) {
  int number = 0;
  for (int side : {3, 5, 9})
    for (int step : {1, 2})
      for (int width = 1; width <= kernels.lanes / 2; ++width, ++number) {
        const int pad = side / 2, source = step * width;
        const Window one{{side, side},
                         {step, step},
                         {1, 1},
                         {pad, pad},
                         1,
                         1 + number % 13,
                         source,
                         SW_HARDSWISH,
                         number % 3 == 0,
                         number % 4 == 0 ? 8 : 0,
                         -1,
                         true};
        Filtered(kernels, one).check(1 + number % 3);
      }
}

// A chain of a CONV, a DEPTHWISE and a CONV over maps of 8 rows, which `change` may break.
std::string refused(const std::function<void(std::vector<sw_op>&)>& change) {
  const Kernels& kernels = *sapwood::current();
  const int lanes = kernels.lanes;
  std::vector<sw_op> ops(4);
  std::memset(ops.data(), 0, sizeof(sw_op) * ops.size());
  const sw_map in = map_of(64, 2, 8, 3, 1, lanes);
  sw_map wide = map_of(-1, 2, 8, 3, 0, lanes);
  wide.stride = 0;
  sw_map middle = wide;
  middle.stride = (4 * lanes + 15) / 16 * 16;
  const sw_map out = map_of(in.offset + 2 * in.stride + 64, 2, 8, 3, 0, lanes);
  static const int64_t starts[] = {0, 0, 0, 1, 1, 1, 2};
  static sw_entry entries[2] = {}, places[2] = {};
  static const float bias[2] = {}, weights[18] = {};
  places[1].offset = static_cast<int32_t>(4 * middle.stride);
  ops[0].kind = SW_CHAIN;
  ops[0].chain = {3, 4};
  for (int at : {1, 3}) {
    ops[at].kind = SW_CONV;
    ops[at].in = at == 1 ? in : middle;
    ops[at].out = at == 1 ? wide : out;
    ops[at].conv = {};
    sw_conv& conv = ops[at].conv;
    conv.channels = 2, conv.height = 8, conv.width = 3, conv.rows = 1, conv.columns = 1, conv.num_chunks = 1;
    conv.starts = starts, conv.entries = at == 1 ? entries : places, conv.bias = bias;
    conv.num_starts = 7, conv.num_entries = 2, conv.num_bias = 2;
  }
  ops[2].kind = SW_DEPTHWISE;
  ops[2].in = wide;
  ops[2].out = middle;
  ops[2].depthwise = {1, {3, 3}, {1, 1}, {1, 1}, {1, 1}, 0, weights, bias, 18, 2};
  change(ops);
  try {
    sapwood::make_program(ops.data(), static_cast<int32_t>(ops.size()), out.offset + 2 * out.stride);
  } catch (const std::exception& problem) {
    return problem.what();
  }
  return "";
}

void expect_refused(const std::string& why, const std::function<void(std::vector<sw_op>&)>& change) {
  const std::string found = refused(change);
  if (found != why) std::fprintf(stderr, "found %s\n", found.c_str());
  EXPECT(found == why);
}

using Ops = std::vector<sw_op>;

}  // namespace

void depthwise() {
  const Kernels* before = sapwood::current();
  for (const char* isa : {"avx512", "avx2", "neon", "scalar"})
    if (const Kernels* kernels = sapwood::kernels_of(isa)) {
      sapwood::current() = kernels;
      check_windows(*kernels);
      check_strips(*kernels);
      check_halves(*kernels);
    }
  sapwood::current() = before;
}

void chains() {
  expect_refused("", [](Ops&) {});
  expect_refused("operation 0: a chain must have 2 or 3 operations", [](Ops& ops) { ops[0].chain.count = 1; });
  expect_refused("operation 0: a chain must have 2 or 3 operations", [](Ops& ops) { ops[0].chain.count = 4; });
  expect_refused("operation 0: the operations of a chain are missing", [](Ops& ops) { ops.pop_back(); });
  expect_refused("operation 0: a chain must go by rows of its result", [](Ops& ops) { ops[0].chain.rows = 0; });
  expect_refused("operation 0: a chain must go by rows of its result", [](Ops& ops) { ops[0].chain.rows = 9; });
  const std::string kinds =
      "operation 0: a chain must be a CONV, a DEPTHWISE and a CONV, of which one CONV may be missing";
  expect_refused(kinds, [](Ops& ops) { ops[2].kind = SW_CONV; });
  expect_refused(kinds, [](Ops& ops) { ops[1].kind = SW_COPY; });
  expect_refused(kinds, [](Ops& ops) { ops[3].kind = SW_CHAIN; });
  expect_refused(kinds, [](Ops& ops) { std::swap(ops[1], ops[2]); });
  expect_refused("operation 0: phases are not handed on", [](Ops& ops) { ops[1].conv.phased = 1; });
  expect_refused("operation 0: a chain does not end in phases", [](Ops& ops) { ops[3].conv.phased = 1; });
  expect_refused("operation 0: each channel must be read once where one is made",
                 [](Ops& ops) { ops[2].depthwise.multiplier = 2; });
  expect_refused("operation 2: a chain has no strips", [](Ops& ops) { ops[2].depthwise.strip = 1; });
  expect_refused("operation 2: a strip is 0 or 1", [](Ops& ops) { ops[2].depthwise.strip = 2; });
  expect_refused("operation 1: output: what a chain hands on stands in no arena",
                 [](Ops& ops) { ops[1].out.offset = 0; });
  expect_refused("operation 2: input: what a chain hands on stands in no arena",
                 [](Ops& ops) { ops[2].in.margin = 1; });
  expect_refused("operation 1: output: planes must be lines", [](Ops& ops) { ops[1].out.stride = -16; });
  expect_refused("operation 2: output: planes must be lines", [](Ops& ops) { ops[2].out.stride = 8; });
  expect_refused("operation 1: input: planes must start on cache lines", [](Ops& ops) { ops[1].in.offset = -1; });
  expect_refused("operation 3: output: planes must start on cache lines", [](Ops& ops) { ops[3].out.offset = -1; });
  expect_refused("operation 0: a part must read what the part in front of it makes",
                 [](Ops& ops) { ops[2].out.pitch += sapwood::current()->lanes; });
  expect_refused("operation 0: the rows that a chain hands on do not fit", [](Ops& ops) { ops[0].chain.rows = 5; });
  expect_refused("operation 3: planes of rows that are handed on overlap", [](Ops& ops) { ops[3].in.stride = 0; });
  expect_refused("operation 3: entry 1 reads another place than its own", [](Ops& ops) { ops[3].in.stride += 16; });
  expect_refused("operation 0: input and output share places", [](Ops& ops) { ops[3].out.offset = ops[1].in.offset; });
  expect_refused("operation 0: input and output share places", [](Ops& ops) { ops[2].other = ops[3].out; });
  expect_refused("operation 2: there must be a window and a bias for each channel",
                 [](Ops& ops) { ops[2].depthwise.num_weights = 17; });
  expect_refused("operation 2: kernel, step and dilation do not fit", [](Ops& ops) { ops[2].depthwise.step[1] = 0; });
  expect_refused("operation 2: the output does not have the result's size",
                 [](Ops& ops) { ops[2].depthwise.pad[0] = 0; });
}

}  // namespace tests

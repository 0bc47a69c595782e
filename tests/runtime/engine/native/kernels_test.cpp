// Every instruction set's kernels beside the plain way to say the same.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "dispatch.h"
#include "expect.h"
#include "floats.h"

namespace tests {
namespace {

using sapwood::Floats;
using sapwood::Kernels;

constexpr float kUntouched = -77.0f;

void for_each_isa(void (*test)(const Kernels&)) {
  int tested = 0;
  for (const char* isa : {"avx512", "avx2", "neon", "scalar"})
    if (const Kernels* kernels = sapwood::kernels_of(isa)) {
      EXPECT(kernels->name == std::string(isa));
      test(*kernels);
      ++tested;
    }
  EXPECT(tested >= 1);
}

float number(int seed) { return static_cast<float>((seed * 7919 + 13) % 2001 - 1000) / 250.0f; }

double plain(double x, int activation, double slope) {
  const auto clamp = [](double value) { return std::min(std::max(value, 0.0), 6.0); };
  switch (activation) {
    case SW_LINEAR: return x;
    case SW_LEAKY: return std::max(x, x * slope);
    case SW_SILU: return x / (1.0 + std::exp(-x));
    case SW_MISH: return x * std::tanh(std::log1p(std::exp(x)));
    case SW_HARDSWISH: return x * clamp(x + 3.0) / 6.0;
    case SW_SIGMOID: return 1.0 / (1.0 + std::exp(-x));
    case SW_TANH: return std::tanh(x);
    case SW_RELU6: return clamp(x);
    case SW_HARDSIGMOID: return clamp(x + 3.0) / 6.0;
    case SW_GELU: return 0.5 * x * std::erfc(-x * std::sqrt(0.5));
    case SW_GELU_TANH: return x / (1.0 + std::exp(-2.0 * 0.7978845608028654 * (x + 0.044715 * x * x * x)));
  }
  EXPECT(!"an activation without a plain way");
  return 0.0;
}

void check_activations(const Kernels& kernels) {
  const float edges[] = {0.0f, -0.0f, 1e-6f, -1e-6f, 3.0f, -3.0f, 6.0f, 20.0f, -20.0f, 60.0f, -60.0f, 80.0f, -80.0f};
  const int count = 16 * 8;
  Floats values(count + 16);
  for (int activation = 0; activation < SW_NUM_ACTIVATIONS; ++activation) {
    const float slope = activation == SW_LEAKY ? 0.1f : 0.0f;
    std::vector<float> given(count);
    for (int at = 0; at < count; ++at) given[at] = at < 13 ? edges[at] : number(at);
    std::copy(given.begin(), given.end(), values.get());
    std::fill(values.get() + count, values.get() + count + 16, kUntouched);
    kernels.activate(values.get(), count, activation, slope);
    for (int at = 0; at < count; ++at) {
      const double wanted = plain(given[at], activation, slope);
      // Cephes' expf is wrong by 2e-7 of its value, and there are a few roundings; others subtract from 1, or from x.
      const bool relative = activation == SW_SIGMOID || activation == SW_SILU;
      EXPECT(std::fabs(values.get()[at] - wanted) <= 1e-6 * std::max(relative ? 0.0 : 1.0, std::fabs(wanted)));
    }
    EXPECT(values.get()[count] == kUntouched);
  }
}

// Rows of every length, at places that are on no cache line; nothing behind their end is written.
void check_rows(const Kernels& kernels) {
  for (int count = 0; count <= 4 * kernels.lanes + 3; ++count) {
    std::vector<float> upper(2 * count + 1), lower(2 * count + 1), into(count + 2, kUntouched);
    for (int at = 0; at <= 2 * count; ++at) upper[at] = number(at), lower[at] = number(at + 5000);
    kernels.pool_pairs(upper.data() + 1, lower.data() + 1, into.data() + 1, count);
    for (int at = 0; at < count; ++at)
      EXPECT(into[at + 1] == std::max({upper[2 * at + 1], upper[2 * at + 2], lower[2 * at + 1], lower[2 * at + 2]}));
    EXPECT(into[0] == kUntouched && into[count + 1] == kUntouched);

    std::vector<float> kept(lower.begin(), lower.begin() + count + 1);
    kernels.keep_larger(kept.data() + 1, upper.data() + 1, count);
    double sum = 0.0;
    for (int at = 1; at <= count; ++at) {
      EXPECT(kept[at] == std::max(lower[at], upper[at]));
      sum += upper[at];
    }
    EXPECT(kept[0] == lower[0] && std::fabs(kernels.sum_of(upper.data() + 1, count) - sum) <= 1e-3);

    std::vector<float> made(count + 2, kUntouched);
    kernels.add_values(upper.data() + 1, lower.data() + 1, made.data() + 1, count);
    for (int at = 1; at <= count; ++at) EXPECT(made[at] == upper[at] + lower[at]);
    kernels.multiply_values(upper.data() + 1, lower.data() + 1, made.data() + 1, count);
    for (int at = 1; at <= count; ++at) EXPECT(made[at] == upper[at] * lower[at]);
    kernels.scale_values(upper.data() + 1, 1.75f, made.data() + 1, count);
    for (int at = 1; at <= count; ++at) EXPECT(made[at] == upper[at] * 1.75f);
    EXPECT(made[0] == kUntouched && made[count + 1] == kUntouched);

    std::vector<float> row(count + 1), even(count / 2 + 3, kUntouched), odd(count / 2 + 3, kUntouched);
    for (int at = 0; at <= count; ++at) row[at] = number(at);
    kernels.split_pairs(row.data() + 1, even.data() + 1, odd.data() + 1, count);
    for (int at = 0; at < count; ++at) EXPECT((at % 2 ? odd : even)[at / 2 + 1] == row[at + 1]);
    EXPECT(even[0] == kUntouched && even[(count + 1) / 2 + 1] == kUntouched);
    EXPECT(odd[0] == kUntouched && odd[count / 2 + 1] == kUntouched);
  }
}

// Dense weights for a row of `vectors` vectors, the last value of which is padding.
void check_block(const Kernels& kernels, int vectors, int channels, int groups, int chunks) {
  const int lanes = kernels.lanes, pitch = vectors * lanes, inputs = 3, of_group = channels / groups;
  const int wide = (of_group + kernels.block - 1) / kernels.block * kernels.block;
  Floats in(inputs * pitch), other(channels * pitch), out(channels * pitch + 16), mask(pitch), sums(channels * pitch);
  for (int at = 0; at < inputs * pitch; ++at) in.get()[at] = number(at);
  for (int at = 0; at < channels * pitch; ++at) other.get()[at] = number(at + 300);
  std::fill(out.get(), out.get() + out.count(), kUntouched);
  std::memset(mask.get(), 0xff, sizeof(float) * (pitch - 1));
  std::vector<int64_t> starts{0};
  std::vector<sw_entry> taps;
  std::vector<float> weights, bias;
  for (int list = 0; list < chunks * groups; ++list) {
    for (int input = 0; input < inputs; ++input) taps.push_back({static_cast<int32_t>(4 * input * pitch), kUntouched});
    starts.push_back(static_cast<int64_t>(taps.size()));
    for (int at = 0; at < inputs * wide; ++at) weights.push_back(number(at + 17 * list));
  }
  for (int channel = 0; channel < channels; ++channel) bias.push_back(number(channel + 40));
  sw_op op;
  std::memset(&op, 0, sizeof(op));
  op.kind = SW_CONV, op.activation = SW_HARDSWISH;
  op.out.stride = op.other.stride = op.in.pitch = op.out.pitch = pitch;
  op.conv.channels = channels, op.conv.height = op.conv.rows = 1, op.conv.width = pitch - 1;
  op.conv.columns = vectors, op.conv.num_chunks = chunks, op.conv.groups = groups;
  op.conv.starts = starts.data(), op.conv.entries = taps.data();
  op.conv.weights = weights.data(), op.conv.bias = bias.data();
  const sapwood::Tile tile{reinterpret_cast<const char*>(in.get()), mask.get(), vectors, vectors, 0};
  for (int chunk = 0; chunk < chunks; ++chunk)
    kernels.conv(tile, op, chunk, 0, channels, sums.get(), out.get(), chunks > 1 ? other.get() : nullptr);
  EXPECT(out.get()[channels * pitch] == kUntouched);
  for (int channel = 0; channel < channels; ++channel) {
    EXPECT(out.get()[channel * pitch + pitch - 1] == 0.0f);
    for (int x = 0; x < pitch - 1; ++x) {
      double sum = bias[channel] + (chunks > 1 ? other.get()[channel * pitch + x] : 0.0f);
      for (int chunk = 0; chunk < chunks; ++chunk)
        for (int input = 0; input < inputs; ++input) {
          const int list = chunk * groups + channel / of_group, block = channel % of_group / kernels.block;
          const int at = (block * inputs + input) * kernels.block + channel % of_group % kernels.block;
          sum += static_cast<double>(weights[list * inputs * wide + at]) * in.get()[input * pitch + x];
        }
      const double wanted = plain(sum, SW_HARDSWISH, 0.0);
      EXPECT(std::fabs(out.get()[channel * pitch + x] - wanted) <= 1e-5 * std::max(1.0, std::fabs(sum)));
    }
  }
}

// Vectors of channels: rows of `width` places of two inputs, `pitch` apart; nothing else is written.
void check_channels(const Kernels& kernels, int channels, int width, bool added) {
  const int height = 3, pitch = width + 3, inputs = 2, plane = (height * pitch + 15) / 16 * 16, wide = kernels.wide;
  Floats in(inputs * plane), other(channels * plane), out(channels * plane + 16);
  for (int at = 0; at < inputs * plane; ++at) in.get()[at] = number(at);
  for (int at = 0; at < channels * plane; ++at) other.get()[at] = number(at + 300);
  std::fill(out.get(), out.get() + out.count(), kUntouched);
  const sw_entry taps[] = {{0, kUntouched}, {4 * plane, kUntouched}};
  std::vector<float> weights, bias;
  for (int at = 0; at < (channels + wide - 1) / wide * wide * inputs; ++at) weights.push_back(number(at + 17));
  for (int channel = 0; channel < channels; ++channel) bias.push_back(number(channel + 40));
  sw_op op;
  std::memset(&op, 0, sizeof(op));
  op.kind = SW_CONV, op.activation = SW_LEAKY, op.slope = 0.25f;
  op.in.pitch = pitch, op.out.stride = op.other.stride = plane;
  op.conv.channels = channels, op.conv.height = height, op.conv.width = width, op.conv.num_entries = inputs;
  op.conv.entries = taps, op.conv.weights = weights.data(), op.conv.bias = bias.data();
  kernels.conv_columns(op, 0, channels, reinterpret_cast<const char*>(in.get()), out.get(),
                       added ? other.get() : nullptr);
  EXPECT(out.get()[channels * plane] == kUntouched);
  for (int channel = 0; channel < channels; ++channel)
    for (int at = 0; at < plane; ++at) {
      const float found = out.get()[channel * plane + at];
      if (at >= height * pitch || at % pitch >= width) {
        EXPECT(found == kUntouched);
        continue;
      }
      double sum = bias[channel] + (added ? other.get()[channel * plane + at] : 0.0f);
      for (int input = 0; input < inputs; ++input)
        sum += static_cast<double>(weights[(channel / wide * inputs + input) * wide + channel % wide]) *
               in.get()[input * plane + at];
      EXPECT(std::fabs(found - plain(sum, SW_LEAKY, 0.25)) <= 1e-5 * std::max(1.0, std::fabs(sum)));
    }
}

void check_wide(const Kernels& kernels) {
  for (int width = 1; width <= 31; ++width)
    for (int channels : {1, kernels.wide - 1, kernels.wide, 2 * kernels.wide + 1})
      check_channels(kernels, channels, width, width % 2 == 1);
}

// Lists between maps of one place: of channel n they have n entries, and channel `first` is the first that is asked
// for.
void check_point_lists(const Kernels& kernels, int channels, int chunks, int first, int activation) {
  constexpr int kLine = SW_ALIGN / sizeof(float), kInputs = 5;
  std::vector<float> values, bias, out(channels * kLine, kUntouched), other(channels * kLine);
  std::vector<int64_t> starts{0};
  std::vector<sw_entry> entries;
  for (int input = 0; input < kInputs; ++input) values.push_back(number(input));
  for (int channel = 0; channel < channels; ++channel)
    bias.push_back(number(channel + 40)), other[channel * kLine] = number(channel + 300);
  for (int chunk = 0; chunk < chunks; ++chunk)
    for (int list = 0; list < 3 * channels; ++list) {
      for (int at = 0; list % 3 == 2 && at < list / 3; ++at)
        entries.push_back({SW_ALIGN * ((at + chunk) % kInputs), number(17 * at + list)});
      starts.push_back(static_cast<int64_t>(entries.size()));
    }
  sw_op op;
  std::memset(&op, 0, sizeof(op));
  op.kind = SW_CONV, op.activation = activation, op.slope = 0.25f;
  op.out.stride = op.other.stride = kLine;
  op.conv.channels = channels, op.conv.num_chunks = chunks;
  op.conv.starts = starts.data(), op.conv.entries = entries.data(), op.conv.bias = bias.data();
  kernels.conv_points(op, first, channels, values.data(), out.data(), first ? other.data() : nullptr);
  for (int channel = 0; channel < channels; ++channel) {
    double sum = bias[channel] + (first ? other[channel * kLine] : 0.0f), size = 1.0;
    for (int chunk = 0; chunk < chunks; ++chunk)
      for (int at = 0; at < channel; ++at) {
        const double product = static_cast<double>(number(17 * at + 3 * channel + 2)) * values[(at + chunk) % kInputs];
        sum += product, size += std::fabs(product);
      }
    const double wanted = channel < first ? kUntouched : plain(sum, activation, 0.25);
    EXPECT(std::fabs(out[channel * kLine] - wanted) <= 1e-5 * size);
    for (int beside = 1; beside < kLine; ++beside) EXPECT(out[channel * kLine + beside] == kUntouched);
  }
}

void check_points(const Kernels& kernels) {
  for (int channels : {1, kernels.lanes - 1, kernels.lanes, 2 * kernels.lanes + 1})
    for (int chunks : {1, 2})
      for (int activation : {SW_LINEAR, SW_LEAKY, SW_HARDSWISH, SW_SIGMOID})
        check_point_lists(kernels, channels, chunks, channels / 3, activation);
}

void check_blocks(const Kernels& kernels) {
  for (int vectors : {1, 2, 3, 4, 5, kernels.most_vectors})
    for (int channels = 1; channels <= 2 * kernels.block + 1; ++channels) {
      check_block(kernels, vectors, channels, 1, 1 + channels % 2);
      check_block(kernels, vectors, 2 * channels, 2, 1 + vectors % 2);
    }
}

// A tile over all rows of a map of `rows` x `vectors` vectors, the last `pad` columns of which are padding.
struct Case {
  int rows, vectors, pad, chunks, activation;
  bool phased, with_other, sideways;
};

class Convolved {
 public:
  Convolved(const Kernels& kernels, const Case& one)
      : kernels_(kernels),
        one_(one),
        pitch_(one.vectors * kernels.lanes),
        width_(pitch_ - one.pad),
        in_(kInputs * plane(one.rows + 2) + 32),
        other_(kOutputs * plane(one.rows)),
        out_(4 * kOutputs * plane(one.rows) + 16),
        mask_(pitch_),
        partial_(kOutputs * plane(one.rows)) {
    std::memset(&op_, 0, sizeof(op_));
    fill(in_.get() + 16, kInputs, one.rows + 2, 1);
    fill(other_.get(), kOutputs, one.rows, 0);
    std::fill(out_.get(), out_.get() + out_.count(), kUntouched);
    std::memset(mask_.get(), 0xff, sizeof(float) * width_);
    lists();
    describe();
  }

  void check() {
    const sapwood::Tile tile{reinterpret_cast<const char*>(in_.get() + 16 + pitch_), mask_.get(), one_.vectors,
                             one_.rows * one_.vectors, 0};
    for (int chunk = 0; chunk < one_.chunks; ++chunk)
      kernels_.conv(tile, op_, chunk, 1, kOutputs, partial_.get(), out_.get(),
                    one_.with_other ? other_.get() : nullptr);
    EXPECT(out_.get()[0] == kUntouched);  // channel 0 was not asked for
    for (int channel = 1; channel < kOutputs; ++channel)
      for (int row = 0; row < one_.rows; ++row)
        for (int column = 0; column < width_; ++column) {
          const double sum = wanted(channel, row, column);
          const double found = out_.get()[place(channel, row, column)];
          EXPECT(std::fabs(found - plain(sum, one_.activation, 0.25)) <= 1e-5 * std::max(1.0, std::fabs(sum)));
        }
    if (one_.phased) return;
    for (int channel = 1; channel < kOutputs; ++channel)
      for (int row = 0; row < one_.rows; ++row)
        for (int column = width_; column < pitch_; ++column) EXPECT(out_.get()[place(channel, row, column)] == 0.0f);
    EXPECT(out_.get()[kOutputs * plane(one_.rows)] == kUntouched);
  }

 private:
  static constexpr int kInputs = 3, kOutputs = 4;
  const Kernels& kernels_;
  const Case one_;
  const int pitch_, width_;
  Floats in_, other_, out_, mask_, partial_;
  std::vector<int64_t> starts_{0};
  std::vector<sw_entry> entries_;
  std::vector<float> bias_;
  sw_op op_;

  int64_t plane(int rows) const { return (static_cast<int64_t>(rows) * pitch_ + 15) / 16 * 16; }
  int half() const { return (one_.vectors + 1) / 2 * kernels_.lanes; }  // pitch of a phase

  void fill(float* values, int channels, int rows, int margin) {
    for (int channel = 0; channel < channels; ++channel)
      for (int row = margin; row < rows - margin; ++row)
        for (int column = 0; column < width_; ++column)
          values[channel * plane(rows) + row * pitch_ + column] = number(channel * 977 + row * 31 + column);
  }

  // Of each output in each chunk: what reads x - 1, x + 1 and x.
  void lists() {
    for (int chunk = 0; chunk < one_.chunks; ++chunk)
      for (int list = 0; list < 3 * kOutputs; ++list) {
        if (list % 3 == 2 || one_.sideways)
          for (int input = 0; input < kInputs; ++input)
            if ((input + list + chunk) % 3) entries_.push_back(entry(input, (list + input) % 3 - 1, list + chunk));
        starts_.push_back(static_cast<int64_t>(entries_.size()));
      }
    for (int channel = 0; channel < kOutputs; ++channel) bias_.push_back(number(channel + 40));
  }

  sw_entry entry(int input, int row, int seed) const {
    return {static_cast<int32_t>(sizeof(float) * (input * plane(one_.rows + 2) + row * pitch_)), number(seed * 3)};
  }

  void describe() {
    op_.kind = SW_CONV;
    op_.activation = one_.activation;
    op_.slope = 0.25f;
    op_.in.pitch = pitch_;
    op_.other.stride = plane(one_.rows);
    op_.out.pitch = one_.phased ? half() : pitch_;
    op_.out.stride = plane(one_.rows);
    sw_conv& conv = op_.conv;
    conv.phased = one_.phased;
    conv.channels = kOutputs, conv.height = one_.rows, conv.width = width_;
    conv.rows = one_.rows, conv.columns = one_.vectors, conv.num_chunks = one_.chunks;
    conv.starts = starts_.data(), conv.entries = entries_.data(), conv.bias = bias_.data();
  }

  double wanted(int channel, int row, int column) const {
    double sum = bias_[channel];
    if (one_.with_other) sum += other_.get()[channel * plane(one_.rows) + row * pitch_ + column];
    for (int chunk = 0; chunk < one_.chunks; ++chunk)
      for (int list = 0; list < 3; ++list) {
        const int from = column + (list == 0 ? -1 : list == 1 ? 1 : 0);
        const int64_t at = (chunk * kOutputs + channel) * 3 + list;
        for (int64_t number = starts_[at]; number < starts_[at + 1]; ++number)
          if (from >= 0 && from < pitch_)
            sum += static_cast<double>(entries_[number].value) *
                   in_.get()[16 + pitch_ + row * pitch_ + from + entries_[number].offset / 4];
      }
    return sum;
  }

  int64_t place(int channel, int row, int column) const {
    if (!one_.phased) return channel * plane(one_.rows) + row * pitch_ + column;
    const int phase = row % 2 * 2 + column % 2;
    return (phase * kOutputs + channel) * plane(one_.rows) + row / 2 * half() + column / 2;
  }
};

void check_convolutions(const Kernels& kernels) {
  for (int vectors = 1; vectors <= kernels.most_vectors; ++vectors)  // each size of a tile is code of its own
    for (int rows : {1, 2, 3}) {
      if (rows * vectors > kernels.most_vectors) continue;
      const int activation = (vectors + 3 * rows) % SW_NUM_ACTIVATIONS;
      Convolved(kernels, {rows, vectors, 0, 1, activation, false, false, false}).check();
      Convolved(kernels, {rows, vectors, 1, 2, activation, false, true, true}).check();
      Convolved(kernels, {rows, vectors, 3, 3, SW_LEAKY, true, rows == 2, true}).check();
    }
}

}  // namespace

void activations() { for_each_isa(&check_activations); }
void row_kernels() { for_each_isa(&check_rows); }
void dense_blocks() {
  for_each_isa(&check_blocks);
  for_each_isa(&check_wide);
}
void convolutions() {
  for_each_isa(&check_convolutions);
  for_each_isa(&check_points);
}

}  // namespace tests

// Every operation done slowly, one value after the other, in double precision.
#include <algorithm>
#include <cmath>
#include <utility>

#include "programs.h"

namespace fuzz {
namespace {

double clamped(double value) { return std::min(std::max(value, 0.0), 6.0); }

// An activation without a case does not compile.
double activated(double x, const sw_op& op) {
  switch (static_cast<sw_activation>(op.activation)) {
    case SW_LINEAR:
    case SW_NUM_ACTIVATIONS: return x;
    case SW_LEAKY: return std::max(x, x * op.slope);
    case SW_SILU: return x / (1.0 + std::exp(-x));
    case SW_MISH: return x * std::tanh(std::log1p(std::exp(x)));
    case SW_HARDSWISH: return x * clamped(x + 3.0) / 6.0;
    case SW_SIGMOID: return 1.0 / (1.0 + std::exp(-x));
    case SW_TANH: return std::tanh(x);
    case SW_RELU6: return clamped(x);
    case SW_HARDSIGMOID: return clamped(x + 3.0) / 6.0;
    case SW_GELU: return x * 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
    case SW_GELU_TANH:
      return x * 0.5 * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

class Slow {
 public:
  Slow(const Program& program, const Pictures& inputs, double noise)
      : arena_(program.arena + 8192), program_(program), inputs_(inputs), noise_(noise) {
    found.outputs.resize(program.ops.size());
  }

  void run() {
    for (size_t number = 0; number < program_.ops.size(); ++number) {
      const sw_op& given = program_.ops[number];
      one_of(moved(given), given);
    }
  }

  Result found;

 private:
  std::vector<double> arena_;
  const Program& program_;
  const Pictures& inputs_;
  const double noise_;
  uint64_t numbers_ = 0;  // that were computed
  sw_map last_{};

  // A kind without a case does not compile.
  void one_of(const sw_op& op, const sw_op& given) {
    switch (static_cast<sw_kind>(op.kind)) {
      case SW_CHAIN:  // its parts follow
      case SW_NUM_KINDS: return;
      case SW_PACK:
        if (op.pack.phased) return phases(op, op.pack.step, op.pack.channels, op.pack.height, op.pack.width);
        return each(op);
      case SW_UNPACK: return unpack(op);
      case SW_CONV: return given.in.offset < 0 ? places(op, given.in) : convolve(op);
      case SW_PHASES: return phases(op, op.phases.step, op.in.channels, op.in.height, op.in.width);
      case SW_DEPTHWISE: return filter(op);
      case SW_VIEW: return view(op);
      case SW_CONSTANT: return constant(op);
      case SW_NORM: return norm(op);
      case SW_ATTENTION: return attend(op);
      case SW_EMBED: return embed(op);
      case SW_MAXPOOL:
      case SW_AVGPOOL:
      case SW_UPSAMPLE:
      case SW_ADD:
      case SW_MUL:
      case SW_COPY: return each(op);
    }
  }

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

  // The weights of a channel in a chunk, with their places: those of single weights say in which of three lists they
  // stand, and so whether they read the column before or behind.
  template <class Take>
  void each_weight(const sw_conv& conv, int chunk, int channel, Take take) const {
    const int64_t lists = conv.groups ? conv.groups : 3 * int64_t{conv.channels};
    if (conv.groups) {
      const int of_group = conv.channels / conv.groups, block = conv.by_channels ? sw_wide() : sw_block();
      const int64_t list = chunk * lists + channel / of_group, blocks = (of_group + block - 1) / block;
      const int64_t taps = conv.starts[list + 1] - conv.starts[list], at = channel % of_group;
      const float* weights = conv.weights + block * (conv.starts[list] * blocks + at / block * taps) + at % block;
      for (int64_t tap = 0; tap < taps; ++tap)
        take(conv.entries[conv.starts[list] + tap].offset, 0, weights[tap * block]);
      return;
    }
    for (int list = 0; list < 3; ++list) {
      const int64_t place = chunk * lists + channel * int64_t{3} + list;
      for (int64_t number = conv.starts[place]; number < conv.starts[place + 1]; ++number)
        take(conv.entries[number].offset, list == 0 ? -1 : list == 1 ? 1 : 0, conv.entries[number].value);
    }
  }

  // A convolution whose entries say which channel they read.
  void places(const sw_op& op, const sw_map& rows) {
    const sw_conv& conv = op.conv;
    for (int channel = 0; channel < conv.channels; ++channel)
      for (int row = 0; row < conv.height; ++row)
        for (int column = 0; column < conv.width; ++column) {
          double sum = conv.bias[channel] + (op.other.channels ? at(op.other, channel, row, column) : 0.0);
          for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
            each_weight(conv, chunk, channel, [&](int64_t offset, int, float weight) {
              sum += weight * at(op.in, offset / 4 / rows.stride, row, column);
            });
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

  double& at(const sw_map& map, int64_t channel, int64_t row, int64_t column) {
    return arena_[4096 + map.offset + channel * map.stride + (row + map.margin) * map.pitch + column];
  }

  void put(const sw_op& op, int64_t channel, int64_t row, int64_t column, double value) {
    at(op.out, channel, row, column) = noisy(value);
  }

  double noisy(double value) {
    if (std::isfinite(value)) found.largest = std::max(found.largest, static_cast<float>(std::fabs(value)));
    numbers_ = numbers_ * 6364136223846793005u + 1442695040888963407u;
    return value * (numbers_ >> 63 ? 1.0 + noise_ : 1.0 - noise_);
  }

  // Value `number` of a map: channel by channel, row by row.
  double& counted(const sw_map& map, int64_t number) {
    return at(map, number / (int64_t{map.height} * map.width), number / map.width % map.height, number % map.width);
  }

  void unpack(const sw_op& op) {
    auto& into = found.outputs[op.unpack.index];
    into.clear();
    for (int64_t number = 0; number < floats_of(op); ++number)
      into.push_back(static_cast<float>(counted(op.in, number)));
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
          const int64_t from = 4096 + op.in.offset + (row + int64_t{op.in.margin}) * op.in.pitch + column;
          for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
            each_weight(conv, chunk, channel, [&](int64_t offset, int moved, float weight) {
              if (column + moved >= 0) sum += weight * arena_[from + moved + offset / 4];
            });
          const int64_t plane = conv.phased ? (row % 2 * 2 + column % 2) * conv.channels + channel : channel;
          put(op, plane, conv.phased ? row / 2 : row, conv.phased ? column / 2 : column, activated(sum, op));
        }
  }

  void view(const sw_op& op) {
    const sw_view& view = op.view;
    const int64_t places = int64_t{op.out.height} * op.out.width;
    for (int channel = 0; channel < op.out.channels; ++channel)
      for (int place = 0; place < view.count[2] * view.count[3]; ++place)
        counted(op.out, channel * places + view.at + place) = counted(
            op.in, view.first + channel / view.count[1] * view.step[0] + channel % view.count[1] * view.step[1] +
                       place / view.count[3] * view.step[2] + place % view.count[3] * view.step[3]);
  }

  void constant(const sw_op& op) {
    const sw_constant& constant = op.constant;
    const int64_t places = int64_t{op.out.height} * op.out.width;
    for (int64_t channel = 0; channel < op.out.channels; ++channel)
      for (int32_t place = 0; place < constant.count; ++place)
        counted(op.out, channel * places + constant.at + place) = constant.values[channel * constant.count + place];
  }

  void norm(const sw_op& op) {
    const int channels = op.in.channels;
    for (int row = 0; row < op.in.height; ++row)
      for (int column = 0; column < op.in.width; ++column) {
        double mean = 0.0, squares = 0.0;
        for (int channel = 0; channel < channels && op.norm.centred; ++channel)
          mean += at(op.in, channel, row, column) / channels;
        for (int channel = 0; channel < channels; ++channel)
          squares += std::pow(at(op.in, channel, row, column) - mean, 2) / channels;
        const double factor = 1.0 / std::sqrt(squares + op.norm.epsilon);
        for (int channel = 0; channel < channels; ++channel)
          put(op, channel, row, column,
              (at(op.in, channel, row, column) - mean) * factor * op.norm.factors[channel] + op.norm.shifts[channel]);
      }
  }

  void attend(const sw_op& op) {
    for (int head = 0; head < op.attention.heads; ++head)
      for (int query = 0; query < op.in.width; ++query) {
        const std::vector<double> shares = shares_of(op, head, query);
        const int64_t first = int64_t{head} * op.attention.groups / op.attention.heads * op.attention.step[2];
        for (int channel = 0; channel < op.attention.value_depth; ++channel) {
          double sum = 0.0;
          for (int key = 0; key < op.other.width; ++key)
            sum += shares[key] * at(op.attention.value, first + channel, 0, key);
          put(op, head * op.attention.value_depth + channel, 0, query, sum);
        }
      }
  }

  // Of each key for a query.
  std::vector<double> shares_of(const sw_op& op, int head, int query) {
    const sw_attention& attention = op.attention;
    const sw_map& mask = attention.mask;
    const int keys = op.other.width, own = mask.channels > keys ? head * keys : 0;
    const int64_t group = int64_t{head} * attention.groups / attention.heads;
    std::vector<double> shares(keys, 0.0);
    double most = -INFINITY, sum = 0.0;
    for (int key = 0; key < keys; ++key) {
      for (int channel = 0; channel < attention.depth; ++channel)
        shares[key] += at(op.in, head * int64_t{attention.step[0]} + channel, 0, query) *
                       at(op.other, group * attention.step[1] + channel, 0, key);
      shares[key] = noisy(shares[key] * attention.scale);
      if (mask.channels) shares[key] += at(mask, own + key, 0, mask.width > 1 ? query : 0);
      most = std::max(most, shares[key]);
    }
    for (double& share : shares) sum += share = most == -INFINITY ? 0.0 : std::exp(share - most);
    for (double& share : shares) share = sum > 0.0 ? share / sum : attention.safe ? 0.0 : NAN;
    return shares;
  }

  void embed(const sw_op& op) {
    for (int row = 0; row < op.in.height; ++row)
      for (int column = 0; column < op.in.width; ++column) {
        const double number = at(op.in, 0, row, column);
        const bool is_there = number >= 0.0 && number < op.embed.rows;
        found.right = found.right && is_there;
        for (int channel = 0; channel < op.out.channels; ++channel)
          at(op.out, channel, row, column) =
              is_there ? op.embed.table[static_cast<int64_t>(number) * op.out.channels + channel] : 0.0f;
      }
  }
};

}  // namespace

Result reference(const Program& program, const Pictures& inputs, double noise) {
  Slow slow(program, inputs, noise);
  slow.run();
  return std::move(slow.found);
}

}  // namespace fuzz

#include "dense.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace sapwood {
namespace {

float* row_of(const sw_map& map, float* arena, int channel, int row) {
  return arena + map.offset + channel * map.stride + static_cast<int64_t>(row + map.margin) * map.pitch;
}

// Row `row` of channel `channel` of `channels`, `width` values, goes to its places in the phases; a null row is zero.
// What lies beyond the input is zero, too: the last columns of some phases, the last row of others.
void to_phases(const Kernels& kernels, const sw_op& op, const int32_t (&step)[2], float* arena, int channels,
               int channel, int row, const float* from, int width) {
  const int down = step[0], right = step[1];
  const auto into = [&](int phase) {
    return row_of(op.out, arena, (row % down * right + phase) * channels + channel, row / down);
  };
  const auto count_of = [&](int phase) { return from ? std::max(0, (width - phase + right - 1) / right) : 0; };
  if (right == 2 && from) kernels.split_pairs(from, into(0), into(1), width);
  for (int phase = 0; phase < right; ++phase) {
    float* values = into(phase);
    const int count = count_of(phase);
    if (right != 2)
      for (int at = 0; at < count; ++at) values[at] = from[right * at + phase];
    std::fill(values + count, values + op.out.width, 0.0f);
  }
}

void phases(const Kernels& kernels, const sw_op& op, float* arena, int channel) {
  for (int row = 0; row < op.out.height * op.phases.step[0]; ++row)
    to_phases(kernels, op, op.phases.step, arena, op.in.channels, channel, row,
              row < op.in.height ? row_of(op.in, arena, channel, row) : nullptr, op.in.width);
}

void pack(const Kernels& kernels, const sw_op& op, float* arena, int channel, const float* input) {
  const sw_pack& whole = op.pack;
  if (!whole.phased) {
    const float* from = input + static_cast<int64_t>(channel) * op.out.height * op.out.width;
    for (int row = 0; row < op.out.height; ++row, from += op.out.width)
      std::memcpy(row_of(op.out, arena, channel, row), from, sizeof(float) * op.out.width);
    return;
  }
  const float* from = input + static_cast<int64_t>(channel) * whole.height * whole.width;
  for (int row = 0; row < op.out.height * whole.step[0]; ++row)
    to_phases(kernels, op, whole.step, arena, whole.channels, channel, row,
              row < whole.height ? from + static_cast<int64_t>(row) * whole.width : nullptr, whole.width);
}

// The commonest: windows of 2 x 2 side by side, none of them cut off.
bool is_halving(const sw_op& op) {
  const sw_pool& window = op.pool;
  return op.kind == SW_MAXPOOL && window.kernel[0] == 2 && window.kernel[1] == 2 && window.step[0] == 2 &&
         window.step[1] == 2 && window.pad[0] == 0 && window.pad[1] == 0 && 2 * op.out.height <= op.in.height &&
         2 * op.out.width <= op.in.width;
}

// Rows up to this width are pooled with vectors: the largest of the rows first, then the largest of the columns.
constexpr int kWide = 2048;

bool is_by_rows(const sw_op& op) {
  const sw_pool& window = op.pool;
  const int64_t reach = int64_t{window.step[1]} * (op.out.width - 1) + window.kernel[1];
  return op.kind == SW_MAXPOOL && window.step[1] <= 2 && op.in.width + window.pad[1] <= kWide && reach <= kWide;
}

void pool_by_rows(const Kernels& kernels, const sw_op& op, float* arena, int channel) {
  const sw_pool& window = op.pool;
  constexpr float least = -std::numeric_limits<float>::infinity();
  const int step = window.step[1], reach = step * (op.out.width - 1) + window.kernel[1];
  const int count = std::max(reach, window.pad[1] + op.in.width);  // with what is outside of the map
  float whole[kWide], even[kWide / 2 + 1], odd[kWide / 2 + 1];
  for (int row = 0; row < op.out.height; ++row) {
    const int top = row * window.step[0] - window.pad[0];
    const int first = std::max(0, top), last = std::min(op.in.height, top + window.kernel[0]);
    float* into = row_of(op.out, arena, channel, row);
    std::fill(whole, whole + count, least);
    if (first < last)
      std::memcpy(whole + window.pad[1], row_of(op.in, arena, channel, first), sizeof(float) * op.in.width);
    for (int from = first + 1; from < last; ++from)
      kernels.keep_larger(whole + window.pad[1], row_of(op.in, arena, channel, from), op.in.width);
    if (step == 2) kernels.split_pairs(whole, even, odd, count);
    const auto columns = [&](int tap) { return step == 1 ? whole + tap : (tap % 2 ? odd : even) + tap / 2; };
    std::memcpy(into, columns(0), sizeof(float) * op.out.width);
    for (int tap = 1; tap < window.kernel[1]; ++tap) kernels.keep_larger(into, columns(tap), op.out.width);
  }
}

// One average over the whole map.
bool is_mean(const sw_op& op) {
  const sw_pool& window = op.pool;
  return op.kind == SW_AVGPOOL && op.out.height == 1 && op.out.width == 1 && !window.pad[0] && !window.pad[1] &&
         window.kernel[0] == op.in.height && window.kernel[1] == op.in.width;
}

// The values of a plane with the zeros behind them, up to the end of a cache line where the plane reaches so far.
int64_t whole_lines(const sw_map& map) {
  constexpr int64_t line = SW_ALIGN / sizeof(float);
  const int64_t count = int64_t{map.height} * map.pitch;
  return std::max(count, std::min((count + line - 1) / line * line, map.stride - int64_t{map.margin} * map.pitch));
}

// Rows end in zeros: they may be summed with them.
void mean(const Kernels& kernels, const sw_op& op, float* arena, int channel) {
  const float* from = row_of(op.in, arena, channel, 0);
  const int64_t count = op.in.channels > 1 ? whole_lines(op.in) : int64_t{op.in.height} * op.in.pitch;
  float sum = 0.0f;
  if (count <= kWide) sum = kernels.sum_of(from, static_cast<int>(count));
  else
    for (int row = 0; row < op.in.height; ++row) sum += kernels.sum_of(row_of(op.in, arena, channel, row), op.in.width);
  *row_of(op.out, arena, channel, 0) = sum / (static_cast<float>(op.in.height) * static_cast<float>(op.in.width));
}

void pool(const Kernels& kernels, const sw_op& op, float* arena, int channel) {
  const sw_pool& window = op.pool;
  if (is_halving(op)) {
    for (int row = 0; row < op.out.height; ++row)
      kernels.pool_pairs(row_of(op.in, arena, channel, 2 * row), row_of(op.in, arena, channel, 2 * row + 1),
                         row_of(op.out, arena, channel, row), op.out.width);
    return;
  }
  if (is_by_rows(op)) return pool_by_rows(kernels, op, arena, channel);
  if (is_mean(op)) return mean(kernels, op, arena, channel);
  const bool largest = op.kind == SW_MAXPOOL;
  for (int row = 0; row < op.out.height; ++row) {
    float* into = row_of(op.out, arena, channel, row);
    const int top = row * window.step[0] - window.pad[0];
    const int first_row = std::max(0, top), last_row = std::min(op.in.height, top + window.kernel[0]);
    std::fill(into, into + op.out.width, largest ? -std::numeric_limits<float>::infinity() : 0.0f);
    for (int from_row = first_row; from_row < last_row; ++from_row) {
      const float* from = row_of(op.in, arena, channel, from_row);
      // taps that are inside of the map in some window, and for each the columns whose windows have it there
      const int last_tap = std::min(window.kernel[1], window.pad[1] + op.in.width);
      for (int tap = 0; tap < last_tap; ++tap) {
        const int shift = tap - window.pad[1], step = window.step[1];
        const int first = shift >= 0 ? 0 : (-shift + step - 1) / step;
        const int last = std::min(op.out.width, (op.in.width - 1 - shift) / step + 1);
        const float* source = from + shift;
        if (largest && step == 2)
          for (int at = first; at < last; ++at) into[at] = std::max(into[at], source[2 * at]);
        else if (largest)
          for (int at = first; at < last; ++at) into[at] = std::max(into[at], source[step * at]);
        else
          for (int at = first; at < last; ++at) into[at] += source[step * at];
      }
    }
    if (largest) continue;
    for (int at = 0; at < op.out.width; ++at) {
      const int left = at * window.step[1] - window.pad[1];
      const int columns = std::min(op.in.width, left + window.kernel[1]) - std::max(0, left);
      const int64_t inside = int64_t{last_row - first_row} * columns;
      into[at] /= static_cast<float>(window.all_places ? int64_t{window.kernel[0]} * window.kernel[1] : inside);
    }
  }
}

void upsample(const sw_op& op, float* arena, int channel) {
  const int32_t (&step)[2] = op.upsample.step;
  for (int row = 0; row < op.in.height; ++row) {
    const float* from = row_of(op.in, arena, channel, row);
    float* first = row_of(op.out, arena, channel, row * step[0]);
    for (int at = 0; at < op.in.width; ++at)
      for (int copy = 0; copy < step[1]; ++copy) first[at * step[1] + copy] = from[at];
    for (int copy = 1; copy < step[0]; ++copy)
      std::memcpy(row_of(op.out, arena, channel, row * step[0] + copy), first, sizeof(float) * op.out.width);
  }
}

// Planes of the same pitch are one run of values: what pads their rows is zero, and so is what comes of it.
void combine(const Kernels& kernels, const sw_op& op, float* arena, int channel) {
  const bool one_value = op.other.height == 1 && op.other.width == 1 && !(op.out.height == 1 && op.out.width == 1);
  const float* other = row_of(op.other, arena, channel, 0);
  bool whole = op.in.pitch == op.out.pitch;
  if (one_value) whole = whole && std::isfinite(other[0]);  // zeros times infinity are none
  else whole = whole && op.other.pitch == op.out.pitch;
  const int runs = whole ? 1 : op.out.height;
  const int64_t count = whole ? int64_t{op.out.height} * op.out.pitch : op.out.width;
  for (int row = 0; row < runs; ++row) {
    const float* from = row_of(op.in, arena, channel, row);
    float* into = row_of(op.out, arena, channel, row);
    if (!one_value) other = row_of(op.other, arena, channel, row);
    if (one_value && op.kind == SW_MUL) kernels.scale_values(from, other[0], into, count);
    else if (op.kind == SW_MUL) kernels.multiply_values(from, other, into, count);
    else kernels.add_values(from, other, into, count);
  }
}

}  // namespace

bool run_together(const Kernels& kernels, const sw_op& op, float* arena, const sw_picture* outputs) {
  if (op.kind == SW_UNPACK && op.in.height == 1 && op.in.width == 1) {
    const float* from = row_of(op.in, arena, 0, 0);
    float* into = outputs[op.unpack.index].values;
    for (int channel = 0; channel < op.in.channels; ++channel) into[channel] = from[channel * op.in.stride];
    return true;
  }
  if (op.activation != SW_LINEAR || (op.kind != SW_MUL && !is_mean(op))) return false;
  for (int channel = 0; channel < op.in.channels; ++channel) {
    if (op.kind == SW_MUL) combine(kernels, op, arena, channel);
    else mean(kernels, op, arena, channel);
  }
  return true;
}

void run_channel(const Kernels& kernels, const sw_op& op, float* arena, int channel, const sw_picture* inputs,
                 const sw_picture* outputs) {
  switch (op.kind) {
    case SW_PACK: pack(kernels, op, arena, channel, inputs[op.pack.index].values); break;
    case SW_UNPACK: {
      float* into = outputs[op.unpack.index].values + static_cast<int64_t>(channel) * op.in.height * op.in.width;
      for (int row = 0; row < op.in.height; ++row, into += op.in.width)
        std::memcpy(into, row_of(op.in, arena, channel, row), sizeof(float) * op.in.width);
      break;
    }
    case SW_PHASES: phases(kernels, op, arena, channel); break;
    case SW_MAXPOOL:
    case SW_AVGPOOL: pool(kernels, op, arena, channel); break;
    case SW_UPSAMPLE: upsample(op, arena, channel); break;
    case SW_ADD:
    case SW_MUL: combine(kernels, op, arena, channel); break;
    case SW_COPY:
      for (int row = 0; row < op.in.height; ++row)
        std::memcpy(row_of(op.out, arena, channel, row), row_of(op.in, arena, channel, row),
                    sizeof(float) * op.in.width);
      break;
    default: break;
  }
}

}  // namespace sapwood

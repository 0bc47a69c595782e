#include "dense.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace sapwood {
namespace {

float* row_of(const sw_map& map, float* arena, int channel, int row) {
  return arena + map.offset + channel * map.stride + static_cast<int64_t>(row + map.margin) * map.pitch;
}

void phases(const sw_op& op, float* arena, int channel) {
  const int down = op.step[0], right = op.step[1];
  for (int row = 0; row < op.out.height * down; ++row) {
    const float* from = row < op.in.height ? row_of(op.in, arena, channel, row) : nullptr;
    for (int phase = 0; phase < right; ++phase) {
      float* into = row_of(op.out, arena, (row % down * right + phase) * op.in.channels + channel, row / down);
      // what lies beyond the input is zero: the last columns of some phases, the last row of others
      const int count = from ? std::max(0, (op.in.width - phase + right - 1) / right) : 0;
      if (right == 2)
        for (int at = 0; at < count; ++at) into[at] = from[2 * at + phase];
      else
        for (int at = 0; at < count; ++at) into[at] = from[right * at + phase];
      std::fill(into + count, into + op.out.width, 0.0f);
    }
  }
}

void pool(const sw_op& op, float* arena, int channel) {
  const bool largest = op.kind == SW_MAXPOOL;
  for (int row = 0; row < op.out.height; ++row) {
    float* into = row_of(op.out, arena, channel, row);
    const int top = row * op.step[0] - op.pad[0];
    const int first_row = std::max(0, top), last_row = std::min(op.in.height, top + op.kernel[0]);
    std::fill(into, into + op.out.width, largest ? -std::numeric_limits<float>::infinity() : 0.0f);
    for (int from_row = first_row; from_row < last_row; ++from_row) {
      const float* from = row_of(op.in, arena, channel, from_row);
      for (int tap = 0; tap < op.kernel[1]; ++tap) {
        // columns whose window has this tap inside of the map
        const int shift = tap - op.pad[1], step = op.step[1];
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
      const int left = at * op.step[1] - op.pad[1];
      const int inside = (last_row - first_row) * (std::min(op.in.width, left + op.kernel[1]) - std::max(0, left));
      into[at] /= static_cast<float>(op.all_places ? op.kernel[0] * op.kernel[1] : inside);
    }
  }
}

void upsample(const sw_op& op, float* arena, int channel) {
  for (int row = 0; row < op.in.height; ++row) {
    const float* from = row_of(op.in, arena, channel, row);
    float* first = row_of(op.out, arena, channel, row * op.step[0]);
    for (int at = 0; at < op.in.width; ++at)
      for (int copy = 0; copy < op.step[1]; ++copy) first[at * op.step[1] + copy] = from[at];
    for (int copy = 1; copy < op.step[0]; ++copy)
      std::memcpy(row_of(op.out, arena, channel, row * op.step[0] + copy), first, sizeof(float) * op.out.width);
  }
}

void combine(const sw_op& op, float* arena, int channel) {
  const bool one_value = op.other.height == 1 && op.other.width == 1 && !(op.out.height == 1 && op.out.width == 1);
  for (int row = 0; row < op.out.height; ++row) {
    const float* from = row_of(op.in, arena, channel, row);
    const float* other = row_of(op.other, arena, channel, one_value ? 0 : row);
    float* into = row_of(op.out, arena, channel, row);
    if (op.kind == SW_ADD)
      for (int at = 0; at < op.out.width; ++at) into[at] = from[at] + other[at];
    else if (one_value)
      for (int at = 0; at < op.out.width; ++at) into[at] = from[at] * other[0];
    else
      for (int at = 0; at < op.out.width; ++at) into[at] = from[at] * other[at];
  }
}

}  // namespace

void run_channel(const sw_op& op, float* arena, int channel, const float* const* inputs, float* const* outputs) {
  switch (op.kind) {
    case SW_PACK: {
      const float* from = inputs[op.index] + static_cast<int64_t>(channel) * op.out.height * op.out.width;
      for (int row = 0; row < op.out.height; ++row, from += op.out.width)
        std::memcpy(row_of(op.out, arena, channel, row), from, sizeof(float) * op.out.width);
      break;
    }
    case SW_UNPACK: {
      float* into = outputs[op.index] + static_cast<int64_t>(channel) * op.in.height * op.in.width;
      for (int row = 0; row < op.in.height; ++row, into += op.in.width)
        std::memcpy(into, row_of(op.in, arena, channel, row), sizeof(float) * op.in.width);
      break;
    }
    case SW_PHASES:
      phases(op, arena, channel);
      break;
    case SW_MAXPOOL:
    case SW_AVGPOOL:
      pool(op, arena, channel);
      break;
    case SW_UPSAMPLE:
      upsample(op, arena, channel);
      break;
    case SW_ADD:
    case SW_MUL:
      combine(op, arena, channel);
      break;
    case SW_COPY:
      for (int row = 0; row < op.in.height; ++row)
        std::memcpy(row_of(op.out, arena, channel, row), row_of(op.in, arena, channel, row), sizeof(float) * op.in.width);
      break;
    default:
      break;
  }
}

}  // namespace sapwood

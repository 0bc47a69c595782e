// A convolution's lists of non-zeros, made of its weights: the part of packing that goes through every weight.
#include <algorithm>
#include <cstdint>

#include "sapwood_engine.h"

namespace {

// Where the next entry goes. Each is written, and stays if it is no zero: a branch would be guessed wrong half of the
// time. So there has to be room for one more than stay.
struct Pen {
  sw_entry* at;
  sw_entry* end;

  bool write(int64_t offset, float value) {
    if (at == end) return value == 0.0f;
    at->offset = static_cast<int32_t>(offset);
    at->value = value;
    at += value != 0.0f;
    return true;
  }
};

// One list: the taps first..last of the input channels from..to of one output.
bool write_list(Pen& pen, const sw_weights& weights, const float* row, int32_t first, int32_t last, int64_t from,
                int64_t to, int64_t channel) {
  while (first < last) {  // taps that read the same phase go through its channels together
    int32_t next = first;
    while (next < last && weights.taps[next].phase == weights.taps[first].phase) ++next;
    for (int64_t input = from; input < to; ++input) {
      const float* values = row + input * weights.num_taps;
      const int64_t place = (channel + input) * weights.plane_bytes;
      for (int32_t tap = first; tap < next; ++tap)
        if (!pen.write(place + weights.taps[tap].offset, values[weights.taps[tap].number])) return false;
    }
    first = next;
  }
  return true;
}

bool are_sound(const sw_weights& weights) {
  if (weights.outputs < 1 || weights.groups < 1 || weights.outputs % weights.groups || weights.inputs < 1) return false;
  if (weights.num_taps < 0 || weights.at_once < 1 || weights.num_chunks < 1) return false;
  return std::all_of(weights.taps, weights.taps + weights.num_taps, [&](const sw_tap& tap) {
    return tap.number >= 0 && tap.number < weights.num_taps && tap.list >= 0 && tap.list < 3;
  });
}

}  // namespace

extern "C" int64_t sw_pack_weights(const sw_weights* given, int64_t* starts, sw_entry* entries, int64_t room) {
  const sw_weights& weights = *given;
  if (!are_sound(weights) || room < 0) return -1;
  const sw_tap* taps = weights.taps;
  int32_t edges[4] = {0, 0, 0, weights.num_taps};
  for (int32_t list = 1; list < 3; ++list)
    edges[list] = static_cast<int32_t>(std::lower_bound(taps, taps + weights.num_taps, list,
                                                        [](const sw_tap& tap, int32_t one) { return tap.list < one; }) -
                                       taps);
  Pen pen{entries, entries + room};
  for (int64_t chunk = 0; chunk < weights.num_chunks; ++chunk) {
    for (int64_t output = 0; output < weights.outputs; ++output) {
      // Chunks are of the channels that the convolution reads; an output reads those of its group.
      const int64_t own = output / (weights.outputs / weights.groups) * weights.inputs;
      const int64_t from = std::clamp(chunk * weights.at_once - own, int64_t{0}, weights.inputs);
      const int64_t to = std::clamp((chunk + 1) * weights.at_once - own, int64_t{0}, weights.inputs);
      const float* row = weights.values + output * weights.inputs * weights.num_taps;
      for (int list = 0; list < 3; ++list) {
        *starts++ = pen.at - entries;
        if (!write_list(pen, weights, row, edges[list], edges[list + 1], from, to, own)) return -1;
      }
    }
  }
  *starts = pen.at - entries;
  return pen.at - entries;
}

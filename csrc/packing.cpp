// A convolution's lists of non-zeros, made of its weights: the part of packing that goes through every weight.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "sapwood_engine.h"

namespace {

// Whether a number is one that stays. Its bits are compared, which is a step less than the number, which may be none.
inline bool stays(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits << 1) != 0;
}

// Where the next entry goes. Each is written, and stays if it is no zero: a branch would be guessed wrong half of the
// time. So there has to be room for one more than stay.
struct Pen {
  sw_entry* at;
  sw_entry* end;

  bool write(int64_t offset, float value) {
    if (at == end) return !stays(value);
    at->offset = static_cast<int32_t>(offset);
    at->value = value;
    at += stays(value);
    return true;
  }
};

// A list of a single tap without others between, as of a linear layer: nothing is asked for each weight but whether it
// is zero.
bool write_row(Pen& pen, const sw_weights& weights, const float* values, int64_t count, int64_t offset) {
  if (pen.end - pen.at <= count) {  // each is written first: there is room for all of them, or it is asked one by one
    for (int64_t input = 0; input < count; ++input)
      if (!pen.write(offset + input * weights.plane_bytes, values[input])) return false;
    return true;
  }
  sw_entry* at = pen.at;
  for (int64_t input = 0; input < count; ++input, offset += weights.plane_bytes) {
    at->offset = static_cast<int32_t>(offset);
    at->value = values[input];
    at += stays(values[input]);
  }
  pen.at = at;
  return true;
}

// One list: the taps first..last of the input channels from..to of one output.
bool write_list(Pen& pen, const sw_weights& weights, const float* row, int32_t first, int32_t last, int64_t from,
                int64_t to, int64_t channel) {
  if (weights.num_taps == 1 && first < last)
    return write_row(pen, weights, row + from, to - from,
                     (channel + from) * weights.plane_bytes + weights.taps->offset);
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

extern "C" void sw_used(const float* rows, int64_t count, int64_t width, uint8_t* used) {
  std::fill_n(used, width, uint8_t{0});
  for (int64_t row = 0; row < count; ++row, rows += width) {
    bool all = true;
    for (int64_t place = 0; place < width; ++place) {
      used[place] |= rows[place] != 0.0f;
      all &= used[place] != 0;
    }
    if (all) return;  // of dense weights a row or two say it
  }
}

extern "C" void sw_pack_blocks(const float* rows, int64_t count, int64_t width, const int64_t* places,
                               int64_t num_places, int64_t block, float* to) {
  constexpr int64_t strip = 256;  // places at a time, so that the lines of all rows are in the fastest cache
  for (int64_t first = 0; first < count; first += block, rows += block * width, to += block * num_places) {
    const int64_t here = std::min(block, count - first);
    for (int64_t from = 0; from < num_places; from += strip) {
      const int64_t end = std::min(num_places, from + strip);
      for (int64_t row = 0; row < block; ++row) {
        const float* values = rows + row * width;
        for (int64_t place = from; place < end; ++place)
          to[place * block + row] = row < here ? values[places[place]] : 0.0f;
      }
    }
  }
}

extern "C" int64_t sw_squeeze(const float* values, int64_t count, uint8_t* mask, float* kept) {
  float* at = kept;
  for (int64_t first = 0; first < count; first += 8, ++mask) {
    const int here = static_cast<int>(std::min<int64_t>(8, count - first));
    unsigned bits = 0;
    for (int bit = 0; bit < here; ++bit) {
      const float value = values[first + bit];
      const bool is_kept = stays(value);
      *at = value;
      at += is_kept;
      bits |= static_cast<unsigned>(is_kept) << (7 - bit);
    }
    *mask = static_cast<uint8_t>(bits);
  }
  return at - kept;
}

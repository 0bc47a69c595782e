// A convolution's lists of non-zeros, made of its weights: the part of packing that goes through every weight.
#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "sapwood_engine.h"

namespace {

// Whether a number is one that stays. Its bits are compared, which is a step less than the number, which may be none.
inline bool stays(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return (bits << 1) != 0;
}

constexpr int64_t kBlock = 64;  // numbers that are looked at together

// A bit for each of the next 64 numbers that stays, the lowest for the first.
inline uint64_t staying(const float* values) {
  uint64_t bits = 0;
#if defined(__SSE2__)
  for (int first = 0; first < kBlock; first += 16) {  // of four times four numbers a byte each
    __m128i zero[4];
    for (int four = 0; four < 4; ++four) {
      const __m128i number = _mm_castps_si128(_mm_loadu_ps(values + first + 4 * four));
      zero[four] = _mm_cmpeq_epi32(_mm_slli_epi32(number, 1), _mm_setzero_si128());
    }
    const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(zero[0], zero[1]), _mm_packs_epi32(zero[2], zero[3]));
    bits |= static_cast<uint64_t>(~_mm_movemask_epi8(bytes) & 0xffff) << first;
  }
#else
  for (int place = 0; place < kBlock; ++place) bits |= static_cast<uint64_t>(stays(values[place])) << place;
#endif
  return bits;
}

// The same bytes, the highest bit of each where its lowest was.
inline uint64_t mirrored(uint64_t bits) {
  bits = (bits >> 4 & 0x0f0f0f0f0f0f0f0fu) | (bits & 0x0f0f0f0f0f0f0f0fu) << 4;
  bits = (bits >> 2 & 0x3333333333333333u) | (bits & 0x3333333333333333u) << 2;
  return (bits >> 1 & 0x5555555555555555u) | (bits & 0x5555555555555555u) << 1;
}

// The place of the lowest bit that is set.
inline int lowest(uint64_t bits) { return __builtin_ctzll(bits); }

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
  int64_t input = 0;
  for (; input + kBlock <= count; input += kBlock) {
    for (uint64_t bits = staying(values + input); bits != 0; bits &= bits - 1) {
      const int64_t place = input + lowest(bits);
      *at++ = {static_cast<int32_t>(offset + place * weights.plane_bytes), values[place]};
    }
  }
  for (; input < count; ++input) {
    *at = {static_cast<int32_t>(offset + input * weights.plane_bytes), values[input]};
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
  int64_t first = 0;
  for (; first + kBlock <= count; first += kBlock) {
    const uint64_t bits = staying(values + first);
    const uint64_t bytes = mirrored(bits);
    for (int byte = 0; byte < kBlock / 8; ++byte) *mask++ = static_cast<uint8_t>(bytes >> (8 * byte));
    for (uint64_t left = bits; left != 0; left &= left - 1) *at++ = values[first + lowest(left)];
  }
  for (; first < count; first += 8) {
    const int here = static_cast<int>(std::min<int64_t>(8, count - first));
    unsigned bits = 0;
    for (int bit = 0; bit < here; ++bit) {
      const float value = values[first + bit];
      if (!stays(value)) continue;
      *at++ = value;
      bits |= 1u << (7 - bit);
    }
    *mask++ = static_cast<uint8_t>(bits);
  }
  return at - kept;
}

// A hash of memory at the speed of memory: of weights, to tell whether they are those of another day.
#include <cstdint>
#include <cstring>

#include "sapwood_engine.h"

namespace {

constexpr int kLanes = 8;
constexpr int64_t kBlock = kLanes * static_cast<int64_t>(sizeof(uint64_t));

// For any word this maps states to states one to one, and for any state words to states: two contents that differ in
// one word of a lane end in different states whatever else they hold. Both factors are odd; the shifts carry high bits
// down, which products alone never do.
inline uint64_t step(uint64_t state, uint64_t word) {
  state = (state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
  return state ^ (state >> 29);
}

inline void take(uint64_t (&lanes)[kLanes], const unsigned char* block) {
  uint64_t words[kLanes];
  std::memcpy(words, block, sizeof(words));
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = step(lanes[lane], words[lane]);
}

}  // namespace

extern "C" void sw_hash(const void* data, int64_t bytes, uint64_t* state) {
  uint64_t lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = UINT64_C(0xd6e8feb86659fd93) * (2 * lane + 1);
  const unsigned char* at = static_cast<const unsigned char*>(data);
  int64_t left = bytes;
  for (; left >= kBlock; left -= kBlock, at += kBlock) take(lanes, at);
  unsigned char last[kBlock] = {};
  if (left > 0) std::memcpy(last, at, static_cast<size_t>(left));
  take(lanes, last);
  for (int lane = 0; lane < kLanes; ++lane) state[lane] = step(step(lanes[lane], static_cast<uint64_t>(bytes)), 0);
}

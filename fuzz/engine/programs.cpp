#include "programs.h"

#include <cstddef>

namespace fuzz {

uint64_t Random::next() {  // splitmix64
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// All blocks point to the same arrays: only that of an operation's kind is looked at.
void Program::point() {
  for (std::size_t number = 0; number < ops.size(); ++number) {
    starts[number].shrink_to_fit(), entries[number].shrink_to_fit();
    bias[number].shrink_to_fit(), numbers[number].shrink_to_fit();
    const float* const first = bias[number].empty() ? nullptr : bias[number].data();
    const float* const second = numbers[number].empty() ? nullptr : numbers[number].data();
    const auto num_first = static_cast<int64_t>(bias[number].size());
    const auto num_second = static_cast<int64_t>(numbers[number].size());
    sw_op& op = ops[number];
    op.conv.starts = starts[number].empty() ? nullptr : starts[number].data();
    op.conv.entries = entries[number].empty() ? nullptr : entries[number].data();
    op.conv.num_starts = static_cast<int64_t>(starts[number].size());
    op.conv.num_entries = static_cast<int64_t>(entries[number].size());
    op.conv.bias = op.depthwise.bias = op.norm.shifts = first;
    op.conv.num_bias = op.depthwise.num_bias = op.norm.num_shifts = num_first;
    op.conv.weights = op.depthwise.weights = op.constant.values = op.norm.factors = op.embed.table = second;
    op.conv.num_weights = op.depthwise.num_weights = op.constant.num_values = op.norm.num_factors =
        op.embed.num_values = num_second;
  }
}

int64_t floats_of(const sw_op& op) {
  if (op.kind == SW_PACK && op.pack.phased) return int64_t{op.pack.channels} * op.pack.height * op.pack.width;
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  return int64_t{map.channels} * map.height * map.width;
}

}  // namespace fuzz

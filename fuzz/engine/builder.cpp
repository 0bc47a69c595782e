#include "builder.h"

#include <algorithm>

namespace fuzz {

Program Builder::build() {
  for (int64_t left = random_.between(1, 2); left > 0; --left) pack();
  for (int64_t left = random_.between(1, 6); left > 0; --left) step();
  const int64_t outputs = random_.between(1, 2);
  for (int64_t index = 0; index < outputs; ++index) {
    sw_op op = blank(SW_UNPACK);
    op.unpack.index = static_cast<int32_t>(index);
    op.in = index ? any() : maps_.back();
    add(op);
  }
  program_.arena = cursor_;
  program_.point();
  return std::move(program_);
}

// A kind without a case does not compile.
void Builder::step() {
  sw_op op = blank(number(SW_CONV, SW_NUM_KINDS - 1));
  switch (static_cast<sw_kind>(op.kind)) {
    case SW_PACK:
    case SW_UNPACK:  // where a program begins and ends
    case SW_NUM_KINDS: return;
    case SW_CONV: return convolve(op);
    case SW_PHASES: return phases(op);
    case SW_MAXPOOL:
    case SW_AVGPOOL: return pool(op);
    case SW_UPSAMPLE: return upsample(op);
    case SW_ADD:
    case SW_MUL: return combine(op);
    case SW_COPY: return copy(op);
    case SW_DEPTHWISE: return filter(op);
    case SW_CHAIN: return chain(op);
    case SW_VIEW: return view(op);
    case SW_CONSTANT: return constant(op);
    case SW_NORM: return norm(op);
    case SW_ATTENTION: return attend(op);
    case SW_EMBED: return embed(op);
  }
}

std::vector<float> Builder::values(int64_t count, int zeros) {
  std::vector<float> found(count);
  for (float& value : found) value = zeros == 1 || !random_.one_in(zeros) ? random_.value() : 0.0f;
  return found;
}

bool Builder::find(const Wanted& wanted, sw_map& found) {
  std::vector<sw_map> fit;
  std::copy_if(maps_.begin(), maps_.end(), std::back_inserter(fit), wanted);
  if (fit.empty()) return false;
  found = fit[random_.next() % fit.size()];
  return true;
}

sw_map Builder::padded() {
  sw_map found;
  if (find([&](const sw_map& one) { return is_padded(one); }, found)) return found;
  sw_op op = blank(SW_COPY);
  op.in = any();
  op.out = map(op.in.channels, op.in.height, op.in.width);
  add(op);
  return op.out;
}

sw_map Builder::place(sw_map map) {
  map.stride = up((map.height + 2 * map.margin) * int64_t{map.pitch}, 16);
  map.offset = cursor_;
  map.reserved = 0;
  cursor_ += map.channels * map.stride + 64;
  return map;
}

sw_map Builder::map(int64_t channels, int64_t height, int64_t width, int64_t pitch) {
  sw_map map;
  map.channels = static_cast<int32_t>(channels);
  map.height = static_cast<int32_t>(height);
  map.width = static_cast<int32_t>(width);
  map.margin = pitch % lanes_ ? 0 : number(0, 2);
  map.pitch = static_cast<int32_t>(pitch ? pitch : up(width + random_.between(0, 2), lanes_));
  return place(map);
}

sw_map Builder::loose(int64_t channels, int64_t height, int64_t width) {
  return map(channels, height, width, random_.one_in(4) ? width + random_.between(0, 1) : 0);
}

void Builder::add(const sw_op& op, Arrays arrays) {
  program_.ops.push_back(op);
  program_.starts.push_back(std::move(arrays.starts));
  program_.entries.push_back(std::move(arrays.entries));
  program_.bias.push_back(std::move(arrays.bias));
  program_.numbers.push_back(std::move(arrays.numbers));
  if (op.out.channels && op.out.offset >= 0) maps_.push_back(op.out);
}

void Builder::activate(sw_op& op) {
  op.activation = number(0, SW_NUM_ACTIVATIONS - 1);
  op.slope = op.activation == SW_LEAKY ? 0.25f * number(0, 4) : 0.0f;
}

void Builder::pack() {
  sw_op op = blank(SW_PACK);
  op.pack.index = static_cast<int32_t>(program_.ops.size());
  const int32_t channels = number(1, 5), height = random_.one_in(3) ? 1 : number(1, 9), width = number(1, 40);
  if (random_.one_in(4)) {
    op.pack.phased = 1;
    op.pack.channels = channels, op.pack.height = height, op.pack.width = width;
    op.out = phases_of(op.pack.step, channels, height, width);
  } else {
    op.out = loose(channels, height, width);
  }
  add(op);
}

sw_map Builder::phases_of(int32_t (&step)[2], int64_t channels, int64_t height, int64_t width) {
  step[0] = number(1, 3), step[1] = number(1, 3);
  return loose(channels * step[0] * step[1], up(height, step[0]) / step[0], up(width, step[1]) / step[1]);
}

void Builder::phases(sw_op op) {
  op.in = any();
  activate(op);
  op.out = phases_of(op.phases.step, op.in.channels, op.in.height, op.in.width);
  add(op);
}

void Builder::pool(sw_op op) {
  sw_pool& window = op.pool;
  op.in = any();
  activate(op);
  int32_t sizes[2];
  const int32_t from[2] = {op.in.height, op.in.width};
  const bool whole = random_.one_in(4);  // one window, as a mean over all places
  for (int side = 0; side < 2; ++side) {
    window.kernel[side] = whole ? from[side] : number(1, 4);
    window.step[side] = number(1, 3);
    window.pad[side] = whole ? 0 : number(0, window.kernel[side] - 1);
    sizes[side] = whole ? 1 : number(1, (from[side] - 1 + window.pad[side]) / window.step[side] + 1);
  }
  window.all_places = number(0, 1);
  op.out = loose(op.in.channels, sizes[0], sizes[1]);
  add(op);
}

void Builder::upsample(sw_op op) {
  op.in = any();
  activate(op);
  op.upsample.step[0] = number(1, 3), op.upsample.step[1] = number(1, 3);
  op.out = loose(op.in.channels, op.in.height * op.upsample.step[0], op.in.width * op.upsample.step[1]);
  add(op);
}

void Builder::copy(sw_op op) {
  op.in = any();
  activate(op);
  op.out = loose(op.in.channels, op.in.height, op.in.width);
  add(op);
}

void Builder::combine(sw_op op) {
  op.in = op.other = any();
  activate(op);
  op.out = loose(op.in.channels, op.in.height, op.in.width);
  for (const sw_map& one : maps_) {
    const bool same = one.height == op.in.height && one.width == op.in.width;
    const bool single = op.kind == SW_MUL && one.height == 1 && one.width == 1;
    if (one.channels == op.in.channels && (same || single) && random_.one_in(2)) op.other = one;
  }
  add(op);
}

Program sensible(Random& random) { return Builder(random).build(); }

}  // namespace fuzz

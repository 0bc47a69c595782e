// Views, constants, norms, attention and embeddings.
#include <algorithm>
#include <cmath>

#include "builder.h"

namespace fuzz {

// With counts of any kind: where it begins, and steps that end within the input.
void Builder::strides(sw_op& op) {
  sw_view& view = op.view;
  const int64_t all = int64_t{op.in.channels} * op.in.height * op.in.width;
  view.first = random_.between(0, all - 1);
  if (random_.one_in(2)) view.first = 0;
  int64_t left = all - 1 - view.first;
  for (int side = 0; side < 4; ++side) {
    const int32_t count = view.count[side];
    view.step[side] = random_.between(0, count > 1 ? left / (count - 1) : all);
    if (side == 3 && count - 1 <= left && random_.one_in(2)) view.step[side] = 1;
    left -= (count - 1) * view.step[side];
  }
}

// All values, with channels, rows and columns in another order.
void Builder::turn(sw_op& op) {
  struct Axis {
    int32_t count;
    int64_t step;
  };
  Axis axes[4] = {
      {op.in.channels, int64_t{op.in.height} * op.in.width}, {op.in.height, op.in.width}, {op.in.width, 1}, {1, 0}};
  for (int side = 3; side > 0; --side) std::swap(axes[side], axes[random_.between(0, side)]);
  op.view.first = 0;
  for (int side = 0; side < 4; ++side) op.view.count[side] = axes[side].count, op.view.step[side] = axes[side].step;
}

void Builder::view(sw_op op) {
  sw_view& view = op.view;
  op.in = any();
  turn(op);
  if (random_.one_in(2) || int64_t{view.count[0]} * view.count[1] > 64) {
    for (int32_t& count : view.count) count = number(1, 5);
    strides(op);
  }
  const int32_t before = random_.one_in(2) ? number(0, 3) : 0, behind = random_.one_in(2) ? number(0, 3) : 0;
  const int32_t places = view.count[2] * view.count[3];
  const int32_t height = number(1, std::min(3, places)),
                width = static_cast<int32_t>(up(before + places, height)) / height;
  view.at = before;
  op.out = loose(view.count[0] * view.count[1], height, width + behind);
  add(op);
  if (before && random_.one_in(2)) fill(op.out, 0, before);
  const int32_t end = before + places, rest = op.out.height * op.out.width - end;
  if (rest && random_.one_in(2)) fill(op.out, end, number(1, rest));
}

void Builder::fill(const sw_map& out, int32_t at, int32_t count) {
  sw_op op = blank(SW_CONSTANT);
  op.out = out;
  op.constant.at = at, op.constant.count = count;
  Arrays arrays;
  arrays.numbers = values(int64_t{out.channels} * count);
  add(op, std::move(arrays));
}

void Builder::constant(sw_op op) {
  op.out = loose(number(1, 5), number(1, 5), number(1, 20));
  const int32_t places = op.out.height * op.out.width, at = random_.one_in(2) ? number(0, places - 1) : 0;
  fill(op.out, at, number(1, places - at));
}

void Builder::norm(sw_op op) {
  op.in = padded();
  op.out = map(op.in.channels, op.in.height, op.in.width);
  op.norm.centred = number(0, 1);
  static const float known[] = {1e-5f, 1e-3f, 1.0f};
  op.norm.epsilon = known[number(0, 2)];
  Arrays arrays;
  arrays.bias = values(op.out.channels);
  arrays.numbers = values(op.out.channels);
  add(op, std::move(arrays));
}

sw_map Builder::row_of(const sw_map& in, int32_t channels, int32_t width) {
  sw_op op = blank(SW_VIEW);
  op.in = in;
  const int32_t counts[4] = {channels, 1, 1, width};
  std::copy(counts, counts + 4, op.view.count);
  strides(op);
  op.out = map(channels, 1, width);
  add(op);
  return op.out;
}

sw_map Builder::tokens() {
  sw_map found;
  const bool is_there = find([&](const sw_map& one) { return one.height == 1 && is_padded(one); }, found);
  return is_there && !random_.one_in(4) ? found : row_of(any(), number(1, 12), number(1, random_.one_in(8) ? 200 : 40));
}

sw_map Builder::tokens(int32_t width) {
  sw_map found;
  const bool is_there = find([&](const sw_map& one) { return one.height == 1 && one.width == width; }, found);
  return is_there && !random_.one_in(4) ? found : row_of(any(), number(1, 12), width);
}

void Builder::attend(sw_op op) {
  sw_attention& attention = op.attention;
  op.in = tokens(), op.other = tokens();
  attention.value = tokens(op.other.width);
  attention.groups = number(1, 2), attention.heads = attention.groups * number(1, 2);
  attention.depth = number(1, std::min(op.in.channels, op.other.channels));
  attention.value_depth = number(1, attention.value.channels);
  const int32_t count[3] = {attention.heads, attention.groups, attention.groups};
  const int32_t depth[3] = {attention.depth, attention.depth, attention.value_depth};
  const int32_t all[3] = {op.in.channels, op.other.channels, attention.value.channels};
  for (int side = 0; side < 3; ++side)
    attention.step[side] = number(0, count[side] > 1 ? (all[side] - depth[side]) / (count[side] - 1) : 5);
  attention.scale = 0.125f * static_cast<float>(number(-8, 8));
  attention.safe = number(0, 1);
  if (random_.one_in(2)) attention.mask = mask_of(op);
  op.out = map(attention.heads * attention.value_depth, 1, op.in.width);
  add(op);
}

// A map that only attention reads, for it may hold -inf; where that is not safe, the first key is seen by all.
sw_map Builder::mask_of(const sw_op& op) {
  const int32_t keys = op.other.width, heads = random_.one_in(2) ? op.attention.heads : 1;
  sw_op mask = blank(SW_CONSTANT);
  mask.out = map(heads * keys, 1, random_.one_in(2) ? op.in.width : 1);
  mask.constant.count = mask.out.width;
  Arrays arrays;
  arrays.numbers = values(int64_t{mask.out.channels} * mask.out.width);
  const int hidden = number(1, 4);
  for (size_t at = 0; at < arrays.numbers.size(); ++at) {
    const bool is_first = static_cast<int32_t>(at) / mask.out.width % keys == 0;
    if ((op.attention.safe || !is_first) && hidden < 4 && random_.one_in(hidden)) arrays.numbers[at] = -INFINITY;
  }
  add(mask, std::move(arrays));
  maps_.pop_back();
  return mask.out;
}

// Its numbers are exact, and now and then one of no row.
void Builder::embed(sw_op op) {
  sw_op numbers = blank(SW_CONSTANT);
  numbers.out = loose(1, number(1, 3), number(1, 20));
  numbers.constant.count = numbers.out.height * numbers.out.width;
  op.embed.rows = number(1, 6);
  Arrays rows, table;
  const bool wrong = random_.one_in(4);
  for (int32_t left = numbers.constant.count; left > 0; --left)
    rows.numbers.push_back(static_cast<float>(number(wrong ? -1 : 0, op.embed.rows - !wrong)) + 0.25f * number(0, 1));
  add(numbers, std::move(rows));
  op.in = numbers.out;
  op.out = loose(number(1, 20), op.in.height, op.in.width);
  table.numbers = values(int64_t{op.embed.rows} * op.out.channels);
  add(op, std::move(table));
}

}  // namespace fuzz

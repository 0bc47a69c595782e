// Convolutions: lists of single weights, dense blocks, vectors of channels, depthwise windows and chains of them.
#include <algorithm>

#include "builder.h"

namespace fuzz {
namespace {

// Vectors of a tile's row, and of the result's rows how many there are.
struct Rows {
  int64_t vectors, count;
};

Rows rows_of(const sw_conv& conv, const sw_map& in, int lanes) {
  if (in.pitch % lanes == 0) return {in.pitch / lanes, conv.height};
  return {(int64_t{conv.height} * in.pitch + lanes - 1) / lanes, 1};
}

}  // namespace

void Builder::tile(sw_conv& conv, const sw_map& in, int64_t rows) {
  const Rows all = rows_of(conv, in, lanes_);
  const bool whole = all.vectors <= most_ && !random_.one_in(8);
  conv.columns = whole ? static_cast<int32_t>(all.vectors) : number(1, std::min<int64_t>(most_, all.vectors));
  conv.rows = whole ? number(1, std::min({rows, all.count, most_ / all.vectors})) : 1;
}

// What is added to a result of the size of `out`, of this pitch if there is one; sometimes nothing.
sw_map Builder::added(const sw_map& out, int32_t pitch) {
  sw_map found = blank(SW_CONV).other;
  find(
      [&](const sw_map& one) {
        const bool fits = pitch ? one.pitch == pitch && int64_t{one.margin} * pitch % lanes_ == 0 : is_padded(one);
        return fits && one.channels == out.channels && one.height == out.height && one.width == out.width;
      },
      found);
  return found;
}

void Builder::convolve(sw_op op) {
  sw_conv& conv = op.conv;
  const sw_map in = op.in = any();
  activate(op);
  conv.channels = number(1, random_.one_in(8) ? 40 : 5);
  conv.height = number(1, in.height), conv.width = number(1, in.width);
  tile(conv, in, conv.height);
  const bool whole = conv.columns == rows_of(conv, in, lanes_).vectors;
  conv.num_chunks = number(1, in.channels);
  const bool is_dense = random_.one_in(3);
  conv.by_channels = is_dense && random_.one_in(3);
  conv.phased = whole && is_padded(in) && !conv.by_channels && random_.one_in(4);
  const int64_t height = (conv.height + 1) / 2, width = (conv.width + 1) / 2;
  if (!conv.phased) op.out = map(conv.channels, conv.height, conv.width, in.pitch);
  else if (width < lanes_ && random_.one_in(2)) op.out = map(4 * conv.channels, height, width, width);
  else op.out = map(4 * conv.channels, height, width);
  sw_map result = in;
  result.channels = conv.channels, result.height = conv.height, result.width = conv.width;
  op.other = added(result, in.pitch);
  Arrays arrays;
  if (is_dense) {
    if (conv.by_channels) conv.num_chunks = 1;
    arrays = dense(op, [&](int chunk) { return entry(in, chunk, conv.num_chunks, in.margin > 0); });
  } else {
    arrays = lists(op);
  }
  add(op, std::move(arrays));
}

// What the first two lists of an output read is moved, so that they need tiles of whole rows, and padding behind those.
Arrays Builder::lists(const sw_op& op) {
  const sw_conv& conv = op.conv;
  const bool whole = conv.columns == rows_of(conv, op.in, lanes_).vectors;
  const bool sideways = op.in.pitch > op.in.width && op.in.width == conv.width;
  Arrays arrays;
  arrays.starts = {0};
  for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
    for (int list = 0; list < 3 * conv.channels; ++list) {
      const bool moved = list % 3 != 2;
      if (!moved || (sideways && whole))
        for (int64_t left = random_.between(0, random_.one_in(8) ? 20 : 4); left > 0; --left)
          arrays.entries.push_back(entry(op.in, chunk, conv.num_chunks, !moved && sideways && op.in.margin > 0));
      arrays.starts.push_back(static_cast<int64_t>(arrays.entries.size()));
    }
  arrays.bias = values(conv.channels);
  return arrays;
}

sw_entry Builder::entry(const sw_map& in, int chunk, int chunks, bool sideways) {
  const int64_t each = (in.channels + chunks - 1) / chunks;
  const int64_t channel = std::min<int64_t>(in.channels - 1, chunk * each + random_.between(0, each - 1));
  const int64_t row = random_.between(-in.margin, in.margin), column = sideways ? random_.between(-1, 1) : 0;
  return {static_cast<int32_t>(4 * (channel * in.stride + row * in.pitch + column)), random_.value()};
}

// In as many groups as the channels allow. Values of the entries mean nothing, nor do weights that fill up blocks.
Arrays Builder::dense(sw_op& op, const std::function<sw_entry(int)>& entry) {
  sw_conv& conv = op.conv;
  conv.groups = conv.by_channels ? 1 : number(1, 3);
  if (conv.channels % conv.groups) conv.groups = 1;
  const int64_t block = conv.by_channels ? sw_wide() : sw_block();
  Arrays arrays;
  arrays.starts = {0};
  for (int list = 0; list < conv.num_chunks * conv.groups; ++list) {
    for (int64_t left = random_.between(0, 5); left > 0; --left) arrays.entries.push_back(entry(list / conv.groups));
    arrays.starts.push_back(static_cast<int64_t>(arrays.entries.size()));
  }
  arrays.bias = values(conv.channels);
  arrays.numbers = values(arrays.starts.back() * up(conv.channels / conv.groups, block));
  return arrays;
}

// Windows reach as far as there are zeros around the input.
void Builder::filter(sw_op& op, int32_t above, int32_t beside, int most) {
  sw_depthwise& window = op.depthwise;
  const int32_t from[2] = {op.in.height, op.in.width}, zeros[2] = {above, beside};
  int32_t sizes[2];
  for (int side = 0; side < 2; ++side) {
    window.kernel[side] = number(1, 5), window.step[side] = number(1, 3), window.dilation[side] = number(1, 2);
    window.pad[side] = number(0, zeros[side]);
    const int32_t free = from[side] + 2 * window.pad[side] - 1;
    if (window.dilation[side] * (window.kernel[side] - 1) > free) window.kernel[side] = 1;
    sizes[side] = (free - window.dilation[side] * (window.kernel[side] - 1)) / window.step[side] + 1;
  }
  if (random_.one_in(2) && window.kernel[0] <= from[1] + 2 * window.pad[1] && window.kernel[1] != window.kernel[0] &&
      window.dilation[0] == 1) {  // square windows have code of their own
    window.kernel[1] = window.kernel[0], window.dilation[1] = 1, window.step[1] = window.step[0];
    sizes[1] = (from[1] + 2 * window.pad[1] - window.kernel[1]) / window.step[1] + 1;
  }
  window.multiplier = number(1, most);
  activate(op);
  op.out = map(op.in.channels * window.multiplier, sizes[0], sizes[1]);
}

void Builder::add_filter(const sw_op& op) {
  Arrays arrays;
  arrays.bias = values(op.out.channels);
  const int64_t count = int64_t{op.out.channels} * op.depthwise.kernel[0] * op.depthwise.kernel[1];
  arrays.numbers = values(count, number(1, 4));
  add(op, std::move(arrays));
}

void Builder::filter(sw_op op) {
  op.in = padded();
  const int32_t beside = op.in.margin ? op.in.pitch - op.in.width : 0;
  filter(op, std::max(0, op.in.margin - (beside > 0)), beside, 2);
  op.other = added(op.out, 0);
  add_filter(op);
}

static sw_map handed_on(sw_map map, int64_t stride) {
  map.offset = -1, map.margin = 0, map.stride = stride;
  return map;
}

// A convolution of single places on a map of rows that a chain goes by.
void Builder::add_places(sw_op op, int32_t rows, bool may_be_dense) {
  sw_conv& conv = op.conv;
  conv.height = op.in.height, conv.width = op.in.width;
  tile(conv, op.in, rows);
  op.other = added(op.out, op.in.pitch);
  conv.num_chunks = number(1, op.in.channels);
  const auto own = [&](int) {
    const int64_t channel = random_.between(0, op.in.channels - 1);
    return sw_entry{static_cast<int32_t>(4 * op.in.stride * channel), random_.value()};
  };
  if (may_be_dense && random_.one_in(2)) {
    Arrays arrays = dense(op, own);
    return add(op, std::move(arrays));
  }
  Arrays arrays;
  arrays.starts = {0};
  for (int list = 0; list < 3 * conv.num_chunks * conv.channels; ++list) {
    for (int64_t left = list % 3 == 2 ? random_.between(0, 4) : 0; left > 0; --left) arrays.entries.push_back(own(0));
    arrays.starts.push_back(static_cast<int64_t>(arrays.entries.size()));
  }
  arrays.bias = values(conv.channels);
  add(op, std::move(arrays));
}

void Builder::chain(sw_op op) {
  const sw_map in = padded();
  const bool first = !random_.one_in(3), last = !first || !random_.one_in(3);
  sw_op wide = blank(SW_CONV), filtered = blank(SW_DEPTHWISE), places = blank(SW_CONV);
  filtered.in = in;
  if (first) {
    wide.in = in;
    wide.conv.channels = number(1, 5);
    activate(wide);
    wide.out = in;
    wide.out.channels = wide.conv.channels;
    wide.out = filtered.in = handed_on(wide.out, 0);
  }
  const int32_t beside = first || in.margin ? in.pitch - in.width : 0;
  filter(filtered, first ? 3 : std::max(0, in.margin - (beside > 0)), beside, first ? 1 : 2);
  filtered.other = added(filtered.out, 0);
  op.chain.count = 1 + first + last;
  op.chain.rows = number(1, filtered.out.height);
  if (last) {
    places.in = filtered.out = handed_on(filtered.out, up(int64_t{op.chain.rows} * filtered.out.pitch, 16));
    places.conv.channels = number(1, 5);
    activate(places);
    places.out = map(places.conv.channels, places.in.height, places.in.width, places.in.pitch);
  }
  add(op);
  if (first) add_places(wide, wide.in.height, false);
  add_filter(filtered);
  if (last) add_places(places, op.chain.rows, true);
}

}  // namespace fuzz

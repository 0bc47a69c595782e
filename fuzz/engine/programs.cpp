#include "programs.h"

#include <algorithm>
#include <cstring>

namespace fuzz {
namespace {

int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

class Builder {
 public:
  explicit Builder(Random& random) : random_(random), lanes_(sw_lanes()), most_(sw_most_vectors()) {}

  Program build() {
    pack();
    for (int64_t left = random_.between(1, 6); left > 0; --left) step();
    const int64_t outputs = random_.between(1, 2);
    for (int64_t index = 0; index < outputs; ++index) {
      sw_op op = blank(SW_UNPACK);
      op.unpack.index = static_cast<int32_t>(index);
      op.in = any();
      add(op);
    }
    program_.arena = cursor_;
    program_.point();
    return std::move(program_);
  }

 private:
  Random& random_;
  const int lanes_, most_;
  Program program_;
  std::vector<sw_map> maps_;
  int64_t cursor_ = 64;

  static sw_op blank(int kind) {
    sw_op op;
    std::memset(&op, 0, sizeof(op));
    op.kind = kind;
    return op;
  }

  int32_t number(int64_t least, int64_t most) { return static_cast<int32_t>(random_.between(least, most)); }

  const sw_map& any() { return maps_[random_.next() % maps_.size()]; }

  sw_map map(int64_t channels, int64_t height, int64_t width, int64_t pitch = 0) {
    sw_map map;
    map.channels = static_cast<int32_t>(channels);
    map.height = static_cast<int32_t>(height);
    map.width = static_cast<int32_t>(width);
    map.margin = number(0, 2);
    map.pitch = static_cast<int32_t>(pitch ? pitch : up(width + random_.between(0, 2), lanes_));
    map.stride = up((map.height + 2 * map.margin) * map.pitch, 16);
    map.offset = cursor_;
    map.reserved = 0;
    cursor_ += map.channels * map.stride + 64;
    return map;
  }

  void add(sw_op op, std::vector<int64_t> starts = {}, std::vector<sw_entry> entries = {}, std::vector<float> bias = {},
           std::vector<float> windows = {}) {
    program_.ops.push_back(op);
    program_.starts.push_back(std::move(starts));
    program_.entries.push_back(std::move(entries));
    program_.bias.push_back(std::move(bias));
    program_.windows.push_back(std::move(windows));
    if (op.out.channels && op.out.offset >= 0) maps_.push_back(op.out);
  }

  void activate(sw_op& op) {
    op.activation = number(0, SW_NUM_ACTIVATIONS - 1);
    op.slope = op.activation == SW_LEAKY ? 0.25f * number(0, 4) : 0.0f;
  }

  void pack() {
    sw_op op = blank(SW_PACK);
    const int32_t channels = number(1, 5), height = number(1, 9), width = number(1, 40);
    if (random_.one_in(4)) {
      op.pack.phased = 1;
      op.pack.channels = channels, op.pack.height = height, op.pack.width = width;
      op.out = phases_of(op.pack.step, channels, height, width);
    } else {
      op.out = map(channels, height, width);
    }
    add(op);
  }

  sw_map phases_of(int32_t (&step)[2], int64_t channels, int64_t height, int64_t width) {
    step[0] = number(1, 3), step[1] = number(1, 3);
    return map(channels * step[0] * step[1], up(height, step[0]) / step[0], up(width, step[1]) / step[1]);
  }

  void step() {
    sw_op op = blank(number(SW_CONV, SW_NUM_KINDS - 1));
    op.in = any();
    const sw_map& in = op.in;
    switch (op.kind) {
      case SW_CONV: convolve(op); return;
      case SW_DEPTHWISE: filter(op); return;
      case SW_CHAIN: chain(op); return;
      case SW_PHASES:
        activate(op);
        op.out = phases_of(op.phases.step, in.channels, in.height, in.width);
        break;
      case SW_MAXPOOL:
      case SW_AVGPOOL:
        activate(op);
        pool(op);
        break;
      case SW_UPSAMPLE:
        op.upsample.step[0] = number(1, 3), op.upsample.step[1] = number(1, 3);
        op.out = map(in.channels, in.height * op.upsample.step[0], in.width * op.upsample.step[1]);
        break;
      default: activate(op); combine(op);
    }
    add(op);
  }

  void pool(sw_op& op) {
    sw_pool& window = op.pool;
    int32_t sizes[2];
    const int32_t from[2] = {op.in.height, op.in.width};
    for (int side = 0; side < 2; ++side) {
      window.kernel[side] = number(1, 4);
      window.step[side] = number(1, 3);
      window.pad[side] = number(0, window.kernel[side] - 1);
      sizes[side] = number(1, (from[side] - 1 + window.pad[side]) / window.step[side] + 1);
    }
    window.all_places = number(0, 1);
    op.out = map(op.in.channels, sizes[0], sizes[1]);
  }

  void combine(sw_op& op) {
    op.out = map(op.in.channels, op.in.height, op.in.width);
    if (op.kind == SW_COPY) return;
    op.other = op.in;
    for (const sw_map& one : maps_) {
      const bool same = one.height == op.in.height && one.width == op.in.width;
      const bool single = op.kind == SW_MUL && one.height == 1 && one.width == 1;
      if (one.channels == op.in.channels && (same || single) && random_.one_in(2)) op.other = one;
    }
  }

  void convolve(sw_op op) {
    sw_conv& conv = op.conv;
    const sw_map in = op.in;
    const int vectors = in.pitch / lanes_;
    activate(op);
    conv.channels = number(1, 5);
    conv.height = number(1, in.height), conv.width = number(1, in.width);
    const bool whole = vectors <= most_;
    conv.columns = whole ? vectors : number(1, most_);
    conv.rows = whole ? number(1, std::min<int64_t>(conv.height, most_ / vectors)) : 1;
    conv.num_chunks = number(1, in.channels);
    conv.phased = whole && random_.one_in(4);
    op.out = conv.phased ? map(4 * conv.channels, (conv.height + 1) / 2, (conv.width + 1) / 2)
                         : map(conv.channels, conv.height, conv.width, in.pitch);
    for (const sw_map& one : maps_)
      if (one.channels == conv.channels && one.height == conv.height && one.width == conv.width &&
          one.pitch == in.pitch)
        op.other = one;
    std::vector<int64_t> starts{0};
    std::vector<sw_entry> entries;
    const bool sideways = in.pitch > in.width && in.width == conv.width;
    for (int chunk = 0; chunk < conv.num_chunks; ++chunk)
      for (int list = 0; list < 3 * conv.channels; ++list) {
        const bool moved = list % 3 != 2;
        if (!moved || (sideways && whole))
          for (int64_t left = random_.between(0, 4); left > 0; --left)
            entries.push_back(entry(in, chunk, conv.num_chunks, !moved && sideways && in.margin > 0));
        starts.push_back(static_cast<int64_t>(entries.size()));
      }
    std::vector<float> bias(conv.channels);
    for (float& value : bias) value = random_.value();
    add(op, std::move(starts), std::move(entries), std::move(bias));
  }

  // Windows reach as far as there are zeros around the input.
  void filter(sw_op& op, int32_t above, int32_t beside, int most) {
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

  void add_filter(const sw_op& op) {
    std::vector<float> bias(op.out.channels);
    std::vector<float> windows(int64_t{op.out.channels} * op.depthwise.kernel[0] * op.depthwise.kernel[1]);
    const int zeros = number(1, 4);
    for (float& value : bias) value = random_.value();
    for (float& value : windows) value = random_.one_in(zeros) ? random_.value() : 0.0f;
    add(op, {}, {}, std::move(bias), std::move(windows));
  }

  void filter(sw_op op) {
    const int32_t beside = op.in.margin ? op.in.pitch - op.in.width : 0;
    filter(op, std::max(0, op.in.margin - (beside > 0)), beside, 2);
    for (const sw_map& one : maps_)
      if (one.channels == op.out.channels && one.height == op.out.height && one.width == op.out.width) op.other = one;
    add_filter(op);
  }

  static sw_map handed_on(sw_map map, int64_t stride) {
    map.offset = -1, map.margin = 0, map.stride = stride;
    return map;
  }

  // A convolution of single places on a map of rows that a chain goes by.
  void add_places(sw_op op, int32_t rows) {
    sw_conv& conv = op.conv;
    const int vectors = op.in.pitch / lanes_;
    const bool whole = vectors <= most_;
    conv.height = op.in.height, conv.width = op.in.width;
    conv.columns = whole ? vectors : number(1, most_);
    conv.rows = whole ? number(1, std::min<int64_t>(rows, most_ / vectors)) : 1;
    conv.num_chunks = number(1, op.in.channels);
    std::vector<int64_t> starts{0};
    std::vector<sw_entry> entries;
    for (int list = 0; list < 3 * conv.num_chunks * conv.channels; ++list) {
      for (int64_t left = list % 3 == 2 ? random_.between(0, 4) : 0; left > 0; --left)
        entries.push_back(
            {static_cast<int32_t>(4 * op.in.stride * random_.between(0, op.in.channels - 1)), random_.value()});
      starts.push_back(static_cast<int64_t>(entries.size()));
    }
    std::vector<float> bias(conv.channels);
    for (float& value : bias) value = random_.value();
    add(op, std::move(starts), std::move(entries), std::move(bias));
  }

  void chain(sw_op op) {
    const bool first = !random_.one_in(3), last = !first || !random_.one_in(3);
    sw_op wide = blank(SW_CONV), filtered = blank(SW_DEPTHWISE), places = blank(SW_CONV);
    filtered.in = op.in;
    if (first) {
      wide.in = op.in;
      wide.conv.channels = number(1, 5);
      activate(wide);
      wide.out = op.in;
      wide.out.channels = wide.conv.channels;
      wide.out = filtered.in = handed_on(wide.out, 0);
    }
    const int32_t beside = first || op.in.margin ? op.in.pitch - op.in.width : 0;
    filter(filtered, first ? 3 : std::max(0, op.in.margin - (beside > 0)), beside, first ? 1 : 2);
    op.in = op.out = blank(SW_CHAIN).in;
    op.chain.count = 1 + first + last;
    op.chain.rows = number(1, filtered.out.height);
    if (last) {
      places.in = filtered.out = handed_on(filtered.out, up(int64_t{op.chain.rows} * filtered.out.pitch, 16));
      places.conv.channels = number(1, 5);
      activate(places);
      places.out = map(places.conv.channels, places.in.height, places.in.width, places.in.pitch);
    }
    add(op);
    if (first) add_places(wide, wide.in.height);
    add_filter(filtered);
    if (last) add_places(places, op.chain.rows);
  }

  sw_entry entry(const sw_map& in, int chunk, int chunks, bool sideways) {
    const int64_t each = (in.channels + chunks - 1) / chunks;
    const int64_t channel = std::min<int64_t>(in.channels - 1, chunk * each + random_.between(0, each - 1));
    const int64_t row = random_.between(-in.margin, in.margin), column = sideways ? random_.between(-1, 1) : 0;
    return {static_cast<int32_t>(4 * (channel * in.stride + row * in.pitch + column)), random_.value()};
  }
};

// Sums that wrap around.
int64_t plus(int64_t one, int64_t other) {
  return static_cast<int64_t>(static_cast<uint64_t>(one) + static_cast<uint64_t>(other));
}

int64_t strange(Random& random, int64_t before) {
  static const int64_t known[] = {0,
                                  1,
                                  -1,
                                  2,
                                  16,
                                  1 << 16,
                                  1 << 28,
                                  (1 << 28) + 1,
                                  INT32_MAX,
                                  INT32_MIN,
                                  INT64_MAX,
                                  INT64_MIN,
                                  int64_t{1} << 31,
                                  int64_t{1} << 32,
                                  (int64_t{1} << 32) + 1,
                                  int64_t{1} << 62};
  switch (random.between(0, 5)) {
    case 0: return plus(before, random.between(-2, 2));
    case 1: return plus(before, before);
    case 2: return plus(before, 16 * random.between(-4, 4));
    case 3: return static_cast<int64_t>(random.next());
    case 4: return random.between(-40, 40);
    default: return known[random.next() % (sizeof(known) / sizeof(known[0]))];
  }
}

template <class T>
void set(T& field, Random& random) {
  field = static_cast<T>(strange(random, static_cast<int64_t>(field)));
}

void mutate_map(sw_map& map, Random& random) {
  int32_t* const fields[] = {&map.channels, &map.height, &map.width, &map.margin, &map.pitch};
  const int64_t which = random.between(0, 6);
  if (which == 5) set(map.offset, random);
  else if (which == 6) set(map.stride, random);
  else set(*fields[which], random);
}

void mutate_arrays(Program& program, size_t number, Random& random) {
  auto& starts = program.starts[number];
  auto& entries = program.entries[number];
  auto& bias = program.bias[number];
  auto& windows = program.windows[number];
  switch (random.between(0, 7)) {
    case 0:
      if (!starts.empty()) set(starts[random.next() % starts.size()], random);
      break;
    case 1:
      if (!entries.empty()) set(entries[random.next() % entries.size()].offset, random);
      break;
    case 2:
      if (!entries.empty())
        entries[random.next() % entries.size()].offset = static_cast<int32_t>(4 * random.between(-4096, 4096));
      break;
    case 3:
      if (!entries.empty()) entries.pop_back();
      break;
    case 4:
      if (!starts.empty()) starts.pop_back();
      break;
    case 5:
      if (!bias.empty()) bias.pop_back();
      break;
    case 6:
      if (!windows.empty()) windows.pop_back();
      break;
    default: std::swap(starts, program.starts[random.next() % program.starts.size()]);
  }
}

// Numbers of what its kind looks at.
std::vector<int32_t*> fields_of(sw_op& op) {
  sw_pack& pack = op.pack;
  sw_pool& pool = op.pool;
  sw_conv& conv = op.conv;
  switch (op.kind) {
    case SW_PACK:
      return {&pack.index, &pack.phased, &pack.step[0], &pack.step[1], &pack.channels, &pack.height, &pack.width};
    case SW_UNPACK: return {&op.unpack.index};
    case SW_PHASES: return {&op.phases.step[0], &op.phases.step[1]};
    case SW_MAXPOOL:
    case SW_AVGPOOL:
      return {&pool.kernel[0], &pool.kernel[1], &pool.step[0],   &pool.step[1],
              &pool.pad[0],    &pool.pad[1],    &pool.all_places};
    case SW_UPSAMPLE: return {&op.upsample.step[0], &op.upsample.step[1]};
    case SW_CONV:
      return {&conv.phased,  &conv.channels,   &conv.height, &conv.width,      &conv.rows,
              &conv.columns, &conv.num_chunks, &conv.groups, &conv.by_channels};
    case SW_DEPTHWISE:
      return {&op.depthwise.multiplier, &op.depthwise.kernel[0],   &op.depthwise.kernel[1],
              &op.depthwise.step[0],    &op.depthwise.step[1],     &op.depthwise.pad[0],
              &op.depthwise.pad[1],     &op.depthwise.dilation[0], &op.depthwise.dilation[1]};
    case SW_CHAIN: return {&op.chain.count, &op.chain.rows};
    default: return {&op.reserved};
  }
}

void mutate_op(sw_op& op, Random& random) {
  const int64_t which = random.between(0, 19);
  if (which < 9) {
    const auto fields = fields_of(op);
    set(*fields[random.next() % fields.size()], random);
  } else if (which == 9) set(op.kind, random);
  else if (which == 10) set(op.activation, random);
  else if (which < 14) mutate_map(op.in, random);
  else if (which < 16) mutate_map(op.other, random);
  else if (which < 19) mutate_map(op.out, random);
  else op.slope = random.one_in(2) ? static_cast<float>(random.value() * 1e30) : 0.0f / (op.slope - op.slope + 0.0f);
}

}  // namespace

uint64_t Random::next() {  // splitmix64
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void Program::point() {
  for (size_t number = 0; number < ops.size(); ++number) {
    sw_conv& conv = ops[number].conv;
    starts[number].shrink_to_fit(), entries[number].shrink_to_fit(), bias[number].shrink_to_fit();
    conv.starts = starts[number].empty() ? nullptr : starts[number].data();
    conv.entries = entries[number].empty() ? nullptr : entries[number].data();
    conv.bias = bias[number].empty() ? nullptr : bias[number].data();
    conv.num_starts = static_cast<int64_t>(starts[number].size());
    conv.num_entries = static_cast<int64_t>(entries[number].size());
    conv.num_bias = static_cast<int64_t>(bias[number].size());
    sw_depthwise& window = ops[number].depthwise;
    windows[number].shrink_to_fit();
    window.weights = windows[number].empty() ? nullptr : windows[number].data();
    window.bias = conv.bias;
    window.num_weights = static_cast<int64_t>(windows[number].size());
    window.num_bias = conv.num_bias;
  }
}

Program sensible(Random& random) { return Builder(random).build(); }

void mutate(Program& program, Random& random) {
  for (int64_t left = random.between(1, 4); left > 0; --left) {
    const size_t number = random.next() % program.ops.size();
    const int64_t which = random.between(0, 19);
    if (which == 0)
      program.arena = random.one_in(2) ? plus(program.arena, -random.between(0, 500)) : strange(random, 1 << 16);
    else if (which == 1) program.ops[number] = program.ops[random.next() % program.ops.size()];
    else if (which == 2) std::swap(program.ops[number].in, program.ops[random.next() % program.ops.size()].out);
    else if (which < 7) mutate_arrays(program, number, random);
    else mutate_op(program.ops[number], random);
  }
  if (program.arena > (1 << 20) && program.arena <= (int64_t{1} << 44))
    program.arena = 1 << 20;  // memory to spare for all
  program.point();
}

int64_t floats_of(const sw_op& op) {
  if (op.kind == SW_PACK && op.pack.phased) return int64_t{op.pack.channels} * op.pack.height * op.pack.width;
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  return int64_t{map.channels} * map.height * map.width;
}

}  // namespace fuzz

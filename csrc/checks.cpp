#include "checks.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "strips.h"

namespace sapwood {
namespace {

// Of every size: products of two of them, and of those with a few more, stay far below 2^63.
constexpr int64_t kMost = SW_LARGEST;
constexpr int64_t kLine = SW_ALIGN / sizeof(float);
constexpr int64_t kMostTaps = 1 << 16;  // of a window's side, its step and its padding
constexpr int64_t kMostTiles = 1 << 30;

bool is_size(int64_t value) { return value >= 1 && value <= kMost; }

// In whole cache lines: the last vector of a map without row padding ends behind its last value.
int64_t plane_of(const sw_map& map) {
  return ((map.height + 2 * int64_t{map.margin}) * map.pitch + kLine - 1) / kLine * kLine;
}

// Behind the last float of a map that was checked.
int64_t end_of(const sw_map& map) {
  return map.offset + (map.channels > 1 ? (map.channels - 1) * map.stride : 0) + plane_of(map);
}

bool share_places(const sw_map& one, const sw_map& other) {
  return one.offset < end_of(other) && other.offset < end_of(one);
}

bool same_size(const sw_map& one, const sw_map& other) {
  return one.channels == other.channels && one.height == other.height && one.width == other.width;
}

int64_t divided(int64_t size, int64_t step) { return (size + step - 1) / step; }

bool has_other(const sw_op& op) {
  return op.kind == SW_ADD || op.kind == SW_MUL || (op.kind == SW_CONV && op.other.channels);
}

class Check {
 public:
  Check(const sw_op& op, int number, int count, int64_t arena, const Kernels& kernels)
      : op(op),
        pack(op.pack),
        pool(op.pool),
        conv(op.conv),
        number(number),
        count(count),
        arena(arena),
        kernels(kernels) {}

  void all() const {
    if (op.kind < 0 || op.kind >= SW_NUM_KINDS) refuse("kind " + std::to_string(op.kind) + " is not known");
    activation();
    maps();
    switch (op.kind) {
      case SW_PACK:
        index(pack.index);
        if (pack.phased) phases(pack.step, pack.channels, pack.height, pack.width);
        break;
      case SW_UNPACK: index(op.unpack.index); break;
      case SW_CONV:
        result();
        strips();
        tile();
        if (conv.by_channels) small();
        lists();
        if (conv.groups) blocks();
        entries();
        break;
      case SW_PHASES: phases(op.phases.step, op.in.channels, op.in.height, op.in.width); break;
      case SW_MAXPOOL:
      case SW_AVGPOOL:
        windows();
        last_window(0, op.in.height, op.out.height);
        last_window(1, op.in.width, op.out.width);
        break;
      case SW_UPSAMPLE: factors(); break;
      default: operands();
    }
  }

 private:
  const sw_op& op;
  const sw_pack& pack;
  const sw_pool& pool;
  const sw_conv& conv;
  const int number, count;
  const int64_t arena;
  const Kernels& kernels;

  [[noreturn]] void refuse(const std::string& why) const {
    throw std::invalid_argument("operation " + std::to_string(number) + ": " + why);
  }

  void activation() const {
    if (op.activation < 0 || op.activation >= SW_NUM_ACTIVATIONS) refuse("the activation is not known");
    if (op.activation == SW_LEAKY && !(op.slope >= 0.0f && op.slope <= 1.0f)) refuse("the slope is not in [0, 1]");
  }

  void maps() const {
    const bool reads = op.kind != SW_PACK, writes = op.kind != SW_UNPACK;
    if (reads) map(op.in, "input");
    if (writes) map(op.out, "output");
    if (has_other(op)) map(op.other, "operand");
    if (reads && writes && share_places(op.in, op.out)) refuse("input and output share places");
    if (has_other(op) && share_places(op.other, op.out)) refuse("operand and output share places");
  }

  void map(const sw_map& map, const char* name) const {
    const auto bad = [&](const char* why) { refuse(std::string(name) + ": " + why); };
    if (!is_size(map.channels) || !is_size(map.height) || !is_size(map.width) || map.margin < 0 || map.margin > kMost)
      bad("sizes must be positive, and at most 2^28");
    if (map.pitch > kMost || map.pitch < map.width) bad("the pitch must be at least the width");
    if (map.offset < 0 || map.offset % kLine || map.stride % kLine) bad("planes must start on cache lines");
    const int64_t plane = plane_of(map);
    if (map.channels > 1 && map.stride < plane) bad("planes overlap");
    if (plane > arena || map.offset > arena - plane ||
        (map.channels > 1 && map.stride > (arena - plane - map.offset) / (map.channels - 1)))
      bad("it does not fit into the arena");
  }

  void index(int32_t index) const {
    if (index < 0 || index >= count) refuse("picture " + std::to_string(index) + " is not there");
  }

  void operands() const {
    if (!same_size(op.in, op.out)) refuse("sizes differ");
    const bool factor =
        op.kind == SW_MUL && op.other.channels == op.out.channels && op.other.height == 1 && op.other.width == 1;
    if (has_other(op) && !same_size(op.other, op.out) && !factor) refuse("the operands' sizes differ");
  }

  void phases(const int32_t (&step)[2], int64_t channels, int64_t height, int64_t width) const {
    const int64_t down = step[0], right = step[1];
    if (!is_size(channels) || !is_size(height) || !is_size(width) || down < 1 || right < 1 || down > kMostTaps ||
        right > kMostTaps || op.out.channels / (down * right) != channels || op.out.channels % (down * right) ||
        op.out.height != divided(height, down) || op.out.width != divided(width, right))
      refuse("the output must have a channel for each phase, of the size over the step");
  }

  void windows() const {
    if (op.in.channels != op.out.channels) refuse("input and output must have the same channels");
    for (int side = 0; side < 2; ++side)
      if (pool.kernel[side] < 1 || pool.step[side] < 1 || pool.pad[side] < 0 || pool.pad[side] >= pool.kernel[side] ||
          pool.kernel[side] > kMostTaps || pool.step[side] > kMostTaps)
        refuse("kernel, step and padding do not fit");
  }

  void last_window(int side, int64_t from, int64_t into) const {
    if (pool.step[side] * (into - 1) - pool.pad[side] >= from) refuse("the last window is outside of the input");
  }

  void factors() const {
    if (op.in.channels != op.out.channels) refuse("input and output must have the same channels");
    const int64_t down = op.upsample.step[0], right = op.upsample.step[1];
    if (down < 1 || right < 1 || down > kMostTaps || right > kMostTaps) refuse("the step does not fit");
    if (op.out.height != op.in.height * down || op.out.width != op.in.width * right)
      refuse("the output must be the input times the step");
  }

  void result() const {
    const bool sizes = is_size(conv.channels) && is_size(conv.height) && is_size(conv.width);
    const bool whole = op.out.channels == conv.channels && op.out.height == conv.height && op.out.width == conv.width;
    const bool halves = op.out.channels == 4 * int64_t{conv.channels} && op.out.height == divided(conv.height, 2) &&
                        op.out.width == divided(conv.width, 2);
    if (!sizes || !(conv.phased ? halves : whole)) refuse("the output does not have the result's size");
    if (!conv.phased && op.in.pitch != op.out.pitch) refuse("input and output must have the same pitch");
    if (op.in.pitch < conv.width) refuse("the result is wider than the input's rows");
    if (op.other.channels && (op.other.channels != conv.channels || op.other.height != conv.height ||
                              op.other.width != conv.width || op.other.pitch != op.in.pitch))
      refuse("what is added must have the result's size and the input's pitch");
  }

  // Vectors that go on from row to row begin with a row.
  void strip(const sw_map& map) const {
    if (int64_t{map.margin} * map.pitch % kernels.lanes) refuse("the first row must begin with a vector");
  }

  void strips() const {
    if (op.in.pitch % kernels.lanes && int64_t{conv.height} * op.in.pitch > kMost)
      refuse("a map without row padding must have at most 2^28 values");
    strip(op.in);
    if (op.other.channels) strip(op.other);
    if (!conv.phased) return strip(op.out);
    if (op.in.pitch % kernels.lanes) refuse("phases are only made of whole rows");
    if (op.out.pitch % kernels.lanes && op.out.pitch > kernels.lanes)
      refuse("the pitch of phases must be a multiple of the lanes, or less");
  }

  void tile() const {
    const Strips whole = strips_of(op, kernels.lanes);
    const int64_t vectors = whole.vectors, rows = conv.rows, columns = conv.columns;
    if (rows < 1 || columns < 1 || columns > vectors || rows > kernels.most_vectors ||
        rows * columns > kernels.most_vectors)
      refuse("a tile must have between 1 and " + std::to_string(kernels.most_vectors) + " vectors");
    if (rows > whole.count) refuse("a tile must not be higher than the result");
    if (columns < vectors && conv.phased) refuse("phases are only made of whole rows");
    if (columns < vectors && rows != 1) refuse("a tile of several rows must have whole rows");
    if (divided(whole.count, rows) * divided(vectors, columns) > kMostTiles) refuse("there are more than 2^30 tiles");
  }

  int64_t num_lists() const {
    return int64_t{conv.num_chunks} * (conv.groups ? conv.groups : 3 * int64_t{conv.channels});
  }

  void lists() const {
    if (!conv.starts || !conv.bias || !is_size(conv.num_chunks)) refuse("starts and bias are missing");
    if (conv.groups < 0 || (conv.groups && conv.channels % conv.groups))
      refuse("the groups must have the same channels");
    if (conv.num_starts != num_lists() + 1) refuse("starts must be one more than lists");
    if (conv.num_bias != conv.channels) refuse("there must be a bias for each channel");
    if (conv.starts[0] != 0) refuse("the first list must start at 0");
    const bool sides = conv.columns == strips_of(op, kernels.lanes).vectors && op.in.pitch > conv.width;
    for (int64_t list = 0; list < num_lists(); ++list) {
      if (conv.starts[list + 1] < conv.starts[list]) refuse("lists must be in order");
      if (!conv.groups && list % 3 != 2 && conv.starts[list + 1] > conv.starts[list] && !sides)
        refuse("sums can only be moved where tiles have whole rows, and rows end in padding");
    }
    if (conv.starts[num_lists()] != conv.num_entries || (conv.num_entries && !conv.entries))
      refuse("entries are missing");
  }

  void small() const {
    if (conv.groups != 1 || conv.num_chunks != 1 || conv.phased)
      refuse("vectors of channels are for dense weights in one group and one chunk, and for no phases");
    if (int64_t{conv.height} * conv.width > kMost) refuse("vectors of channels are for maps of at most 2^28 places");
  }

  // For each tap that a group reads, a number for each of its outputs, in whole blocks.
  void blocks() const {
    const int64_t block = conv.by_channels ? kernels.wide : kernels.block;
    const int64_t wide = divided(conv.channels / conv.groups, block) * block;
    if (conv.num_entries > kMost) refuse("there are more than 2^28 taps");
    if (conv.num_weights != conv.num_entries * wide || (conv.num_weights && !conv.weights))
      refuse("there must be a weight for each tap and each output of its group, in whole blocks");
  }

  // What an offset reaches, over all output rows, must be inside the arena and its guards.
  void entries() const {
    const int64_t origin = op.in.offset + int64_t{op.in.margin} * op.in.pitch;
    const int64_t reach = (int64_t{conv.height} * op.in.pitch + kLine - 1) / kLine * kLine;
    for (int64_t at = 0; at < conv.num_entries; ++at) {
      const int64_t offset = conv.entries[at].offset;
      const int64_t first = origin + offset / 4;
      if (offset % 4 || first < -kGuard || first + reach > arena + kGuard)
        refuse("entry " + std::to_string(at) + " reads outside of the arena");
    }
  }
};

}  // namespace

void check(const sw_op& op, int number, int count, int64_t arena, const Kernels& kernels) {
  Check(op, number, count, arena, kernels).all();
}

int64_t picture_floats(const sw_op& op) {
  if (op.kind == SW_PACK && op.pack.phased) return int64_t{op.pack.channels} * op.pack.height * op.pack.width;
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  return int64_t{map.channels} * map.height * map.width;
}

bool reads_own_output(const sw_op& op) {
  const sw_conv& conv = op.conv;
  const int64_t origin = op.in.offset + int64_t{op.in.margin} * op.in.pitch;
  const int64_t reach = (int64_t{conv.height} * op.in.pitch + kLine - 1) / kLine * kLine;
  return std::any_of(conv.entries, conv.entries + conv.num_entries, [&](const sw_entry& entry) {
    const int64_t first = origin + entry.offset / 4;
    return first < end_of(op.out) && op.out.offset < first + reach;
  });
}

}  // namespace sapwood

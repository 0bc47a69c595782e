#include "checks.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace sapwood {
namespace {

// Of every size: products of two of them, and of those with a few more, stay far below 2^63.
constexpr int64_t kMost = int64_t{1} << 28;
constexpr int64_t kMostTaps = 1 << 16;  // of a window's side, its step and its padding
constexpr int64_t kMostTiles = 1 << 30;

bool is_size(int64_t value) { return value >= 1 && value <= kMost; }

int64_t plane_of(const sw_map& map) { return (map.height + 2 * int64_t{map.margin}) * map.pitch; }

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
      : op(op), number(number), count(count), arena(arena), kernels(kernels) {}

  void all() const {
    if (op.kind < 0 || op.kind >= SW_NUM_KINDS) refuse("kind " + std::to_string(op.kind) + " is not known");
    activation();
    maps();
    switch (op.kind) {
      case SW_PACK:
        index();
        if (op.phased) phases(op.channels, op.height, op.width);
        break;
      case SW_UNPACK: index(); break;
      case SW_CONV:
        result();
        tile();
        lists();
        entries();
        break;
      case SW_PHASES: phases(op.in.channels, op.in.height, op.in.width); break;
      case SW_MAXPOOL:
      case SW_AVGPOOL:
        windows();
        last_window(0, op.in.height, op.out.height);
        last_window(1, op.in.width, op.out.width);
        break;
      case SW_UPSAMPLE:
        windows();
        if (op.out.height != int64_t{op.in.height} * op.step[0] || op.out.width != int64_t{op.in.width} * op.step[1])
          refuse("the output must be the input times the step");
        break;
      default: operands();
    }
  }

 private:
  const sw_op& op;
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
    if (map.pitch > kMost || map.pitch < map.width || map.pitch % kernels.lanes)
      bad("the pitch must be a multiple of the lanes, at least the width");
    if (map.offset < 0 || map.offset % 16 || map.stride % 16) bad("planes must start on cache lines");
    const int64_t plane = plane_of(map);
    if (map.channels > 1 && map.stride < plane) bad("planes overlap");
    if (plane > arena || map.offset > arena - plane ||
        (map.channels > 1 && map.stride > (arena - plane - map.offset) / (map.channels - 1)))
      bad("it does not fit into the arena");
  }

  void index() const {
    if (op.index < 0 || op.index >= count) refuse("picture " + std::to_string(op.index) + " is not there");
  }

  void operands() const {
    if (!same_size(op.in, op.out)) refuse("sizes differ");
    const bool factor =
        op.kind == SW_MUL && op.other.channels == op.out.channels && op.other.height == 1 && op.other.width == 1;
    if (has_other(op) && !same_size(op.other, op.out) && !factor) refuse("the operands' sizes differ");
  }

  void phases(int64_t channels, int64_t height, int64_t width) const {
    const int64_t down = op.step[0], right = op.step[1];
    if (!is_size(channels) || !is_size(height) || !is_size(width) || down < 1 || right < 1 || down > kMostTaps ||
        right > kMostTaps || op.out.channels / (down * right) != channels || op.out.channels % (down * right) ||
        op.out.height != divided(height, down) || op.out.width != divided(width, right))
      refuse("the output must have a channel for each phase, of the size over the step");
  }

  void windows() const {
    if (op.in.channels != op.out.channels) refuse("input and output must have the same channels");
    for (int side = 0; side < 2; ++side)
      if (op.kernel[side] < 1 || op.step[side] < 1 || op.pad[side] < 0 || op.pad[side] >= op.kernel[side] ||
          op.kernel[side] > kMostTaps || op.step[side] > kMostTaps)
        refuse("kernel, step and padding do not fit");
  }

  void last_window(int side, int64_t from, int64_t into) const {
    if (op.step[side] * (into - 1) - op.pad[side] >= from) refuse("the last window is outside of the input");
  }

  void result() const {
    const bool sizes = is_size(op.channels) && is_size(op.height) && is_size(op.width);
    const bool whole = op.out.channels == op.channels && op.out.height == op.height && op.out.width == op.width;
    const bool halves = op.out.channels == 4 * int64_t{op.channels} && op.out.height == divided(op.height, 2) &&
                        op.out.width == divided(op.width, 2);
    if (!sizes || !(op.phased ? halves : whole)) refuse("the output does not have the result's size");
    if (!op.phased && op.in.pitch != op.out.pitch) refuse("input and output must have the same pitch");
    if (op.in.pitch < op.width) refuse("the result is wider than the input's rows");
    if (op.other.channels && (op.other.channels != op.channels || op.other.height != op.height ||
                              op.other.width != op.width || op.other.pitch != op.in.pitch))
      refuse("what is added must have the result's size and the input's pitch");
  }

  void tile() const {
    const int64_t vectors = op.in.pitch / kernels.lanes, rows = op.rows, columns = op.columns;
    if (rows < 1 || columns < 1 || columns > vectors || rows > kernels.most_vectors ||
        rows * columns > kernels.most_vectors)
      refuse("a tile must have between 1 and " + std::to_string(kernels.most_vectors) + " vectors");
    if (rows > op.height) refuse("a tile must not be higher than the result");
    if (columns < vectors && op.phased) refuse("phases are only made of whole rows");
    if (columns < vectors && rows != 1) refuse("a tile of several rows must have whole rows");
    if (divided(op.height, rows) * divided(vectors, columns) > kMostTiles) refuse("there are more than 2^30 tiles");
  }

  int64_t num_lists() const { return int64_t{op.num_chunks} * op.channels * 3; }

  void lists() const {
    if (!op.starts || !op.bias || !is_size(op.num_chunks)) refuse("starts and bias are missing");
    if (op.num_starts != num_lists() + 1) refuse("starts must be one more than lists");
    if (op.num_bias != op.channels) refuse("there must be a bias for each channel");
    if (op.starts[0] != 0) refuse("the first list must start at 0");
    const bool sides = op.columns == op.in.pitch / kernels.lanes && op.in.pitch > op.width;
    for (int64_t list = 0; list < num_lists(); ++list) {
      if (op.starts[list + 1] < op.starts[list]) refuse("lists must be in order");
      if (list % 3 != 2 && op.starts[list + 1] > op.starts[list] && !sides)
        refuse("sums can only be moved where tiles have whole rows, and rows end in padding");
    }
    if (op.starts[num_lists()] != op.num_entries || (op.num_entries && !op.entries)) refuse("entries are missing");
  }

  // What an offset reaches, over all output rows, must be inside the arena and its guards.
  void entries() const {
    const int64_t origin = op.in.offset + int64_t{op.in.margin} * op.in.pitch;
    const int64_t reach = int64_t{op.height} * op.in.pitch;
    for (int64_t at = 0; at < op.num_entries; ++at) {
      const int64_t offset = op.entries[at].offset;
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
  if (op.kind == SW_PACK && op.phased) return int64_t{op.channels} * op.height * op.width;
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  return int64_t{map.channels} * map.height * map.width;
}

bool reads_own_output(const sw_op& op) {
  const int64_t origin = op.in.offset + int64_t{op.in.margin} * op.in.pitch;
  const int64_t reach = int64_t{op.height} * op.in.pitch;
  return std::any_of(op.entries, op.entries + op.num_entries, [&](const sw_entry& entry) {
    const int64_t first = origin + entry.offset / 4;
    return first < end_of(op.out) && op.out.offset < first + reach;
  });
}

}  // namespace sapwood

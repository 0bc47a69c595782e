#include "checks.h"

#include <algorithm>
#include <cstdint>
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
constexpr int64_t kMostKeys = 1 << 20;
constexpr int64_t kMostRows = 1 << 24;  // each number of a row is a float
constexpr float kMostEpsilon = 1e6f;
constexpr float kMostScale = 1e30f;

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
  return one.offset >= 0 && other.offset >= 0 && one.offset < end_of(other) && other.offset < end_of(one);
}

bool same_size(const sw_map& one, const sw_map& other) {
  return one.channels == other.channels && one.height == other.height && one.width == other.width;
}

int64_t divided(int64_t size, int64_t step) { return (size + step - 1) / step; }

bool has_other(const sw_op& op) {
  return op.kind == SW_ADD || op.kind == SW_MUL ||
         ((op.kind == SW_CONV || op.kind == SW_DEPTHWISE) && op.other.channels);
}

// Whether its activation is looked at.
bool is_activated(int32_t kind) { return kind >= SW_CONV && kind <= SW_DEPTHWISE; }

// What a DEPTHWISE reads, of floats: the first one, and the one behind the last. The last load may take one more than
// the last value that it needs.
struct Range {
  int64_t first, end;
};

Range window_range(const sw_op& op, int lanes) {
  const sw_depthwise& window = op.depthwise;
  const int64_t origin = op.in.offset + (int64_t{op.in.margin} - window.pad[0]) * op.in.pitch - window.pad[1];
  const int64_t rows = int64_t{op.out.height - 1} * window.step[0] + int64_t{window.kernel[0] - 1} * window.dilation[0];
  const int64_t columns =
      (divided(op.out.width, lanes) * lanes - 1) * window.step[1] + int64_t{window.kernel[1] - 1} * window.dilation[1];
  const int64_t planes = op.in.channels > 1 ? (op.in.channels - 1) * op.in.stride : 0;
  if (window.strip) {
    const int64_t reach = int64_t{window.kernel[0] - 1} * window.dilation[0] * op.in.pitch +
                          int64_t{window.kernel[1] - 1} * window.dilation[1];
    return {origin, origin + planes + reach + strip_vectors(op, lanes) * lanes};
  }
  return {origin, origin + planes + rows * op.in.pitch + columns + 2};
}

// What an operation reads and writes: maps of the arena, or rows that a chain hands on.
struct Ends {
  bool reads_arena, writes_arena;
};

class Check {
 public:
  Check(const sw_op& op, int number, int count, int64_t arena, const Kernels& kernels, Ends ends = {true, true})
      : op(op),
        pack(op.pack),
        pool(op.pool),
        conv(op.conv),
        window(op.depthwise),
        view(op.view),
        attention(op.attention),
        number(number),
        count(count),
        arena(arena),
        kernels(kernels),
        ends(ends) {}

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
        if (ends.reads_arena) entries();
        else own_places();
        break;
      case SW_DEPTHWISE:
        filters();
        if (ends.reads_arena) reach();
        break;
      case SW_CHAIN: refuse("a chain among its parts");
      case SW_PHASES: phases(op.phases.step, op.in.channels, op.in.height, op.in.width); break;
      case SW_MAXPOOL:
      case SW_AVGPOOL:
        windows();
        last_window(0, op.in.height, op.out.height);
        last_window(1, op.in.width, op.out.width);
        break;
      case SW_UPSAMPLE: factors(); break;
      case SW_VIEW: places(); break;
      case SW_CONSTANT: constant(); break;
      case SW_NORM: norm(); break;
      case SW_ATTENTION: heads(); break;
      case SW_EMBED: table(); break;
      default: operands();
    }
  }

 private:
  const sw_op& op;
  const sw_pack& pack;
  const sw_pool& pool;
  const sw_conv& conv;
  const sw_depthwise& window;
  const sw_view& view;
  const sw_attention& attention;
  const int number, count;
  const int64_t arena;
  const Kernels& kernels;
  const Ends ends;

  [[noreturn]] void refuse(const std::string& why) const {
    throw std::invalid_argument("operation " + std::to_string(number) + ": " + why);
  }

  void activation() const {
    if (op.activation < 0 || op.activation >= SW_NUM_ACTIVATIONS) refuse("the activation is not known");
    if (op.activation == SW_LEAKY && !(op.slope >= 0.0f && op.slope <= 1.0f)) refuse("the slope is not in [0, 1]");
    if (op.activation != SW_LINEAR && !is_activated(op.kind)) refuse("there is no activation of this kind");
  }

  void maps() const {
    const bool reads = op.kind != SW_PACK && op.kind != SW_CONSTANT, writes = op.kind != SW_UNPACK;
    if (reads) (ends.reads_arena ? map(op.in, "input") : handed_on(op.in, "input"));
    if (writes) (ends.writes_arena ? map(op.out, "output") : handed_on(op.out, "output"));
    if (has_other(op)) map(op.other, "operand");
    if (reads && writes && share_places(op.in, op.out)) refuse("input and output share places");
    if (has_other(op) && share_places(op.other, op.out)) refuse("operand and output share places");
  }

  // A map of which some rows at a time stand in a thread's own memory; the stride is of those.
  void handed_on(const sw_map& map, const char* name) const {
    layout(map, name);
    if (map.offset != -1 || map.margin != 0) refuse(std::string(name) + ": what a chain hands on stands in no arena");
    if (map.stride < 0 || map.stride % kLine || map.stride > kMost)
      refuse(std::string(name) + ": planes must be lines");
  }

  void layout(const sw_map& map, const char* name) const {
    const auto bad = [&](const char* why) { refuse(std::string(name) + ": " + why); };
    if (!is_size(map.channels) || !is_size(map.height) || !is_size(map.width) || map.margin < 0 || map.margin > kMost)
      bad("sizes must be positive, and at most 2^28");
    if (map.pitch > kMost || map.pitch < map.width) bad("the pitch must be at least the width");
  }

  void map(const sw_map& map, const char* name) const {
    layout(map, name);
    const auto bad = [&](const char* why) { refuse(std::string(name) + ": " + why); };
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

  // What is written of each channel, and that the last of the values that are read is there.
  void places() const {
    region(view.at, int64_t{1} * view.count[2] * view.count[3]);
    int64_t last = view.first;
    for (int side = 0; side < 4; ++side) {
      if (!is_size(view.count[side]) || view.step[side] < 0 || view.step[side] > values_of(op.in))
        refuse("counts must be sizes, and steps within the input");
      last += (view.count[side] - 1) * view.step[side];
    }
    if (int64_t{1} * view.count[0] * view.count[1] != op.out.channels) refuse("counts must make the output's channels");
    if (view.first < 0 || view.first >= values_of(op.in) || last >= values_of(op.in))
      refuse("a value that is not in the input");
  }

  void region(int64_t at, int64_t places) const {
    if (at < 0 || places < 1 || at + places > int64_t{op.out.height} * op.out.width)
      refuse("places that are not in the output");
  }

  static int64_t values_of(const sw_map& map) { return int64_t{map.channels} * map.height * map.width; }

  void constant() const {
    region(op.constant.at, op.constant.count);
    if (!op.constant.values || op.constant.num_values != int64_t{op.out.channels} * op.constant.count)
      refuse("there must be a value for each channel and place");
  }

  void norm() const {
    whole_rows();
    if (!same_size(op.in, op.out)) refuse("sizes differ");
    const sw_norm& norm = op.norm;
    if (!norm.factors || !norm.shifts || norm.num_factors != op.out.channels || norm.num_shifts != op.out.channels)
      refuse("there must be a factor and a shift for each channel");
    if (!(norm.epsilon >= 0.0f && norm.epsilon <= kMostEpsilon)) refuse("epsilon is not in [0, 1e6]");
    if (divided(op.out.width, kernels.lanes) * op.out.height > kMostTiles) refuse("there are more than 2^30 places");
  }

  void heads() const {
    const int64_t count = attention.heads, groups = attention.groups, keys = op.other.width;
    const int64_t depth = attention.depth, value_depth = attention.value_depth;
    whole_rows();
    map(op.other, "keys");
    if (share_places(op.other, op.out)) refuse("keys and output share places");
    map(attention.value, "values");
    if (share_places(attention.value, op.out)) refuse("values and output share places");
    if (!is_size(count) || !is_size(groups) || count % groups || !is_size(depth) || !is_size(value_depth))
      refuse("heads must be a multiple of groups, and depths sizes");
    for (int32_t step : attention.step)
      if (step < 0) refuse("steps must not be negative");
    if ((count - 1) * attention.step[0] + depth > op.in.channels ||
        (groups - 1) * attention.step[1] + depth > op.other.channels ||
        (groups - 1) * attention.step[2] + value_depth > attention.value.channels ||
        count * value_depth != op.out.channels)
      refuse("heads must lie within their maps, and fill the output");
    if (op.in.height != 1 || op.other.height != 1 || op.out.height != 1 || attention.value.height != 1)
      refuse("tokens must be one row");
    if (op.in.width != op.out.width || attention.value.width != keys)
      refuse("there must be a result for each query, and a value for each key");
    if (keys > kMostKeys || count * divided(op.in.width, kernels.lanes) > kMostTiles)
      refuse("there are more than 2^20 keys, or 2^30 places");
    if (!(attention.scale >= -kMostScale && attention.scale <= kMostScale)) refuse("the scale is not a number");
    if (!attention.mask.channels) return;
    const sw_map& mask = attention.mask;
    map(mask, "mask");
    if (share_places(mask, op.out)) refuse("mask and output share places");
    if (mask.height != 1 || (mask.width != 1 && mask.width != op.in.width) ||
        (mask.channels != keys && mask.channels != count * keys))
      refuse("a mask must have a channel for each key, of one head or all, and 1 or all queries' places");
    if (mask.width == op.in.width) strip(mask);
  }

  void table() const {
    if (op.in.channels != 1 || op.in.height != op.out.height || op.in.width != op.out.width)
      refuse("there must be one number for each place of the output");
    if (!op.embed.table || op.embed.rows < 1 || op.embed.rows > kMostRows ||
        op.embed.num_values != int64_t{op.embed.rows} * op.out.channels)
      refuse("the table must have at most 2^24 rows of a number for each channel");
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

  // Of rows that a chain hands on, each output reads its own place.
  void own_places() const {
    if (op.in.stride < 1) refuse("planes of rows that are handed on overlap");
    for (int64_t at = 0; at < conv.num_entries; ++at) {
      const int64_t offset = conv.entries[at].offset, bytes = op.in.stride * 4;
      if (offset < 0 || offset % bytes || offset / bytes >= op.in.channels)
        refuse("entry " + std::to_string(at) + " reads another place than its own");
    }
  }

  // Rows that are stored by themselves begin with a vector.
  void whole_rows() const {
    const int lanes = kernels.lanes;
    if (op.in.pitch % lanes || op.out.pitch % lanes || (has_other(op) && op.other.pitch % lanes))
      refuse("the pitch must be a multiple of the lanes");
  }

  // Vectors that go on from row to row.
  void strip_of_filters() const {
    if (!ends.reads_arena || !ends.writes_arena) refuse("a chain has no strips");
    if (window.step[0] != 1 || window.step[1] != 1 || op.in.height != op.out.height || op.in.width != op.out.width)
      refuse("a strip must keep the size");
    if (op.in.pitch != op.out.pitch || (op.other.channels && op.other.pitch != op.out.pitch))
      refuse("maps of a strip must have the same pitch");
    if (int64_t{op.out.height} * op.out.pitch > SW_STRIP)
      refuse("a strip must have at most " + std::to_string(SW_STRIP) + " floats");
    strip(op.out);
    if (op.other.channels) strip(op.other);
  }

  // Rows that are read whole vectors at a time, and written so or as halves of one.
  void rows_of_filters() const {
    const int half = kernels.lanes / 2;
    if (op.out.pitch != half || !ends.writes_arena) return whole_rows();
    if (op.in.pitch % kernels.lanes || (op.other.channels && op.other.pitch != half))
      refuse("the pitch must be a multiple of the lanes");
  }

  void filters() const {
    if (window.strip < 0 || window.strip > 1) refuse("a strip is 0 or 1");
    if (window.strip) strip_of_filters();
    else rows_of_filters();
    for (int side = 0; side < 2; ++side) {
      for (int32_t value : {window.kernel[side], window.step[side], window.dilation[side]})
        if (value < 1 || value > kMostTaps) refuse("kernel, step and dilation do not fit");
      if (window.pad[side] < 0 || window.pad[side] > kMostTaps) refuse("the padding does not fit");
    }
    if (window.multiplier < 1 || int64_t{op.in.channels} * window.multiplier != op.out.channels)
      refuse("the output must have so many channels for each of the input");
    if (op.out.height != results(0, op.in.height) || op.out.width != results(1, op.in.width))
      refuse("the output does not have the result's size");
    if (op.other.channels && !same_size(op.other, op.out)) refuse("what is added must have the result's size");
    if (!window.weights || !window.bias || window.num_bias != op.out.channels ||
        window.num_weights != int64_t{op.out.channels} * window.kernel[0] * window.kernel[1])
      refuse("there must be a window and a bias for each channel");
    if ((window.kernel[0] - 1) * int64_t{window.dilation[0]} * op.in.pitch +
            (window.kernel[1] - 1) * int64_t{window.dilation[1]} >
        INT32_MAX)
      refuse("a window reaches further than 2^31 floats");
  }

  int64_t results(int side, int64_t size) const {
    const int64_t free =
        size + 2 * int64_t{window.pad[side]} - int64_t{window.dilation[side]} * (window.kernel[side] - 1) - 1;
    return free < 0 ? 0 : free / window.step[side] + 1;
  }

  void reach() const {
    const Range found = window_range(op, kernels.lanes);
    if (found.first < -kGuard || found.end > arena + kGuard) refuse("a window reads outside of the arena");
  }
};

// The parts of a chain: where its DEPTHWISE stands among them.
int depthwise_of(const sw_op* ops, int number, int count) {
  const auto refuse = [&](const char* why) {
    throw std::invalid_argument("operation " + std::to_string(number) + ": " + why);
  };
  const sw_chain& chain = ops[number].chain;
  if (chain.count < 2 || chain.count > 3) refuse("a chain must have 2 or 3 operations");
  if (chain.count >= count - number) refuse("the operations of a chain are missing");
  const int at = number + (ops[number + 1].kind == SW_DEPTHWISE ? 1 : 2), end = number + chain.count;
  for (int part = number + 1; part <= end; ++part)
    if (ops[part].kind != (part == at ? SW_DEPTHWISE : SW_CONV) || part > at + 1)
      refuse("a chain must be a CONV, a DEPTHWISE and a CONV, of which one CONV may be missing");
  if (chain.rows < 1 || chain.rows > ops[at].out.height) refuse("a chain must go by rows of its result");
  if (ops[at - 1].kind == SW_CONV && ops[at - 1].conv.phased) refuse("phases are not handed on");
  if (ops[end].kind == SW_CONV && ops[end].conv.phased) refuse("a chain does not end in phases");
  if (at > number + 1 && ops[number + 1].conv.groups > 1)
    refuse("what is made some channels at a time has dense weights of one group at most");
  for (int part = number + 1; part <= end; ++part)
    if (ops[part].kind == SW_CONV && ops[part].conv.by_channels) refuse("a chain's vectors hold pixels");
  if (at > number + 1 && ops[at].depthwise.multiplier != 1) refuse("each channel must be read once where one is made");
  return at;
}

bool same_rows(const sw_map& one, const sw_map& other) {
  return same_size(one, other) && one.pitch == other.pitch && one.stride == other.stride;
}

}  // namespace

void check_chain(const sw_op* ops, int number, int count, int64_t arena, const Kernels& kernels) {
  const auto refuse = [&](const char* why) {
    throw std::invalid_argument("operation " + std::to_string(number) + ": " + why);
  };
  const sw_chain& chain = ops[number].chain;
  const int at = depthwise_of(ops, number, count), first = number + 1, end = number + chain.count;
  for (int part = first; part <= end; ++part)
    Check(ops[part], part, count, arena, kernels, {part == first, part == end}).all();
  for (int part = first; part < end; ++part)
    if (!same_rows(ops[part].out, ops[part + 1].in)) refuse("a part must read what the part in front of it makes");
  const sw_map& middle = ops[at].out;
  if (at < end && (middle.stride < int64_t{chain.rows} * middle.pitch || middle.stride * middle.channels > kMost))
    refuse("the rows that a chain hands on do not fit");
  if (at < end && ops[end].conv.height != middle.height) refuse("the last part must keep the height");
  for (int part = first; part <= end; ++part)
    if ((part == first && share_places(ops[part].in, ops[end].out)) ||
        (has_other(ops[part]) && share_places(ops[part].other, ops[end].out)))
      refuse("input and output share places");
}

void check(const sw_op& op, int number, int count, int64_t arena, const Kernels& kernels) {
  Check(op, number, count, arena, kernels).all();
}

int64_t picture_floats(const sw_op& op) {
  if (op.kind == SW_PACK && op.pack.phased) return int64_t{op.pack.channels} * op.pack.height * op.pack.width;
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  return int64_t{map.channels} * map.height * map.width;
}

namespace {

bool reads_map(const sw_op& op, const sw_map& map, const Kernels& kernels) {
  if (op.kind == SW_DEPTHWISE) {
    const Range found = window_range(op, kernels.lanes);
    return found.first < end_of(map) && map.offset < found.end;
  }
  const sw_conv& conv = op.conv;
  const int64_t origin = op.in.offset + int64_t{op.in.margin} * op.in.pitch;
  const int64_t reach = (int64_t{conv.height} * op.in.pitch + kLine - 1) / kLine * kLine;
  return std::any_of(conv.entries, conv.entries + conv.num_entries, [&](const sw_entry& entry) {
    const int64_t first = origin + entry.offset / 4;
    return first < end_of(map) && map.offset < first + reach;
  });
}

}  // namespace

bool reads_own_output(const sw_op* op, const Kernels& kernels) {
  return op->kind == SW_CHAIN ? reads_map(op[1], op[op->chain.count].out, kernels) : reads_map(*op, op->out, kernels);
}

}  // namespace sapwood

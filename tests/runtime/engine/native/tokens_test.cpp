// Attention, norms, embeddings and values in another order, as programs of every instruction set, beside plain loops.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "checks.h"
#include "dispatch.h"
#include "expect.h"

namespace tests {
namespace {

using Values = std::vector<float>;

constexpr float kNever = -std::numeric_limits<float>::infinity();

float number(int seed) { return static_cast<float>((seed * 7919 + 13) % 2001 - 1000) / 500.0f; }

Values numbers(int count, int seed) {
  Values found(count);
  for (int at = 0; at < count; ++at) found[at] = number(at + seed);
  return found;
}

void for_each_isa(void (*test)()) {
  const std::string before = sw_isa();
  for (const char* isa : {"avx512", "avx2", "neon", "scalar"})
    if (sw_set_isa(isa) == 0) test();
  EXPECT(sw_set_isa(before.c_str()) == 0);
}

// One operation between dense pictures.
class Program {
 public:
  Program() { std::memset(&op, 0, sizeof(op)); }

  sw_map map(int channels, int height, int width) {
    const int lanes = sw_lanes(), pitch = (width + lanes - 1) / lanes * lanes;
    const int64_t stride = (int64_t{height} * pitch + 15) / 16 * 16;
    const sw_map found{floats_ + 16, stride, channels, height, width, 0, pitch, 0};
    floats_ += 16 + channels * stride;
    return found;
  }

  sw_map input(int channels, int height, int width, const Values& values) {
    const sw_map found = map(channels, height, width);
    sw_op pack;
    std::memset(&pack, 0, sizeof(pack));
    pack.kind = SW_PACK, pack.out = found, pack.pack.index = static_cast<int32_t>(given_.size());
    ops_.push_back(pack);
    given_.push_back(values);
    return found;
  }

  std::string refused() const {
    char text[256] = "";
    sw_program* program = sw_create(&op, 1, floats_ + 16, text, sizeof(text));
    sw_free(program);
    return text;
  }

  // What it writes, and that padding is zero still: a sum over whole rows is that of the values.
  Values run(int threads, int result = SW_DONE) {
    std::vector<sw_op> ops = ops_;
    ops.push_back(op);
    sw_op unpack;
    std::memset(&unpack, 0, sizeof(unpack));
    unpack.kind = SW_UNPACK, unpack.in = op.out;
    ops.push_back(unpack);
    char text[256] = "";
    sw_program* program = sw_create(ops.data(), static_cast<int32_t>(ops.size()), floats_ + 16, text, sizeof(text));
    EXPECT(text == std::string());
    sw_program* copy = sw_copy(program);
    sw_free(program);
    EXPECT(sw_bytes(copy) > 0);
    std::vector<sw_picture> inputs;
    for (Values& values : given_) inputs.push_back({values.data(), static_cast<int64_t>(values.size())});
    Values found(static_cast<size_t>(op.out.channels) * op.out.height * op.out.width);
    const sw_picture output{found.data(), static_cast<int64_t>(found.size())};
    for (int again = 0; again < 2; ++again)
      EXPECT(sw_run(copy, inputs.data(), static_cast<int32_t>(inputs.size()), &output, 1, threads, nullptr) == result);
    sw_free(copy);
    return found;
  }

  sw_op op;

 private:
  int64_t floats_ = 0;
  std::vector<sw_op> ops_;
  std::vector<Values> given_;
};

struct Sizes {
  int queries, keys, heads, groups, depth, value_depth;
  int mask_heads, mask_queries;  // 0: none
};

// Channels between the heads of queries that belong to none.
constexpr int kBetween = 2;

void check_attention(const Sizes& s) {
  Program program;
  const int q_step = s.depth + kBetween;
  const Values q = numbers(s.heads * q_step * s.queries, 1), k = numbers(s.groups * s.depth * s.keys, 5),
               v = numbers(s.groups * s.value_depth * s.keys, 11);
  Values mask = numbers(s.mask_heads * s.keys * s.mask_queries, 17);
  for (size_t at = 0; at < mask.size(); ++at)
    if (at % 3 == 0 || s.keys == 2) mask[at] = kNever;
  sw_op& op = program.op;
  op.kind = SW_ATTENTION;
  op.in = program.input(s.heads * q_step, 1, s.queries, q);
  op.other = program.input(s.groups * s.depth, 1, s.keys, k);
  op.attention.value = program.input(s.groups * s.value_depth, 1, s.keys, v);
  if (s.mask_heads) op.attention.mask = program.input(s.mask_heads * s.keys, 1, s.mask_queries, mask);
  op.out = program.map(s.heads * s.value_depth, 1, s.queries);
  op.attention.heads = s.heads, op.attention.groups = s.groups;
  op.attention.depth = s.depth, op.attention.value_depth = s.value_depth;
  op.attention.step[0] = q_step, op.attention.step[1] = s.depth, op.attention.step[2] = s.value_depth;
  op.attention.scale = 0.4f, op.attention.safe = s.depth % 2;
  const Values found = program.run(1 + s.keys % 2);
  for (int head = 0; head < s.heads; ++head)
    for (int query = 0; query < s.queries; ++query) {
      const int group = head * s.groups / s.heads;
      std::vector<double> shares(s.keys);
      double most = kNever, total = 0.0;
      for (int key = 0; key < s.keys; ++key) {
        double sum = 0.0;
        for (int i = 0; i < s.depth; ++i)
          sum +=
              static_cast<double>(q[(head * q_step + i) * s.queries + query]) * k[(group * s.depth + i) * s.keys + key];
        shares[key] = sum * 0.4f;
        if (s.mask_heads)
          shares[key] +=
              mask[((s.mask_heads > 1 ? head : 0) * s.keys + key) * s.mask_queries + (s.mask_queries > 1 ? query : 0)];
        most = std::max(most, shares[key]);
      }
      for (double& share : shares) total += share = std::exp(share - most);
      for (int channel = 0; channel < s.value_depth; ++channel) {
        double sum = 0.0;
        for (int key = 0; key < s.keys; ++key)
          sum += shares[key] / total * v[(group * s.value_depth + channel) * s.keys + key];
        const float got = found[(head * s.value_depth + channel) * s.queries + query];
        if (most == kNever) EXPECT(op.attention.safe ? got == 0.0f : std::isnan(got));
        else EXPECT(std::fabs(got - sum) <= 2e-6 * std::max(1.0, std::fabs(sum)));
      }
    }
}

void check_products() {
  const int lanes = sw_lanes();
  for (int vectors = 1; vectors <= 7; ++vectors)  // each number of vectors is code of its own
    for (int less : {0, 1, lanes - 1})
      check_attention({vectors * lanes - less, 9 + vectors, 2, 2, 3 + vectors, 13, 0, 0});
  check_attention({1, 1, 1, 1, 1, 1, 0, 0});
  check_attention({5, 31, 4, 2, 8, 7, 1, 1});
  check_attention({5, 31, 4, 1, 8, 7, 4, 1});
  check_attention({21, 6, 3, 3, 5, 40, 1, 21});
  check_attention({21, 6, 3, 1, 5, 4, 3, 21});
  check_attention({4, 2, 2, 1, 4, 3, 1, 1});  // sees nothing: NaN
  check_attention({4, 2, 2, 1, 5, 3, 2, 4});  // sees nothing: 0
}

void check_norms() {
  for (int width : {1, sw_lanes(), 5 * sw_lanes() + 3})
    for (int channels : {1, 3, 65})
      for (int centred : {0, 1}) {
        Program program;
        const int rows = 2, places = rows * width;
        const Values x = numbers(channels * places, 3), factors = numbers(channels, 2), shifts = numbers(channels, 4);
        program.op.kind = SW_NORM;
        program.op.in = program.input(channels, rows, width, x);
        program.op.out = program.map(channels, rows, width);
        program.op.norm = {factors.data(), shifts.data(), channels, channels, 1e-3f, centred};
        const Values found = program.run(1 + centred);
        for (int place = 0; place < places; ++place) {
          double mean = 0.0, spread = 0.0;
          for (int c = 0; c < channels && centred; ++c) mean += x[c * places + place] / static_cast<double>(channels);
          for (int c = 0; c < channels; ++c) spread += std::pow(x[c * places + place] - mean, 2.0) / channels;
          for (int c = 0; c < channels; ++c) {
            const double wanted = (x[c * places + place] - mean) / std::sqrt(spread + 1e-3) * factors[c] + shifts[c];
            EXPECT(std::fabs(found[c * places + place] - wanted) <= 1e-5);
          }
        }
      }
}

// Sizes, steps and the first value; the output lies row by row.
void check_view(int height, int width, const sw_view& view) {
  Program program;
  const int channels = 4, rows = 3, columns = 5;
  const Values x = numbers(channels * rows * columns, 7);
  program.op.kind = SW_VIEW;
  program.op.in = program.input(channels, rows, columns, x);
  program.op.out = program.map(view.count[0] * view.count[1], height, width);
  program.op.view = view;
  const Values found = program.run(2);
  size_t at = 0;
  for (int i0 = 0; i0 < view.count[0]; ++i0)
    for (int i1 = 0; i1 < view.count[1]; ++i1)
      for (int place = 0; place < height * width; ++place, ++at) {
        const int inner = place - view.at, i2 = inner / view.count[3], i3 = inner % view.count[3];
        const bool written = inner >= 0 && inner < view.count[2] * view.count[3];
        const int64_t from = view.first + i0 * view.step[0] + i1 * view.step[1] + i2 * view.step[2] + i3 * view.step[3];
        EXPECT(found[at] == (written ? x[static_cast<size_t>(from)] : 0.0f));
      }
}

void check_token_planes() {
  check_view(1, 15, {0, {0, 15, 0, 1}, {1, 4, 1, 15}, 0, 0});  // rows become one
  check_view(1, 4, {0, {5, 1, 0, 15}, {3, 5, 1, 4}, 0, 0});    // channels become places
  check_view(5, 3, {0, {0, 15, 1, 5}, {1, 4, 5, 3}, 0, 0});    // turned
  check_view(2, 9, {16, {0, 15, 0, 1}, {1, 3, 1, 14}, 2, 0});  // a part, behind others
  check_view(3, 4, {7, {30, 0, 0, 0}, {2, 1, 3, 4}, 0, 0});    // one value, again and again
  check_view(1, 6, {0, {15, 1, 9, 2}, {4, 2, 2, 3}, 0, 0});    // every second
  Program constant;
  const Values values = numbers(2 * 4, 1);
  constant.op.kind = SW_CONSTANT;
  constant.op.out = constant.map(2, 2, 3);
  constant.op.constant = {values.data(), 8, 1, 4};
  EXPECT((constant.run(1) == Values{0.0f, values[0], values[1], values[2], values[3], 0.0f,  //
                                    0.0f, values[4], values[5], values[6], values[7], 0.0f}));
  for (float row : {0.0f, 6.0f, 7.0f, -1.0f, 1e30f, kNever, std::numeric_limits<float>::quiet_NaN()}) {
    Program embedding;
    const Values table = numbers(7 * 19, 2);
    const bool right = row >= 0.0f && row < 7.0f;
    embedding.op.kind = SW_EMBED;
    embedding.op.in = embedding.input(1, 1, 3, {1.0f, row, 5.0f});
    embedding.op.out = embedding.map(19, 1, 3);
    embedding.op.embed = {table.data(), 7 * 19, 7, 0};
    const Values found = embedding.run(2, right ? SW_DONE : SW_WRONG_ROW);
    for (int channel = 0; channel < 19; ++channel) {
      EXPECT(found[channel * 3] == table[19 + channel] && found[channel * 3 + 2] == table[5 * 19 + channel]);
      EXPECT(found[channel * 3 + 1] == (right ? table[static_cast<size_t>(row) * 19 + channel] : 0.0f));
    }
  }
}

// A field at a time.
template <class Make, class Change>
void refuses(Make make, Change change, const char* why) {
  Program program;
  make(program);
  EXPECT(program.refused().empty());
  change(program.op);
  EXPECT(program.refused() == std::string("operation 0: ") + why);
}

const float kTen[10] = {};
constexpr int32_t kLargest = std::numeric_limits<int32_t>::max();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void check_views_and_tables() {
  const auto view = [](Program& program) {
    program.op.kind = SW_VIEW;
    program.op.in = program.map(4, 3, 5), program.op.out = program.map(4, 1, 15);
    program.op.view = {0, {0, 15, 0, 1}, {1, 4, 1, 15}, 0, 0};
  };
  const char* outside = "a value that is not in the input";
  const char* counts = "counts must be sizes, and steps within the input";
  const char* places = "places that are not in the output";
  refuses(view, [](sw_op& op) { op.view.first = 1; }, outside);
  refuses(view, [](sw_op& op) { op.view.first = -1; }, outside);
  refuses(view, [](sw_op& op) { op.view.first = std::numeric_limits<int64_t>::min(); }, outside);
  refuses(view, [](sw_op& op) { op.view.step[1] = 16; }, outside);
  refuses(view, [](sw_op& op) { op.view.step[3] = -1; }, counts);
  refuses(view, [](sw_op& op) { op.view.step[3] = std::numeric_limits<int64_t>::max(); }, counts);
  refuses(view, [](sw_op& op) { op.view.count[0] = 0; }, counts);
  refuses(view, [](sw_op& op) { op.view.count[1] = 5; }, "counts must make the output's channels");
  refuses(view, [](sw_op& op) { op.view.count[2] = 2; }, places);
  refuses(view, [](sw_op& op) { op.view.count[3] = 16; }, places);
  refuses(view, [](sw_op& op) { op.view.count[2] = op.view.count[3] = kLargest; }, places);
  refuses(view, [](sw_op& op) { op.view.at = 1; }, places);
  refuses(view, [](sw_op& op) { op.view.at = -1; }, places);

  const auto constant = [](Program& program) {
    program.op.kind = SW_CONSTANT;
    program.op.out = program.map(2, 1, 5);
    program.op.constant = {kTen, 10, 0, 5};
  };
  const char* each = "there must be a value for each channel and place";
  refuses(constant, [](sw_op& op) { op.constant.values = nullptr; }, each);
  refuses(constant, [](sw_op& op) { op.constant.num_values = 9; }, each);
  refuses(constant, [](sw_op& op) { op.constant.at = 1; }, places);
  refuses(constant, [](sw_op& op) { op.constant.count = kLargest; }, places);
  refuses(constant, [](sw_op& op) { op.constant.count = 0; }, places);

  const auto table = [](Program& program) {
    program.op.kind = SW_EMBED;
    program.op.in = program.map(1, 1, 3), program.op.out = program.map(5, 1, 3);
    program.op.embed = {kTen, 10, 2, 0};
  };
  const char* rows = "the table must have at most 2^24 rows of a number for each channel";
  refuses(table, [](sw_op& op) { op.embed.table = nullptr; }, rows);
  refuses(table, [](sw_op& op) { op.embed.rows = 3; }, rows);
  refuses(table, [](sw_op& op) { op.embed.rows = 0, op.embed.num_values = 0; }, rows);
  refuses(table, [](sw_op& op) { op.embed.rows = kLargest; }, rows);
  refuses(table, [](sw_op& op) { op.embed.num_values = 11; }, rows);
  refuses(table, [](sw_op& op) { op.in.width = 2; }, "there must be one number for each place of the output");

  const auto norm = [](Program& program) {
    program.op.kind = SW_NORM;
    program.op.in = program.map(10, 1, 3), program.op.out = program.map(10, 1, 3);
    program.op.norm = {kTen, kTen, 10, 10, 1e-5f, 1};
  };
  const char* both = "there must be a factor and a shift for each channel";
  refuses(norm, [](sw_op& op) { op.norm.factors = nullptr; }, both);
  refuses(norm, [](sw_op& op) { op.norm.shifts = nullptr; }, both);
  refuses(norm, [](sw_op& op) { op.norm.num_factors = 9; }, both);
  refuses(norm, [](sw_op& op) { op.norm.num_shifts = 11; }, both);
  refuses(norm, [](sw_op& op) { op.norm.epsilon = -1.0f; }, "epsilon is not in [0, 1e6]");
  refuses(norm, [](sw_op& op) { op.norm.epsilon = kNan; }, "epsilon is not in [0, 1e6]");
  refuses(norm, [](sw_op& op) { op.in.width = 2; }, "sizes differ");
}

void check_heads() {
  const auto attention = [](Program& program) {
    sw_op& op = program.op;
    op.kind = SW_ATTENTION;
    op.in = program.map(12, 1, 5), op.other = program.map(6, 1, 7), op.out = program.map(8, 1, 5);
    op.attention.value = program.map(4, 1, 7), op.attention.mask = program.map(28, 1, 5);
    op.attention.heads = 4, op.attention.groups = 2, op.attention.depth = 3, op.attention.value_depth = 2;
    op.attention.step[0] = op.attention.step[1] = 3, op.attention.step[2] = 2;
    op.attention.scale = 1.0f;
  };
  const char* multiple = "heads must be a multiple of groups, and depths sizes";
  const char* within = "heads must lie within their maps, and fill the output";
  const char* match = "there must be a result for each query, and a value for each key";
  const char* mask = "a mask must have a channel for each key, of one head or all, and 1 or all queries' places";
  refuses(attention, [](sw_op& op) { op.attention.heads = 5; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.heads = 0; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.groups = 0; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.groups = -2; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.depth = 0; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.value_depth = kLargest; }, multiple);
  refuses(attention, [](sw_op& op) { op.attention.heads = 8; }, within);
  refuses(attention, [](sw_op& op) { op.attention.groups = 4; }, within);
  refuses(attention, [](sw_op& op) { op.attention.depth = 4; }, within);
  refuses(attention, [](sw_op& op) { op.attention.value_depth = 3; }, within);
  for (int side = 0; side < 3; ++side) {
    refuses(attention, [=](sw_op& op) { op.attention.step[side] = kLargest; }, within);
    refuses(attention, [=](sw_op& op) { op.attention.step[side] = -1; }, "steps must not be negative");
  }
  refuses(attention, [](sw_op& op) { op.in.width = 4; }, match);
  refuses(attention, [](sw_op& op) { op.attention.value.width = 6; }, match);
  refuses(attention, [](sw_op& op) { op.attention.scale = kNan; }, "the scale is not a number");
  refuses(attention, [](sw_op& op) { op.attention.scale = kNever; }, "the scale is not a number");
  refuses(attention, [](sw_op& op) { op.attention.mask.channels = 27; }, mask);
  refuses(attention, [](sw_op& op) { op.attention.mask.width = 3; }, mask);
  refuses(attention, [](sw_op& op) { op.other.offset = op.out.offset; }, "keys and output share places");
  refuses(attention, [](sw_op& op) { op.other.offset = int64_t{1} << 40; }, "keys: it does not fit into the arena");
  refuses(attention, [](sw_op& op) { op.other.stride = 0; }, "keys: planes overlap");
  refuses(attention, [](sw_op& op) { op.other.channels = -6; }, "keys: sizes must be positive, and at most 2^28");
  refuses(attention, [](sw_op& op) { op.attention.value.offset = op.out.offset; }, "values and output share places");
  refuses(attention, [](sw_op& op) { op.attention.mask.offset = op.out.offset; }, "mask and output share places");
  refuses(attention, [](sw_op& op) { op.attention.value.stride = 0; }, "values: planes overlap");
  refuses(
      attention, [](sw_op& op) { op.attention.mask.offset = int64_t{1} << 40; },
      "mask: it does not fit into the arena");
  refuses(
      attention, [](sw_op& op) { op.attention.mask.channels = -28; }, "mask: sizes must be positive, and at most 2^28");
}

// Vectors of a mask with a place for each query begin with its row, margin or not.
void check_masks() {
  Program program;
  sw_op& op = program.op;
  op.kind = SW_ATTENTION;
  op.in = op.other = op.attention.value = program.map(1, 1, 3), op.out = program.map(1, 1, 3);
  op.attention.heads = op.attention.groups = op.attention.depth = op.attention.value_depth = 1;
  op.attention.mask = program.map(3, 3, 3);
  op.attention.mask.height = op.attention.mask.margin = 1;
  EXPECT(program.refused().empty());
  op.attention.mask.pitch = 3;
  EXPECT(program.refused() == "operation 0: the first row must begin with a vector");
  op.attention.mask.width = 1;  // one for all queries
  EXPECT(program.refused().empty());
}

// What nothing is done with is refused, rather than left out in silence.
void check_no_activation() {
  for (int kind : {SW_PACK, SW_UNPACK, SW_VIEW, SW_CONSTANT, SW_NORM, SW_ATTENTION, SW_EMBED}) {
    Program program;
    program.op.kind = kind, program.op.activation = SW_SILU;
    EXPECT(program.refused() == "operation 0: there is no activation of this kind");
  }
}

void check_token_checks() {
  check_masks();
  check_no_activation();
  check_views_and_tables();
  check_heads();
}

}  // namespace

void products() { for_each_isa(&check_products); }
void norms() { for_each_isa(&check_norms); }
void token_planes() { for_each_isa(&check_token_planes); }
void token_checks() { for_each_isa(&check_token_checks); }

}  // namespace tests

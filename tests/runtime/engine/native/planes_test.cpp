// Operations on whole planes, with results worked out by hand; what the checks refuse; what the facts say.
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"
#include "dense.h"
#include "dispatch.h"
#include "expect.h"
#include "facts.h"
#include "floats.h"

namespace tests {
namespace {

using sapwood::Kernels;
using Values = std::vector<float>;

sw_map map_of(int64_t offset, int channels, int height, int width, int pitch) {
  return {offset, (int64_t{height} * pitch + 15) / 16 * 16, channels, height, width, 0, pitch, 0};
}

sw_op blank(int kind) {
  sw_op op;
  std::memset(&op, 0, sizeof(op));
  op.kind = kind;
  return op;
}

// An arena of three maps of up to 256 floats each.
class Planes {
 public:
  explicit Planes(const Kernels& kernels) : kernels_(kernels), arena_(768) {}

  void write(const sw_map& map, const Values& values) {
    each(map, [&](float& place, size_t at) { place = values[at]; });
  }

  Values read(const sw_map& map) {
    Values found;
    each(map, [&](float& place, size_t) { found.push_back(place); });
    return found;
  }

  // All channels of an operation that checks accept.
  Values run(const sw_op& op, int channels, Values input = {}) {
    sapwood::check(op, 0, 1, arena_.count(), kernels_);
    Values output(64);
    const sw_picture from{input.data(), static_cast<int64_t>(input.size())}, into{output.data(), 64};
    for (int channel = 0; channel < channels; ++channel)
      sapwood::run_channel(kernels_, op, arena_.get(), channel, &from, &into);
    if (op.kind != SW_UNPACK) return read(op.out);
    output.resize(static_cast<size_t>(sapwood::picture_floats(op)));
    return output;
  }

 private:
  const Kernels& kernels_;
  sapwood::Floats arena_;

  template <class F>
  void each(const sw_map& map, F f) {
    size_t at = 0;
    for (int channel = 0; channel < map.channels; ++channel)
      for (int row = 0; row < map.height; ++row)
        for (int column = 0; column < map.width; ++column)
          f(arena_.get()[map.offset + channel * map.stride + row * map.pitch + column], at++);
  }
};

void check_planes(const Kernels& kernels) {
  Planes planes(kernels);
  const int pitch = 16;
  const sw_map in = map_of(0, 1, 3, 4, pitch), two = map_of(0, 2, 1, 3, pitch);
  const Values picture{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

  sw_op pack = blank(SW_PACK);
  pack.out = in;
  EXPECT(planes.run(pack, 1, picture) == picture);
  sw_op unpack = blank(SW_UNPACK);
  unpack.in = in;
  EXPECT(planes.run(unpack, 1) == picture);

  sw_op most = blank(SW_MAXPOOL);
  most.in = in;
  most.out = map_of(256, 1, 1, 2, pitch);
  most.pool = {{2, 2}, {2, 2}, {0, 0}, 0};
  EXPECT((planes.run(most, 1) == Values{6, 8}));
  most.out = map_of(256, 1, 2, 3, pitch);
  most.pool = {{3, 2}, {2, 2}, {1, 1}, 0};
  EXPECT((planes.run(most, 1) == Values{5, 7, 8, 9, 11, 12}));

  sw_op mean = blank(SW_AVGPOOL);
  mean.in = in;
  mean.out = map_of(256, 1, 2, 2, pitch);
  mean.pool = {{2, 3}, {2, 2}, {1, 1}, 0};
  EXPECT((planes.run(mean, 1) == Values{1.5f, 3.0f, 7.5f, 9.0f}));
  mean.pool.all_places = 1;
  EXPECT((planes.run(mean, 1) == Values{0.5f, 1.5f, 5.0f, 9.0f}));

  sw_op larger = blank(SW_UPSAMPLE);
  larger.in = map_of(0, 1, 1, 3, pitch);
  larger.out = map_of(256, 1, 2, 9, pitch);
  larger.upsample = {{2, 3}};
  EXPECT((planes.run(larger, 1) == Values{1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2, 3, 3, 3}));

  for (int right : {2, 3}) {  // two are done by a kernel
    const Values wanted = right == 2
                              ? Values{1, 3, 9, 11, 2, 4, 10, 12, 5, 7, 0, 0, 6, 8, 0, 0}
                              : Values{1, 4, 9, 12, 2, 0, 10, 0, 3, 0, 11, 0, 5, 8, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0};
    sw_op split = blank(SW_PHASES);
    split.in = in;
    split.out = map_of(256, 2 * right, 2, 2, pitch);
    split.phases = {{2, right}};
    EXPECT(planes.run(split, 1) == wanted);
    pack.out = split.out;
    pack.pack = {0, 1, {2, right}, 1, 3, 4};
    EXPECT(planes.run(pack, 1, picture) == wanted);
  }

  planes.write(two, {1, 2, 3, 4, 5, 6});
  sw_op both = blank(SW_ADD);
  both.in = two;
  both.other = map_of(256, 2, 1, 3, pitch);
  both.out = map_of(512, 2, 1, 3, pitch);
  planes.write(both.other, {10, 20, 30, 40, 50, 60});
  EXPECT((planes.run(both, 2) == Values{11, 22, 33, 44, 55, 66}));
  both.kind = SW_MUL;
  EXPECT((planes.run(both, 2) == Values{10, 40, 90, 160, 250, 360}));
  both.other = map_of(256, 2, 1, 1, pitch);
  planes.write(both.other, {2, 3});
  EXPECT((planes.run(both, 2) == Values{2, 4, 6, 12, 15, 18}));
  sw_op scale = blank(SW_MUL);  // over several rows
  scale.in = map_of(0, 1, 2, 3, pitch);
  scale.other = map_of(256, 1, 1, 1, pitch);
  scale.out = map_of(512, 1, 2, 3, pitch);
  planes.write(scale.in, {1, 2, 3, 4, 5, 6});
  EXPECT((planes.run(scale, 1) == Values{2, 4, 6, 8, 10, 12}));

  planes.write(two, {1, 2, 3, 4, 5, 6});
  both.kind = SW_COPY;
  EXPECT((planes.run(both, 2) == Values{1, 2, 3, 4, 5, 6}));
}

std::string refused(const sw_op& op) {
  try {
    sapwood::check(op, 5, 1, 768, *sapwood::kernels_of("scalar"));
  } catch (const std::invalid_argument& problem) {
    return problem.what();
  }
  return "";
}

}  // namespace

void planes() {
  for (const char* isa : {"avx512", "avx2", "neon", "scalar"})
    if (const Kernels* kernels = sapwood::kernels_of(isa)) check_planes(*kernels);
}

// Each kind is judged by its own block: numbers in those of the others change nothing.
void checks() {
  sw_op op = blank(SW_UPSAMPLE);
  op.in = map_of(0, 1, 2, 3, 16);
  op.out = map_of(256, 1, 4, 3, 16);
  op.upsample = {{2, 1}};
  EXPECT(refused(op).empty());
  std::memset(&op.pool, 0xff, sizeof(op.pool));
  std::memset(&op.conv, 0xff, sizeof(op.conv));
  std::memset(&op.pack, 0xff, sizeof(op.pack));
  EXPECT(refused(op).empty());
  op.upsample.step[1] = 2;
  EXPECT(refused(op) == "operation 5: the output must be the input times the step");
  op.upsample.step[1] = 0;
  EXPECT(refused(op) == "operation 5: the step does not fit");
  op.kind = SW_MAXPOOL;
  EXPECT(refused(op) == "operation 5: kernel, step and padding do not fit");
  op.kind = SW_PHASES;
  EXPECT(refused(op) == "operation 5: the output must have a channel for each phase, of the size over the step");
  op.kind = SW_PACK;
  EXPECT(refused(op) == "operation 5: picture -1 is not there");
  op.kind = SW_UNPACK;
  EXPECT(refused(op).empty());
  op.unpack.index = 1;
  EXPECT(refused(op) == "operation 5: picture 1 is not there");
  op.kind = SW_CONV;
  EXPECT(refused(op) == "operation 5: the output does not have the result's size");
  op.kind = SW_NUM_KINDS;
  EXPECT(refused(op) == "operation 5: kind 15 is not known");
}

void facts() {
  int count = 0;
  bool found = false;
  for (const sw_fact* fact = sw_facts(); fact->name; ++fact, ++count)
    if (std::string(fact->name) == "sizeof sw_op") found = fact->value == sizeof(sw_op);
  EXPECT(found && count > 80);
}

}  // namespace tests

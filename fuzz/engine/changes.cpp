// Numbers of a program changed, as a damaged or a hostile file would.
#include <cmath>
#include <utility>
#include <variant>

#include "programs.h"

namespace fuzz {
namespace {

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

void mutate_number(float& field, Random& random) {
  static const float known[] = {0.0f, -0.0f, -1.0f, 1e-30f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN};
  field = random.one_in(2) ? random.value() : known[random.next() % (sizeof(known) / sizeof(known[0]))];
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
  auto& numbers = program.numbers[number];
  switch (random.between(0, 8)) {
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
      if (!numbers.empty()) numbers.pop_back();
      break;
    case 7:
      if (!numbers.empty()) mutate_number(numbers[random.next() % numbers.size()], random);
      break;
    default: std::swap(starts, program.starts[random.next() % program.starts.size()]);
  }
}

// A field, of any type.
using Field = std::variant<int32_t*, int64_t*, float*, sw_map*>;

void mutate_field(Field field, Random& random) {
  if (auto* const number = std::get_if<int32_t*>(&field)) set(**number, random);
  else if (auto* const wide = std::get_if<int64_t*>(&field)) set(**wide, random);
  else if (auto* const map = std::get_if<sw_map*>(&field)) mutate_map(**map, random);
  else mutate_number(*std::get<float*>(field), random);
}

template <class T, int N>
void insert(std::vector<Field>& fields, T (&all)[N]) {
  for (T& one : all) fields.emplace_back(&one);
}

// What its kind looks at. A kind without a case does not compile.
std::vector<Field> fields_of(sw_op& op) {
  std::vector<Field> fields{&op.reserved};
  if (op.kind < 0 || op.kind >= SW_NUM_KINDS) return fields;
  const auto add = [&](auto&... more) { (fields.emplace_back(&more), ...); };
  sw_pack& pack = op.pack;
  sw_conv& conv = op.conv;
  sw_depthwise& window = op.depthwise;
  sw_attention& attention = op.attention;
  switch (static_cast<sw_kind>(op.kind)) {
    case SW_PACK:
      add(pack.index, pack.phased, pack.step[0], pack.step[1], pack.channels, pack.height, pack.width);
      break;
    case SW_UNPACK: add(op.unpack.index); break;
    case SW_PHASES: insert(fields, op.phases.step); break;
    case SW_MAXPOOL:
    case SW_AVGPOOL:
      insert(fields, op.pool.kernel), insert(fields, op.pool.step), insert(fields, op.pool.pad);
      add(op.pool.all_places);
      break;
    case SW_UPSAMPLE: insert(fields, op.upsample.step); break;
    case SW_CONV:
      add(conv.phased, conv.channels, conv.height, conv.width, conv.rows, conv.columns, conv.num_chunks, conv.groups,
          conv.by_channels);
      break;
    case SW_DEPTHWISE:
      insert(fields, window.kernel), insert(fields, window.step), insert(fields, window.pad);
      insert(fields, window.dilation);
      add(window.multiplier, window.strip);
      break;
    case SW_CHAIN: add(op.chain.count, op.chain.rows); break;
    case SW_VIEW:
      insert(fields, op.view.count), insert(fields, op.view.step);
      add(op.view.first, op.view.at);
      break;
    case SW_CONSTANT: add(op.constant.at, op.constant.count); break;
    case SW_NORM: add(op.norm.epsilon, op.norm.centred); break;
    case SW_ATTENTION:
      insert(fields, attention.step);
      add(attention.value, attention.mask, attention.heads, attention.groups, attention.depth, attention.value_depth,
          attention.safe, attention.scale);
      break;
    case SW_EMBED: add(op.embed.rows); break;
    case SW_ADD:
    case SW_MUL:
    case SW_COPY:
    case SW_NUM_KINDS: break;
  }
  return fields;
}

void mutate_op(sw_op& op, Random& random) {
  const int64_t which = random.between(0, 19);
  if (which < 9) {
    const auto fields = fields_of(op);
    mutate_field(fields[random.next() % fields.size()], random);
  } else if (which == 9) set(op.kind, random);
  else if (which == 10) set(op.activation, random);
  else if (which < 14) mutate_map(op.in, random);
  else if (which < 16) mutate_map(op.other, random);
  else if (which < 19) mutate_map(op.out, random);
  else mutate_number(op.slope, random);
}

}  // namespace

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

}  // namespace fuzz

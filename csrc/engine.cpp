// Programs: operations that were checked once, and then run picture after picture.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "dense.h"
#include "kernels/kernels.h"
#include "pool.h"
#include "sapwood_engine.h"

namespace sapwood {
namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kGuard = 4096;  // floats of zeros before and after the arena: what the first and last rows' padding reads

bool runs_here(const std::string& isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == "avx512") return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
  if (isa == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return isa == "scalar" || isa == "neon";
}

const Kernels* kernels_of(const std::string& isa) {
  if (!runs_here(isa)) return nullptr;
  if (isa == "avx512") return avx512_kernels();
  if (isa == "avx2") return avx2_kernels();
  if (isa == "neon") return neon_kernels();
  return isa == "scalar" ? scalar_kernels() : nullptr;
}

const Kernels* best_kernels() {
  if (const char* forced = std::getenv("SAPWOOD_ISA")) {
    if (const Kernels* found = kernels_of(forced)) return found;
  }
  for (const char* isa : {"avx512", "avx2", "neon"})
    if (const Kernels* found = kernels_of(isa)) return found;
  return scalar_kernels();
}

const Kernels*& current() {
  static const Kernels* chosen = best_kernels();
  return chosen;
}

// Memory on a cache line.
class Floats {
 public:
  explicit Floats(int64_t count) : count_(count) {
    data_ = static_cast<float*>(::operator new(static_cast<size_t>(count) * sizeof(float), std::align_val_t(kAlign)));
    std::memset(data_, 0, static_cast<size_t>(count) * sizeof(float));
  }
  ~Floats() { ::operator delete(data_, std::align_val_t(kAlign)); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* get() const { return data_; }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(float)); }

 private:
  float* data_;
  int64_t count_;
};

struct Convolution {
  std::vector<int64_t> starts;
  std::vector<sw_entry> entries;
  std::vector<float> bias;
  std::unique_ptr<Floats> mask;  // of one row of the output
};

[[noreturn]] void refuse(int number, const std::string& why) {
  throw std::invalid_argument("operation " + std::to_string(number) + ": " + why);
}

void check_map(const sw_map& map, int64_t arena, int lanes, int number, const char* name) {
  auto bad = [&](const char* why) { refuse(number, std::string(name) + ": " + why); };
  if (map.channels < 1 || map.height < 1 || map.width < 1 || map.margin < 0) bad("sizes must be positive");
  if (map.pitch < map.width || map.pitch % lanes) bad("the pitch must be a multiple of the lanes, at least the width");
  if (map.offset < 0 || map.offset % 16 || map.stride % 16) bad("planes must start on cache lines");
  const int64_t plane = static_cast<int64_t>(map.height + 2 * map.margin) * map.pitch;
  if (map.channels > 1 && map.stride < plane) bad("planes overlap");
  if (map.offset + (map.channels - 1) * map.stride + plane > arena) bad("it does not fit into the arena");
}

bool same_size(const sw_map& one, const sw_map& other) {
  return one.channels == other.channels && one.height == other.height && one.width == other.width;
}

void check_convolution(const sw_op& op, int64_t arena, const Kernels& kernels, int number) {
  const bool sizes = op.channels > 0 && op.height > 0 && op.width > 0;
  if (op.phased ? !sizes || op.out.channels != 4 * op.channels || op.out.height != (op.height + 1) / 2 ||
                      op.out.width != (op.width + 1) / 2
                : !sizes || op.out.channels != op.channels || op.out.height != op.height || op.out.width != op.width)
    refuse(number, "the output does not have the result's size");
  if (!op.phased && op.in.pitch != op.out.pitch) refuse(number, "input and output must have the same pitch");
  if (op.in.pitch < op.width) refuse(number, "the result is wider than the input's rows");
  if (op.other.channels && (op.other.channels != op.channels || op.other.height != op.height ||
                            op.other.width != op.width || op.other.pitch != op.in.pitch))
    refuse(number, "what is added must have the result's size and the input's pitch");
  if (!op.starts || !op.bias || op.num_chunks < 1) refuse(number, "starts and bias are missing");
  const int vectors = op.in.pitch / kernels.lanes;
  if (op.rows < 1 || op.columns < 1 || op.columns > vectors || op.rows * op.columns > kernels.most_vectors)
    refuse(number, "a tile must have between 1 and " + std::to_string(kernels.most_vectors) + " vectors");
  if (op.columns < vectors && op.phased) refuse(number, "phases are only made of whole rows");
  if (op.columns < vectors && op.rows != 1) refuse(number, "a tile of several rows must have whole rows");
  const int64_t lists = static_cast<int64_t>(op.num_chunks) * op.channels * 3;
  if (op.starts[0] != 0) refuse(number, "the first list must start at 0");
  for (int64_t list = 0; list < lists; ++list)
    if (op.starts[list + 1] < op.starts[list])
      refuse(number, "lists must be in order");
    else if (list % 3 != 2 && op.starts[list + 1] > op.starts[list] && (op.columns < vectors || op.in.pitch == op.width))
      refuse(number, "sums can only be moved where tiles have whole rows, and rows end in padding");
  if (op.starts[lists] && !op.entries) refuse(number, "entries are missing");
  // What an offset reaches, over all output rows, must be inside the arena and its guards.
  const int64_t origin = op.in.offset + static_cast<int64_t>(op.in.margin) * op.in.pitch;
  const int64_t reach = static_cast<int64_t>(op.height) * op.in.pitch;
  for (int64_t at = 0; at < op.starts[lists]; ++at) {
    const int64_t offset = op.entries[at].offset;
    const int64_t first = origin + offset / 4;
    if (offset % 4 || first < -kGuard || first + reach > arena + kGuard)
      refuse(number, "entry " + std::to_string(at) + " reads outside of the arena");
  }
}

void check(const sw_op& op, int64_t arena, const Kernels& kernels, int number) {
  const bool reads = op.kind != SW_PACK, writes = op.kind != SW_UNPACK;
  if (op.kind < 0 || op.kind >= SW_NUM_KINDS) refuse(number, "kind " + std::to_string(op.kind) + " is not known");
  if (op.activation < 0 || op.activation >= SW_NUM_ACTIVATIONS) refuse(number, "the activation is not known");
  if (op.activation == SW_LEAKY && !(op.slope >= 0.0f && op.slope <= 1.0f)) refuse(number, "the slope is not in [0, 1]");
  if (reads) check_map(op.in, arena, kernels.lanes, number, "input");
  if (writes) check_map(op.out, arena, kernels.lanes, number, "output");
  const bool two = op.kind == SW_ADD || op.kind == SW_MUL;
  if (two || (op.kind == SW_CONV && op.other.channels)) check_map(op.other, arena, kernels.lanes, number, "operand");
  if (op.kind == SW_CONV) check_convolution(op, arena, kernels, number);
  if ((op.kind == SW_COPY || two) && !same_size(op.in, op.out)) refuse(number, "sizes differ");
  if (two && !same_size(op.other, op.out) &&
      !(op.kind == SW_MUL && op.other.channels == op.out.channels && op.other.height == 1 && op.other.width == 1))
    refuse(number, "the operands' sizes differ");
  if (op.kind == SW_PACK && op.phased &&
      (op.channels < 1 || op.height < 1 || op.width < 1 || op.step[0] < 1 || op.step[1] < 1 ||
       op.out.channels != op.step[0] * op.step[1] * op.channels || op.out.height != (op.height + op.step[0] - 1) / op.step[0] ||
       op.out.width != (op.width + op.step[1] - 1) / op.step[1]))
    refuse(number, "the output must have a channel for each phase, of the size over the step");
  if (op.kind == SW_PHASES &&
      (op.step[0] < 1 || op.step[1] < 1 || op.out.channels != op.step[0] * op.step[1] * op.in.channels ||
       op.out.height != (op.in.height + op.step[0] - 1) / op.step[0] ||
       op.out.width != (op.in.width + op.step[1] - 1) / op.step[1]))
    refuse(number, "the output must have a channel for each phase, of the size over the step");
  if (op.kind == SW_MAXPOOL || op.kind == SW_AVGPOOL || op.kind == SW_UPSAMPLE) {
    if (op.in.channels != op.out.channels) refuse(number, "input and output must have the same channels");
    for (int side = 0; side < 2; ++side)
      if (op.kernel[side] < 1 || op.step[side] < 1 || op.pad[side] < 0 || op.pad[side] >= op.kernel[side])
        refuse(number, "kernel, step and padding do not fit");
  }
  if (op.kind == SW_UPSAMPLE &&
      (op.out.height != op.in.height * op.step[0] || op.out.width != op.in.width * op.step[1]))
    refuse(number, "the output must be the input times the step");
  if ((op.kind == SW_MAXPOOL || op.kind == SW_AVGPOOL) &&
      (op.step[0] * (op.out.height - 1) - op.pad[0] >= op.in.height || op.step[1] * (op.out.width - 1) - op.pad[1] >= op.in.width))
    refuse(number, "the last window is outside of the input");
}

}  // namespace
}  // namespace sapwood

struct sw_program {
  const sapwood::Kernels* kernels;
  std::vector<sw_op> ops;
  std::vector<sapwood::Convolution> convolutions;
  std::unique_ptr<sapwood::Floats> memory;
  float* arena;
  std::unique_ptr<sapwood::Floats> scratch;
  int64_t scratch_of_thread = 0;
  int scratch_threads = 0;
  sapwood::Pool pool;
  int threads = 1;

  float* row(const sw_map& map, int channel, int row) const {
    return arena + map.offset + channel * map.stride + static_cast<int64_t>(row + map.margin) * map.pitch;
  }
};

namespace sapwood {
namespace {

struct ConvRun {
  sw_program* program;
  const sw_op* op;
  const Convolution* convolution;
  int tiles;
  int across;  // tiles of a row
  int parts;   // of the output channels
};

void conv_task(void* context, int number, int thread) {
  const ConvRun& run = *static_cast<ConvRun*>(context);
  const sw_op& op = *run.op;
  const int place = number / run.parts, part = number % run.parts;
  const int row = place / run.across * op.rows, rows = std::min(op.rows, op.height - row);
  const int lanes = run.program->kernels->lanes, row_vectors = op.in.pitch / lanes;
  const int from = place % run.across * op.columns, columns = std::min(op.columns, row_vectors - from);
  const int first = static_cast<int>(static_cast<int64_t>(op.channels) * part / run.parts);
  const int last = static_cast<int>(static_cast<int64_t>(op.channels) * (part + 1) / run.parts);
  Tile tile;
  tile.in = reinterpret_cast<const char*>(run.program->row(op.in, 0, row) + from * lanes);
  tile.mask = run.convolution->mask->get() + from * lanes;
  tile.row_vectors = columns;
  tile.vectors = rows * columns;
  tile.row = row;
  float* partial = run.program->scratch->get() + thread * run.program->scratch_of_thread;
  float* out = run.program->row(op.out, 0, op.phased ? 0 : row) + from * lanes;
  const float* other = op.other.channels ? run.program->row(op.other, 0, row) + from * lanes : nullptr;
  for (int chunk = 0; chunk < op.num_chunks; ++chunk)
    run.program->kernels->conv(tile, op, chunk, first, last, partial, out, other);
}

void convolve(sw_program& program, const sw_op& op, const Convolution& convolution, int threads) {
  const int row_vectors = op.in.pitch / program.kernels->lanes;
  const int across = (row_vectors + op.columns - 1) / op.columns;
  ConvRun run{&program, &op, &convolution, (op.height + op.rows - 1) / op.rows * across, across, 1};
  if (threads > 1) {  // few tiles leave threads without work: split the outputs as well
    while (run.tiles * run.parts < 4 * threads && run.parts * 8 <= op.channels) run.parts *= 2;
  }
  program.pool.run(&conv_task, &run, run.tiles * run.parts, threads);
}

struct DenseRun {
  sw_program* program;
  const sw_op* op;
  const float* const* inputs;
  float* const* outputs;
};

void dense_task(void* context, int channel, int) {
  const DenseRun& run = *static_cast<DenseRun*>(context);
  const sw_op& op = *run.op;
  run_channel(*run.program->kernels, op, run.program->arena, channel, run.inputs, run.outputs);
  if (op.activation == SW_LINEAR || op.kind == SW_UNPACK || op.kind == SW_PACK) return;
  const Kernels& kernels = *run.program->kernels;
  const int planes = op.kind == SW_PHASES ? op.step[0] * op.step[1] : 1;
  for (int plane = 0; plane < planes; ++plane) {
    float* values = run.program->row(op.out, channel + plane * op.in.channels, 0);
    kernels.activate(values, static_cast<int64_t>(op.out.height) * op.out.pitch, op.activation, op.slope);
    for (int row = 0; row < op.out.height; ++row)
      std::fill(values + static_cast<int64_t>(row) * op.out.pitch + op.out.width,
                values + static_cast<int64_t>(row + 1) * op.out.pitch, 0.0f);
  }
}

void run_dense(sw_program& program, const sw_op& op, const float* const* inputs, float* const* outputs, int threads) {
  DenseRun run{&program, &op, inputs, outputs};
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  const int64_t work = static_cast<int64_t>(map.channels) * map.height * map.pitch;
  const int channels = op.kind == SW_PACK && op.phased ? op.channels : map.channels;
  program.pool.run(&dense_task, &run, channels, work < 16384 ? 1 : threads);
}

void prepare(sw_program& program, int threads) {
  program.pool.grow(threads);
  if (threads > program.scratch_threads) {
    program.scratch = std::make_unique<Floats>(std::max<int64_t>(16, program.scratch_of_thread * threads));
    program.scratch_threads = threads;
  }
}

}  // namespace
}  // namespace sapwood

extern "C" {

int32_t sw_abi(void) { return SW_ABI; }

const char* sw_isa(void) { return sapwood::current()->name; }

int32_t sw_has_isa(const char* isa) { return isa && sapwood::kernels_of(isa) ? 1 : 0; }

int32_t sw_set_isa(const char* isa) {
  const sapwood::Kernels* found = isa ? sapwood::kernels_of(isa) : nullptr;
  if (!found) return -1;
  sapwood::current() = found;
  return 0;
}

int32_t sw_lanes(void) { return sapwood::current()->lanes; }

int32_t sw_most_vectors(void) { return sapwood::current()->most_vectors; }

sw_program* sw_create(const sw_op* ops, int32_t count, int64_t arena, char* error, int32_t size) {
  using namespace sapwood;
  auto program = std::unique_ptr<sw_program>();
  try {
    if (count < 1 || !ops || arena < 1) throw std::invalid_argument("there are no operations");
    program = std::make_unique<sw_program>();
    program->kernels = current();
    program->ops.assign(ops, ops + count);
    program->convolutions.resize(count);
    for (int number = 0; number < count; ++number) {
      sw_op& op = program->ops[number];
      check(op, arena, *program->kernels, number);
      if (op.kind != SW_CONV) continue;
      Convolution& convolution = program->convolutions[number];
      const int64_t lists = static_cast<int64_t>(op.num_chunks) * op.channels * 3;
      convolution.starts.assign(op.starts, op.starts + lists + 1);
      convolution.entries.assign(op.entries, op.entries + op.starts[lists]);
      convolution.bias.assign(op.bias, op.bias + op.channels);
      convolution.mask = std::make_unique<Floats>(op.in.pitch);
      std::memset(convolution.mask->get(), 0xff, static_cast<size_t>(op.width) * sizeof(float));
      op.starts = convolution.starts.data();
      op.entries = convolution.entries.data();
      op.bias = convolution.bias.data();
      if (op.num_chunks > 1)
        program->scratch_of_thread =
            std::max(program->scratch_of_thread, static_cast<int64_t>(op.channels) * op.rows * op.in.pitch);
    }
    program->memory = std::make_unique<Floats>(arena + 2 * kGuard);
    program->arena = program->memory->get() + kGuard;
    prepare(*program, 1);
  } catch (const std::exception& problem) {
    if (error && size > 0) std::snprintf(error, static_cast<size_t>(size), "%s", problem.what());
    return nullptr;
  }
  return program.release();
}

void sw_free(sw_program* program) { delete program; }

int32_t sw_run(sw_program* program, const float* const* inputs, float* const* outputs, int32_t threads,
               int64_t* nanoseconds) {
  using namespace sapwood;
  threads = std::max<int32_t>(1, threads);
  try {
    prepare(*program, threads);
  } catch (const std::exception&) {
    return -1;
  }
  auto before = std::chrono::steady_clock::now();
  for (size_t number = 0; number < program->ops.size(); ++number) {
    const sw_op& op = program->ops[number];
    if (op.kind == SW_CONV)
      convolve(*program, op, program->convolutions[number], threads);
    else
      run_dense(*program, op, inputs, outputs, threads);
    if (nanoseconds) {
      auto now = std::chrono::steady_clock::now();
      nanoseconds[number] = std::chrono::duration_cast<std::chrono::nanoseconds>(now - before).count();
      before = now;
    }
  }
  return 0;
}

int64_t sw_bytes(const sw_program* program) {
  int64_t bytes = program->memory->bytes() + program->scratch->bytes();
  for (const auto& one : program->convolutions)
    bytes += static_cast<int64_t>(one.entries.size() * sizeof(sw_entry) + one.starts.size() * sizeof(int64_t) +
                                  one.bias.size() * sizeof(float));
  return bytes;
}
}

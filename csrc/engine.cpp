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

#include "checks.h"
#include "dense.h"
#include "fork.h"
#include "kernels/kernels.h"
#include "pool.h"
#include "sapwood_engine.h"

namespace sapwood {
namespace {

constexpr int64_t kAlign = 64;
constexpr int32_t kMostThreads = 1024;

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
    clear();
  }
  void clear() { std::memset(data_, 0, static_cast<size_t>(bytes())); }
  ~Floats() { ::operator delete(data_, std::align_val_t(kAlign)); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* get() const { return data_; }
  int64_t count() const { return count_; }
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
  bool alone = false;            // it reads where it writes: one thread
};

}  // namespace
}  // namespace sapwood

struct sw_program {
  const sapwood::Kernels* kernels;
  std::vector<sw_op> ops;
  std::vector<std::shared_ptr<const sapwood::Convolution>> convolutions;  // copies share them
  std::unique_ptr<sapwood::Floats> memory;
  float* arena;
  std::unique_ptr<sapwood::Floats> scratch;
  int64_t scratch_of_thread = 0;
  int scratch_threads = 0;
  sapwood::Pool pool;
  unsigned forks = sapwood::num_forks();

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
  program.pool.run(&conv_task, &run, run.tiles * run.parts, convolution.alone ? 1 : threads);
}

struct DenseRun {
  sw_program* program;
  const sw_op* op;
  const sw_picture* inputs;
  const sw_picture* outputs;
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

void run_dense(sw_program& program, const sw_op& op, const sw_picture* inputs, const sw_picture* outputs, int threads) {
  DenseRun run{&program, &op, inputs, outputs};
  const sw_map& map = op.kind == SW_PACK ? op.out : op.in;
  const int64_t work = static_cast<int64_t>(map.channels) * map.height * map.pitch;
  const int channels = op.kind == SW_PACK && op.phased ? op.channels : map.channels;
  program.pool.run(&dense_task, &run, channels, work < 16384 ? 1 : threads);
}

// In a child of `fork`, what another thread was writing at that moment must not be taken for padding.
void forget_parent(sw_program& program) {
  if (program.forks == num_forks()) return;
  program.memory->clear();
  program.forks = num_forks();
}

bool fit(const sw_program& program, const sw_picture* inputs, int32_t num_inputs, const sw_picture* outputs,
         int32_t num_outputs) {
  for (const sw_op& op : program.ops) {
    if (op.kind != SW_PACK && op.kind != SW_UNPACK) continue;
    const sw_picture* pictures = op.kind == SW_PACK ? inputs : outputs;
    const int32_t given = op.kind == SW_PACK ? num_inputs : num_outputs;
    if (!pictures || op.index >= given) return false;
    const sw_picture& picture = pictures[op.index];
    if (!picture.values || picture.floats != picture_floats(op)) return false;
  }
  return true;
}

void prepare(sw_program& program, int threads) {
  program.pool.grow(threads);
  if (threads > program.scratch_threads) {
    program.scratch = std::make_unique<Floats>(std::max<int64_t>(16, program.scratch_of_thread * threads));
    program.scratch_threads = threads;
  }
}

void allocate(sw_program& program, int64_t floats) {
  program.memory = std::make_unique<Floats>(floats);
  program.arena = program.memory->get() + kGuard;
  prepare(program, 1);
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
    if (arena > kLargestArena) throw std::invalid_argument("the arena is larger than 2^44 floats");
    program = std::make_unique<sw_program>();
    program->kernels = current();
    program->ops.assign(ops, ops + count);
    program->convolutions.resize(count);
    for (int number = 0; number < count; ++number) {
      sw_op& op = program->ops[number];
      check(op, number, count, arena, *program->kernels);
      if (op.kind != SW_CONV) continue;
      auto own = std::make_shared<Convolution>();
      Convolution& convolution = *own;
      program->convolutions[number] = own;
      convolution.alone = reads_own_output(op);
      convolution.starts.assign(op.starts, op.starts + op.num_starts);
      convolution.entries.assign(op.entries, op.entries + op.num_entries);
      convolution.bias.assign(op.bias, op.bias + op.num_bias);
      convolution.mask = std::make_unique<Floats>(op.in.pitch);
      std::memset(convolution.mask->get(), 0xff, static_cast<size_t>(op.width) * sizeof(float));
      op.starts = convolution.starts.data();
      op.entries = convolution.entries.data();
      op.bias = convolution.bias.data();
      if (op.num_chunks > 1)
        program->scratch_of_thread = std::max(program->scratch_of_thread, static_cast<int64_t>(op.channels) * op.rows *
                                                                              op.columns * program->kernels->lanes);
    }
    allocate(*program, arena + 2 * kGuard);
  } catch (const std::exception& problem) {
    if (error && size > 0) std::snprintf(error, static_cast<size_t>(size), "%s", problem.what());
    return nullptr;
  }
  return program.release();
}

sw_program* sw_copy(const sw_program* program) {
  if (!program) return nullptr;
  try {
    auto copy = std::make_unique<sw_program>();
    copy->kernels = program->kernels;
    copy->ops = program->ops;
    copy->convolutions = program->convolutions;
    copy->scratch_of_thread = program->scratch_of_thread;
    sapwood::allocate(*copy, program->memory->count());
    return copy.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void sw_free(sw_program* program) { delete program; }

int32_t sw_run(sw_program* program, const sw_picture* inputs, int32_t num_inputs, const sw_picture* outputs,
               int32_t num_outputs, int32_t threads, int64_t* nanoseconds) {
  using namespace sapwood;
  if (!program || !fit(*program, inputs, num_inputs, outputs, num_outputs)) return -2;
  threads = std::max<int32_t>(1, threads);
  if (threads > kMostThreads) return -1;
  try {
    prepare(*program, threads);
  } catch (const std::exception&) {
    return -1;
  }
  forget_parent(*program);
  auto before = std::chrono::steady_clock::now();
  for (size_t number = 0; number < program->ops.size(); ++number) {
    const sw_op& op = program->ops[number];
    if (op.kind == SW_CONV) convolve(*program, op, *program->convolutions[number], threads);
    else run_dense(*program, op, inputs, outputs, threads);
    if (nanoseconds) {
      auto now = std::chrono::steady_clock::now();
      nanoseconds[number] = std::chrono::duration_cast<std::chrono::nanoseconds>(now - before).count();
      before = now;
    }
  }
  return 0;
}

int64_t sw_bytes(const sw_program* program) {
  if (!program) return 0;
  int64_t bytes = program->memory->bytes() + program->scratch->bytes();
  for (const auto& one : program->convolutions)
    if (one)
      bytes += static_cast<int64_t>(one->entries.size() * sizeof(sw_entry) + one->starts.size() * sizeof(int64_t) +
                                    one->bias.size() * sizeof(float));
  return bytes;
}
}

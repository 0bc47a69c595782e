// Throws random programs, sensible and changed ones, at the engine's C interface. Each must be refused with a reason,
// or run: the same numbers on one thread and on several, and for sensible ones those of the slow reference.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

#if !defined(_WIN32)
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "programs.h"

namespace fuzz {
namespace {

struct Options {
  uint64_t seed = 0, first = 0, count = UINT64_MAX;
  double seconds = 1e9;
  std::string isa;
  int child_threads = 3;  // of a run in a child of fork
};

struct Counts {
  uint64_t accepted = 0, refused = 0, compared = 0, forked = 0;
};

uint64_t current = 0;

void demand(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "input %llu: %s\n", static_cast<unsigned long long>(current), what);
  std::abort();
}

// The pictures that a program asks for; false where two operations disagree about one.
bool ask(const Program& program, Pictures& inputs, Pictures& outputs, Random& random) {
  inputs.assign(program.ops.size(), {});
  outputs.assign(program.ops.size(), {});
  bool agree = true;
  for (const sw_op& op : program.ops) {
    if (op.kind != SW_PACK && op.kind != SW_UNPACK) continue;
    auto& picture = op.kind == SW_PACK ? inputs[op.pack.index] : outputs[op.unpack.index];
    const size_t floats = static_cast<size_t>(floats_of(op));
    agree = agree && (picture.empty() || picture.size() == floats);
    picture.resize(floats);
    picture.shrink_to_fit();
    for (float& value : picture) value = random.value();
  }
  return agree;
}

std::vector<sw_picture> pointed(Pictures& pictures) {
  std::vector<sw_picture> found;
  for (auto& one : pictures) found.push_back({one.empty() ? nullptr : one.data(), static_cast<int64_t>(one.size())});
  return found;
}

int32_t call(sw_program* program, Pictures& inputs, Pictures& outputs, int threads, int64_t* times) {
  auto given = pointed(inputs), wanted = pointed(outputs);
  return sw_run(program, given.data(), static_cast<int32_t>(given.size()), wanted.data(),
                static_cast<int32_t>(wanted.size()), threads, times);
}

bool same(const Pictures& one, const Pictures& other) {
  for (size_t number = 0; number < one.size(); ++number)
    if (one[number].size() != other[number].size() ||
        (!one[number].empty() && std::memcmp(one[number].data(), other[number].data(), 4 * one[number].size())))
      return false;
  return true;
}

bool close(const Pictures& found, const Pictures& wanted, double most) {
  for (size_t number = 0; number < found.size(); ++number) {
    if (found[number].size() != wanted[number].size()) return false;
    for (size_t at = 0; at < found[number].size(); ++at)
      if (!(std::fabs(double{found[number][at]} - wanted[number][at]) <= most)) return false;
  }
  return true;
}

// A call with a picture that is missing or of another size.
void call_wrongly(sw_program* program, Pictures inputs, Pictures outputs, Random& random) {
  for (Pictures* pictures : {&outputs, &inputs})
    for (auto& one : *pictures)
      if (!one.empty()) {
        one.resize(random.one_in(2) ? 0 : one.size() + 1);
        demand(call(program, inputs, outputs, 1, nullptr) == SW_WRONG_PICTURES, "a picture of another size was taken");
        return;
      }
}

#if !defined(_WIN32)
#if defined(__SANITIZE_ADDRESS__) && defined(__linux__)
// Whether no other thread of this process is about to run.
bool others_sleep() {
  DIR* tasks = opendir("/proc/self/task");
  demand(tasks != nullptr, "no list of threads");
  bool asleep = true;
  while (const dirent* task = readdir(tasks)) {
    const int number = std::atoi(task->d_name);
    if (number == 0 || number == getpid()) continue;
    std::ifstream stat(std::string("/proc/self/task/") + task->d_name + "/stat");
    std::string line;
    std::getline(stat, line);
    const size_t state = line.rfind(')') + 2;  // behind the name, which may hold anything
    asleep = asleep && (line.empty() || (state < line.size() && line[state] == 'S'));
  }
  closedir(tasks);
  return asleep;
}

// AddressSanitizer's allocator is locked by threads that begin, and GCC 12's stays so in a child of fork for good.
void settle() {
  while (!others_sleep()) usleep(500);
}
#else
void settle() {}
#endif

void call_in_child(sw_program* program, const Pictures& inputs, const Pictures& wanted, int32_t code, int threads,
                   Random& random) {
  settle();
  const pid_t child = fork();
  demand(child >= 0, "no child");
  if (child == 0) {
    alarm(60);
    Pictures given = inputs, found = wanted;
    const bool runs = random.one_in(2);
    if (runs && (call(program, given, found, threads, nullptr) != code || !same(found, wanted))) _exit(3);
    sw_free(program);
    _exit(0);
  }
  int status = 0;
  demand(waitpid(child, &status, 0) == child && status == 0, "a child of fork hangs or finds something else");
}
#endif

// Numbers that rounding alone makes others of, as a norm of what is nearly constant has, cannot be compared.
void compare(const Program& program, const Pictures& inputs, const Pictures& outputs, int32_t code, Counts& counts) {
  const Result wanted = reference(program, inputs), noisy = reference(program, inputs, 1e-6);
  demand((code == SW_DONE) == wanted.right, "it says wrongly whether all rows of tables are there");
  const double most = 1e-3 * wanted.largest;
  if (wanted.largest >= 1e6f || !close(noisy.outputs, wanted.outputs, most / 10.0)) return;
  ++counts.compared;
  demand(close(outputs, wanted.outputs, most), "outputs are not those of the reference");
}

bool has_kind(const Program& program, int kind) {
  return std::any_of(program.ops.begin(), program.ops.end(), [&](const sw_op& op) { return op.kind == kind; });
}

void run(sw_program* made, const Program& program, bool is_sensible, Random& random, const Options& options,
         Counts& counts) {
  Pictures inputs, outputs;
  const bool agree = ask(program, inputs, outputs, random);
  Pictures more = outputs;
  std::vector<int64_t> times(program.ops.size());
  const int32_t code = call(made, inputs, outputs, 1, random.one_in(4) ? times.data() : nullptr);
  const bool may_miss = agree && code == SW_WRONG_ROW && has_kind(program, SW_EMBED);
  demand(code == (agree ? SW_DONE : SW_WRONG_PICTURES) || may_miss, "a run gave another code than expected");
  if (!agree) return;
  if (random.one_in(16)) call_wrongly(made, inputs, outputs, random);
  if (is_sensible) compare(program, inputs, outputs, code, counts);
  if (!random.one_in(8)) return;
  sw_program* copy = sw_copy(made);
  demand(copy && sw_bytes(copy) > 0, "no copy");
  const int threads = static_cast<int>(random.between(2, 3));
  demand(call(copy, inputs, more, threads, nullptr) == code, "a copy does not run as the first does");
  demand(same(outputs, more), "several threads give other numbers than one");
#if !defined(_WIN32)
  if (is_sensible && random.one_in(64)) {
    ++counts.forked;
    call_in_child(copy, inputs, more, code, options.child_threads, random);
    demand(call(copy, inputs, outputs, 3, nullptr) == code && same(outputs, more),
           "the parent finds something else after fork");
  }
#endif
  sw_free(copy);
}

void try_one(Random random, const Options& options, Counts& counts) {
  Program program = sensible(random);
  const bool is_sensible = random.one_in(4);
  if (!is_sensible) mutate(program, random);
  char error[256] = "";
  const int32_t size = random.one_in(16) ? static_cast<int32_t>(random.between(0, 8)) : 256;
  sw_program* made =
      sw_create(program.ops.data(), static_cast<int32_t>(program.ops.size()), program.arena, error, size);
  if (!made) {
    ++counts.refused;
    demand(!is_sensible, error);
    demand(size < 2 || error[0] != 0, "refused without a reason");
    return;
  }
  ++counts.accepted;
  run(made, program, is_sensible, random, options, counts);
  sw_free(made);
}

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Options options_of(int count, char** words) {
  Options options;
  for (int at = 1; at + 1 < count; at += 2) {
    const std::string name = words[at], value = words[at + 1];
    if (name == "--seed") options.seed = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--first") options.first = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--count") options.count = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--seconds") options.seconds = std::strtod(value.c_str(), nullptr);
    else if (name == "--isa") options.isa = value;
    else if (name == "--child-threads") options.child_threads = std::atoi(value.c_str());
    else std::fprintf(stderr, "%s is not known\n", name.c_str()), std::exit(2);
  }
  return options;
}

}  // namespace
}  // namespace fuzz

int main(int count, char** words) {
  using namespace fuzz;
  const Options options = options_of(count, words);
  static const char* const isas[] = {"avx512", "avx2", "neon", "scalar"};
  Counts counts;
  const double start = now();
  uint64_t tried = 0;
  for (current = options.first; tried < options.count; ++current, ++tried) {
    if (tried % 256 == 0 && now() - start >= options.seconds) break;
    const char* isa = options.isa.empty() ? isas[current / 64 % 4] : options.isa.c_str();
    if (sw_set_isa(isa) != 0 && sw_set_isa("scalar") != 0) return 2;
    try_one(Random(options.seed * 0x9e3779b97f4a7c15u + current), options, counts);
  }
  const double seconds = now() - start;
  std::printf(
      "engine C interface: %llu inputs, %llu refused, %llu run, %llu compared with the reference, %llu forks, "
      "%.0f inputs per second\n",
      static_cast<unsigned long long>(tried), static_cast<unsigned long long>(counts.refused),
      static_cast<unsigned long long>(counts.accepted), static_cast<unsigned long long>(counts.compared),
      static_cast<unsigned long long>(counts.forked), static_cast<double>(tried) / seconds);
}

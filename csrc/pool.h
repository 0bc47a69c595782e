// A few threads that wait for work: they spin for a moment, then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sapwood {

using Task = void (*)(void* context, int number, int thread);

// The threads of one process.
class Crew {
 public:
  Crew() = default;
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  void grow(int count);
  void run(Task task, void* context, int count, int threads);

 private:
  void wait_for_work(int thread, unsigned seen);
  void take_tasks(int thread);
  void place_workers();

  // Which run it is, and the next number of it, in one: what a thread takes belongs to the run that it saw, however
  // late it wakes. Nobody waits for threads that sleep, only for numbers that were taken.
  static constexpr uint64_t kClosed = 0xffffffffu;
  static uint64_t ticket(uint64_t turn, uint64_t number) { return turn << 32 | number; }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> turn_{0};
  std::atomic<bool> ending_{false};
  std::atomic<int> sleeping_{0};
  int beside_ = -1;  // the processor that workers were told to leave to the caller
  std::atomic<uint64_t> next_{kClosed};
  std::atomic<int> done_{0};
  std::atomic<Task> task_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> count_{0};
  std::atomic<int> threads_{1};
};

// A crew, and another one in each child of `fork`, where the parent's threads are not.
class Pool {
 public:
  Pool();
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Starts threads until there are `count` with the caller's; throws std::system_error where that fails.
  void grow(int count);

  // Calls task(context, number) for each number below `count`, on `threads` threads; returns when all are done.
  void run(Task task, void* context, int count, int threads) { crew_->run(task, context, count, threads); }

 private:
  void leave_parents();

  std::unique_ptr<Crew> crew_;
  unsigned forks_;
};

}  // namespace sapwood

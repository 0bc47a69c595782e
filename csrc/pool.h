// A few threads that wait for work: they spin for a moment, then sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace sapwood {

class Pool {
 public:
  Pool() = default;
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Starts threads until there are `count` with the caller's; throws std::system_error where that fails.
  void grow(int count);

  // Calls task(context, number) for each number below `count`, on `threads` threads; returns when all are done.
  using Task = void (*)(void* context, int number, int thread);
  void run(Task task, void* context, int count, int threads);

 private:
  void wait_for_work(int thread, unsigned seen);
  void take_tasks(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned> turn_{0};
  std::atomic<bool> ending_{false};
  std::atomic<int> next_{0};
  std::atomic<int> working_{0};
  Task task_ = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
  int threads_ = 1;
};

}  // namespace sapwood

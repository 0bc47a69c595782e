#include "pool.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace sapwood {
namespace {

constexpr int kSpins = 20000;  // about 0.2 ms: the pause between two layers, not that between two pictures

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    turn_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Pool::grow(int count) {
  while (static_cast<int>(workers_.size()) + 1 < count) {
    int thread = static_cast<int>(workers_.size()) + 1;
    const unsigned seen = turn_.load();
    workers_.emplace_back([this, thread, seen] { wait_for_work(thread, seen); });
  }
}

void Pool::run(Task task, void* context, int count, int threads) {
  if (threads <= 1 || count <= 1 || workers_.empty()) {
    for (int number = 0; number < count; ++number) task(context, number, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    task_ = task;
    context_ = context;
    count_ = count;
    threads_ = threads;
    next_.store(0, std::memory_order_relaxed);
    working_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    turn_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  take_tasks(0);
  while (working_.load(std::memory_order_acquire) > 0) pause();
}

void Pool::take_tasks(int thread) {
  if (thread >= threads_) return;
  for (;;) {
    int number = next_.fetch_add(1, std::memory_order_relaxed);
    if (number >= count_) return;
    task_(context_, number, thread);
  }
}

void Pool::wait_for_work(int thread, unsigned seen) {
  for (;;) {
    int spins = 0;
    while (turn_.load(std::memory_order_acquire) == seen && spins < kSpins) {
      pause();
      ++spins;
    }
    if (turn_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return turn_.load(std::memory_order_acquire) != seen; });
    }
    if (ending_) return;
    seen = turn_.load(std::memory_order_acquire);
    take_tasks(thread);
    working_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace sapwood

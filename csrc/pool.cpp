#include "pool.h"

#include "fork.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace sapwood {
namespace {

constexpr int kSpins = 20000;  // about 0.2 ms: the pause between two layers, not that between two pictures
constexpr int kPatience = 2000;

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Crew::~Crew() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    turn_.fetch_add(1);
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void Crew::grow(int count) {
  while (static_cast<int>(workers_.size()) + 1 < count) {
    int thread = static_cast<int>(workers_.size()) + 1;
    const unsigned seen = turn_.load();
    workers_.emplace_back([this, thread, seen] { wait_for_work(thread, seen); });
  }
}

// A thread that is woken is often put on its waker's processor, where it waits for a tick of the scheduler while
// another processor is idle. So before they are woken, workers are told to run anywhere but here.
void Crew::place_workers() {
#if defined(__linux__)
  const int here = sched_getcpu();
  if (here < 0 || here == beside_) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  CPU_CLR(here, &allowed);
  if (CPU_COUNT(&allowed) == 0) return;
  for (auto& worker : workers_) pthread_setaffinity_np(worker.native_handle(), sizeof(allowed), &allowed);
  beside_ = here;
#endif
}

void Crew::run(Task task, void* context, int count, int threads) {
  if (threads <= 1 || count <= 1 || workers_.empty()) {
    for (int number = 0; number < count; ++number) task(context, number, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const unsigned turn = turn_.load() + 1;
    next_.store(ticket(turn, kClosed));  // from here on nobody can take a number of the last run
    task_.store(task);
    context_.store(context);
    count_.store(count);
    threads_.store(threads);
    done_.store(0);
    next_.store(ticket(turn, 0));
    turn_.store(turn);
  }
  if (sleeping_.load() > 0) {
    place_workers();
    wake_.notify_all();
  }
  take_tasks(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) < count; ++spins) {
    pause();
    if (spins > kPatience) std::this_thread::yield();  // whoever took the last number may need this processor
  }
}

void Crew::take_tasks(int thread) {
  uint64_t seen = next_.load();
  for (;;) {
    const uint64_t number = seen & kClosed;
    if (thread >= threads_.load() || number >= static_cast<uint64_t>(count_.load())) return;
    if (!next_.compare_exchange_weak(seen, seen + 1)) continue;  // `seen` is what is there now
    task_.load()(context_.load(), static_cast<int>(number), thread);
    done_.fetch_add(1, std::memory_order_release);
    seen = next_.load();
  }
}

void Crew::wait_for_work(int thread, unsigned seen) {
  for (;;) {
    int spins = 0;
    while (turn_.load(std::memory_order_acquire) == seen && spins < kSpins) {
      pause();
      ++spins;
    }
    if (turn_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return turn_.load(std::memory_order_acquire) != seen || ending_.load(); });
      sleeping_.fetch_sub(1);
    }
    seen = turn_.load(std::memory_order_acquire);  // before looking at `ending_`, which is set before its turn comes
    if (ending_.load()) return;
    take_tasks(thread);
  }
}

Pool::Pool() : crew_(std::make_unique<Crew>()), forks_(num_forks()) {}

Pool::~Pool() {
  if (forks_ != num_forks()) (void)crew_.release();
}

void Pool::grow(int count) {
  leave_parents();
  crew_->grow(count);
}

// The parent's crew is left as it is: nobody would answer, and its lock may be held by a thread that is not here.
void Pool::leave_parents() {
  if (forks_ == num_forks()) return;
  auto own = std::make_unique<Crew>();
  (void)crew_.release();
  crew_ = std::move(own);
  forks_ = num_forks();
}

}  // namespace sapwood

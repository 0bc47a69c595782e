// The threads: each number is taken once, by a thread that was asked for, and nobody waits for one that sleeps.
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "expect.h"
#include "pool.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace tests {
namespace {

struct Work {
  explicit Work(int count) : taken(count) {}
  std::vector<std::atomic<int>> taken;  // how often each number was
  std::atomic<int> highest{-1};         // number of a thread
  std::atomic<int> others{0};           // numbers that workers took
};

void take(void* context, int number, int thread) {
  Work& work = *static_cast<Work*>(context);
  work.taken[number].fetch_add(1);
  if (thread > 0) work.others.fetch_add(1);
  int before = work.highest.load();
  while (thread > before && !work.highest.compare_exchange_weak(before, thread)) {
  }
}

template <class Threads>
void expect_once(Threads& pool, int count, int threads) {
  Work work(count);
  pool.run(&take, &work, count, threads);
  for (const auto& times : work.taken) EXPECT(times.load() == 1);
  EXPECT(work.highest.load() < threads);
}

// A task that others must help with: it ends when `wanted` threads are in it.
struct Meeting {
  explicit Meeting(int wanted) : wanted(wanted) {}
  const int wanted;
  std::atomic<int> present{0};
};

void meet(void* context, int, int) {
  Meeting& meeting = *static_cast<Meeting*>(context);
  meeting.present.fetch_add(1);
  while (meeting.present.load() < meeting.wanted) std::this_thread::yield();
}

void expect_meeting(sapwood::Pool& pool, int threads) {
  Meeting meeting(threads);
  pool.run(&meet, &meeting, threads, threads);
  EXPECT(meeting.present.load() == threads);
}

// Leaves the others time to take a number, too.
void take_slowly(void* context, int number, int thread) {
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  take(context, number, thread);
}

void fall_asleep() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

}  // namespace

void crew() {
  sapwood::Pool pool;
  expect_once(pool, 7, 4);  // without workers, the caller does it all
  pool.grow(3);
  for (int count : {0, 1, 2, 3, 5, 64, 1000})
    for (int threads : {1, 2, 3, 8}) expect_once(pool, count, threads);
  for (int round = 0; round < 2000; ++round) expect_once(pool, 1 + round % 9, 3);  // one run on the heels of another
  for (int round = 0; round < 3; ++round) {
    fall_asleep();
    expect_meeting(pool, 3);  // workers that sleep are woken
  }
  pool.grow(2);  // no fewer
  pool.grow(5);
  expect_once(pool, 500, 5);
  Work few(20);
  pool.run(&take_slowly, &few, 20, 2);
  EXPECT(few.highest.load() < 2);
  Work alone(50);
  pool.run(&take, &alone, 50, 1);
  EXPECT(alone.others.load() == 0);
  for (int round = 0; round < 20; ++round) {  // ends while workers spin, and while they sleep
    sapwood::Pool short_lived;
    short_lived.grow(3);
    if (round % 10 == 9) fall_asleep();
    else if (round % 2) expect_once(short_lived, 5, 3);
  }
}

void forked_crew() {
#if !defined(_WIN32)
  sapwood::Pool pool;
  pool.grow(3);
  expect_meeting(pool, 3);  // else a thread may be at its start, where AddressSanitizer holds locks that fork copies
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    alarm(60);  // instead of waiting for threads that are not here
    pool.grow(3);
    expect_once(pool, 100, 3);
    expect_meeting(pool, 3);  // a crew of its own
    std::exit(0);
  }
  int status = -1;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  expect_once(pool, 100, 3);
#endif
}

}  // namespace tests

#include "fork.h"

#include <atomic>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace sapwood {
namespace {

std::atomic<unsigned> forks{0};

#if !defined(_WIN32)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
#endif

}  // namespace

unsigned num_forks() { return forks.load(std::memory_order_relaxed); }

}  // namespace sapwood

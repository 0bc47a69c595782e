// Memory on a cache line.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "sapwood_engine.h"

namespace sapwood {

// Whether memory is zero at first; where all of it is written anyway, it need not be.
enum class Fill { zero, none };

class Floats {
 public:
  explicit Floats(int64_t count, Fill fill = Fill::zero) : count_(count) {
    data_ = static_cast<float*>(::operator new(static_cast<size_t>(room()), align()));
#if defined(MADV_HUGEPAGE)
    if (is_large()) madvise(data_, static_cast<size_t>(room()), MADV_HUGEPAGE);
#endif
    if (fill == Fill::zero) clear();
  }
  ~Floats() { ::operator delete(data_, align()); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  void clear() { std::memset(data_, 0, static_cast<size_t>(bytes())); }
  float* get() const { return data_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(float)); }

 private:
  // A convolution reads a few lines of each plane, and each plane stands on pages of its own: on pages of 4 KB it
  // would look up an address for nearly every weight. A large page that is not full is none, so the last one is.
  static constexpr int64_t kLargePage = int64_t{1} << 21;

  bool is_large() const { return bytes() >= kLargePage / 2; }
  int64_t room() const { return is_large() ? (bytes() + kLargePage - 1) / kLargePage * kLargePage : bytes(); }
  std::align_val_t align() const { return std::align_val_t(is_large() ? kLargePage : SW_ALIGN); }

  float* data_;
  int64_t count_;
};

}  // namespace sapwood

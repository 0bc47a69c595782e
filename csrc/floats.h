// Memory on a cache line.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>

#include "sapwood_engine.h"

namespace sapwood {

class Floats {
 public:
  explicit Floats(int64_t count) : count_(count) {
    data_ = static_cast<float*>(::operator new(static_cast<size_t>(count) * sizeof(float), kAlign));
    clear();
  }
  ~Floats() { ::operator delete(data_, kAlign); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  void clear() { std::memset(data_, 0, static_cast<size_t>(bytes())); }
  float* get() const { return data_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(float)); }

 private:
  static constexpr std::align_val_t kAlign{SW_ALIGN};
  float* data_;
  int64_t count_;
};

}  // namespace sapwood

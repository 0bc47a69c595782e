// Makes one sensible program: operation after operation, each over maps that are there. The engine must take it.
#pragma once

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "programs.h"

namespace fuzz {

inline int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// What operations point to.
struct Arrays {
  std::vector<int64_t> starts;
  std::vector<sw_entry> entries;
  std::vector<float> bias, numbers;
};

class Builder {
 public:
  explicit Builder(Random& random) : random_(random), lanes_(sw_lanes()), most_(sw_most_vectors()) {}

  Program build();

 private:
  Random& random_;
  const int lanes_, most_;
  Program program_;
  std::vector<sw_map> maps_;  // that operations may read
  int64_t cursor_ = 64;

  static sw_op blank(int kind) {
    sw_op op;
    std::memset(&op, 0, sizeof(op));
    op.kind = kind;
    return op;
  }

  int32_t number(int64_t least, int64_t most) { return static_cast<int32_t>(random_.between(least, most)); }
  std::vector<float> values(int64_t count, int zeros = 1);  // one in `zeros` is none

  // Maps that are there.
  using Wanted = std::function<bool(const sw_map&)>;
  sw_map any() { return maps_[random_.next() % maps_.size()]; }
  bool find(const Wanted& wanted, sw_map& found);
  bool is_padded(const sw_map& map) const { return map.pitch % lanes_ == 0; }
  sw_map padded();  // whose rows begin with vectors
  sw_map tokens();  // a padded row
  sw_map tokens(int32_t width);

  // New ones.
  sw_map place(sw_map map);
  sw_map map(int64_t channels, int64_t height, int64_t width, int64_t pitch = 0);
  sw_map loose(int64_t channels, int64_t height, int64_t width);  // with row padding, or without

  void add(const sw_op& op, Arrays arrays = {});
  void activate(sw_op& op);

  // builder.cpp
  void step();
  void pack();
  sw_map phases_of(int32_t (&step)[2], int64_t channels, int64_t height, int64_t width);
  void phases(sw_op op);
  void pool(sw_op op);
  void upsample(sw_op op);
  void combine(sw_op op);
  void copy(sw_op op);

  // building_convolutions.cpp
  sw_map added(const sw_map& out, int32_t pitch);
  void tile(sw_conv& conv, const sw_map& in, int64_t rows);
  void convolve(sw_op op);
  sw_entry entry(const sw_map& in, int chunk, int chunks, bool sideways);
  Arrays lists(const sw_op& op);
  Arrays dense(sw_op& op, const std::function<sw_entry(int)>& entry);
  void filter(sw_op& op, int32_t above, int32_t beside, int most);
  void add_filter(const sw_op& op);
  void filter(sw_op op);
  void add_places(sw_op op, int32_t rows, bool may_be_dense);
  void chain(sw_op op);

  // building_tokens.cpp
  void view(sw_op op);
  void strides(sw_op& op);
  void turn(sw_op& op);
  sw_map row_of(const sw_map& in, int32_t channels, int32_t width);
  void constant(sw_op op);
  void fill(const sw_map& out, int32_t at, int32_t count);
  void norm(sw_op op);
  void attend(sw_op op);
  sw_map mask_of(const sw_op& op);
  void embed(sw_op op);
};

}  // namespace fuzz

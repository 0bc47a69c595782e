// Depthwise convolutions: what they keep, and how their rows are shared out.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "floats.h"
#include "kernels/kernels.h"
#include "sapwood_engine.h"

struct sw_program;

namespace sapwood {

// What a depthwise convolution points to.
struct Depthwise {
  std::vector<float> weights, bias;
  std::vector<sw_entry> taps;     // weights that are not zero, channel after channel; offsets are in floats
  std::vector<int64_t> starts;    // where each channel's begin
  std::unique_ptr<Floats> mask;   // of one row of the output; of a strip of all rows
  std::vector<int64_t> plain;     // of a strip: of each channel the end of the taps that need no mask,
  std::vector<int32_t> beside;    // of each tap where its mask begins,
  std::unique_ptr<Floats> masks;  // and those
  bool alone;                     // it reads where it writes, or its chain does: one thread

  int64_t bytes() const {
    return static_cast<int64_t>((weights.size() + bias.size()) * sizeof(float) + taps.size() * sizeof(sw_entry) +
                                (starts.size() + plain.size()) * sizeof(int64_t) + beside.size() * sizeof(int32_t)) +
           (masks ? masks->bytes() : 0);
  }
  bool is_constant(int channel) const { return starts[channel] == starts[channel + 1]; }
};

// Copies what an operation that was checked points to, and points it there.
std::shared_ptr<const Depthwise> own_depthwise(sw_op& op, int lanes, bool alone);

// Rows of a plane: `in` is value (row step[0] - pad[0], 0) of the input for the first row, `out` and `other` (or NULL)
// value (row, 0) of theirs.
void depthwise_rows(const Kernels& kernels, const sw_op& op, const Depthwise& own, int channel, int count,
                    const float* in, float* out, const float* other);

void run_depthwise(sw_program& program, const sw_op& op, const Depthwise& own, int threads);

}  // namespace sapwood

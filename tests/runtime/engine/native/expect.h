// What a test of the engine's insides says: nothing, or where it failed.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EXPECT(condition)                                                    \
  do {                                                                       \
    if (condition) break;                                                    \
    std::fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
    std::exit(1);                                                            \
  } while (false)

namespace tests {

void crew();
void forked_crew();
void activations();
void row_kernels();
void convolutions();
void dense_blocks();
void depthwise();
void chains();
void planes();
void checks();
void facts();
void products();
void norms();
void token_planes();
void token_checks();

}  // namespace tests

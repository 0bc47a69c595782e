// Runs the test whose name is given.
#include <string>

#include "expect.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

int main(int count, char** words) {
  using namespace tests;
  const struct {
    const char* name;
    void (*run)();
  } known[] = {
      {"crew", crew},
      {"forked_crew", forked_crew},
      {"activations", activations},
      {"row_kernels", row_kernels},
      {"convolutions", convolutions},
      {"dense_blocks", dense_blocks},
      {"depthwise", depthwise},
      {"chains", chains},
      {"planes", planes},
      {"checks", checks},
      {"facts", facts},
      {"products", products},
      {"norms", norms},
      {"token_planes", token_planes},
      {"token_checks", token_checks},
  };
  EXPECT(count == 2);
#if !defined(_WIN32)
  alarm(120);  // instead of waiting for a thread that does not come
#endif
  for (const auto& test : known)
    if (test.name == std::string(words[1])) {
      test.run();
      std::printf("%s passed\n", test.name);
      return 0;
    }
  std::fprintf(stderr, "no test %s\n", words[1]);
  return 2;
}

// A child of `fork` has its parent's memory, and of its threads only the one that forked.
#pragma once

namespace sapwood {

// How often this process's line has forked since the library was loaded: another number, other threads.
unsigned num_forks();

}  // namespace sapwood

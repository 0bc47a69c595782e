// Which instruction set's kernels are in use.
#pragma once

#include <string>

#include "kernels/kernels.h"

namespace sapwood {

// Of an instruction set; nullptr where the library holds no code for it, or this processor cannot run it.
const Kernels* kernels_of(const std::string& isa);

// What programs are made for from now on: the best that runs here, or what SAPWOOD_ISA names.
const Kernels*& current();

}  // namespace sapwood

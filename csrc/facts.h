// What a caller in another language must know as the library was compiled with it.
#pragma once

#include "sapwood_engine.h"

namespace sapwood {

// Ends with a fact without a name.
const sw_fact* facts();

}  // namespace sapwood

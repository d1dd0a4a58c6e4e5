// Everything that a compiled decoder calls on a CPU. Freestanding: no library, no globals, no thread-local storage.
// paceline.compile.kernel_calls lists these functions with the order of their arguments.
#include "rows.h"
#include "attention.h"
#include "screened.h"

MATMULS(f32)
MATMULS(f16)
MATMULS(int8)
MATMULS(int4)

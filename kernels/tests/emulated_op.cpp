// The op of amx_op.cpp on emulated units, in a namespace of its own: compile with -Dmodrwkv_kernels=<namespace>.

#include "amx_tiles.h"
#include "amx.h"

#define usable usable_here
#include "amx_kernel.cpp"
#undef usable

bool modrwkv::amx::usable() { return true; }

#include "amx_op.cpp"

modrwkv::InstructionSet modrwkv::instruction_set() { return InstructionSet::kAvx512; }

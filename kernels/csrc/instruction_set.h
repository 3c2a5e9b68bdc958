// Which translation of the kernels serves this processor: the choice that torch itself makes.
#pragma once

namespace modrwkv {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// ATEN_CPU_CAPABILITY overrides it, as it does for torch.
InstructionSet instruction_set();

const char* name(InstructionSet chosen);

}  // namespace modrwkv

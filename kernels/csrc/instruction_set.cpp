#include "instruction_set.h"

#include <ATen/Version.h>

#include <string>

namespace modrwkv {

InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
#if defined(__x86_64__)
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return InstructionSet::kAvx512;
    if (capability == "AVX2") return InstructionSet::kAvx2;
#endif
    return InstructionSet::kPortable;
  }();
  return chosen;
}

const char* name(InstructionSet chosen) {
  switch (chosen) {
    case InstructionSet::kAvx512: return "avx512";
    case InstructionSet::kAvx2: return "avx2";
    default: return "portable";
  }
}

}  // namespace modrwkv

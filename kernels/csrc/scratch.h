// Memory that a thread reuses from call to call: fresh memory costs as much as the work on it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace modrwkv {

// Room for `count` numbers at the start of a cache line, in memory of the thread that is never given back.
template <class Number>
Number* scratch(std::vector<Number>& memory, int64_t count) {
  constexpr size_t kLine = 64 / sizeof(Number);
  memory.resize(std::max(memory.size(), static_cast<size_t>(count) + kLine));
  return memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) / sizeof(Number)) % kLine;
}

}  // namespace modrwkv

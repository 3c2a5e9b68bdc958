// Memory that a thread keeps from call to call: fresh memory costs as much as what is done with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace modrwkv {

// Room for `count` numbers at the start of a cache line, in memory of the thread that is never given back.
template <class Number>
Number* scratch(std::vector<Number>& kept, int64_t count) {
  constexpr size_t kLine = 64 / sizeof(Number);
  kept.resize(std::max(kept.size(), static_cast<size_t>(count) + kLine));
  return kept.data() + (-reinterpret_cast<uintptr_t>(kept.data()) / sizeof(Number)) % kLine;
}

}  // namespace modrwkv

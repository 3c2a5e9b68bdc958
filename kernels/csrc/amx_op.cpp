// A linear layer on the matrix units of the processor, as a torch op.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "amx.h"
#include "instruction_set.h"
#include "linear.h"
#include "scratch.h"

namespace modrwkv {
namespace {

using at::Tensor;

// Blocks of rows, and of outputs, that are held as tiles at once.
constexpr int64_t kRowBlocks = 16, kOutputBlocks = 32;

bool usable() {
#if defined(__x86_64__)
  return instruction_set() == InstructionSet::kAvx512 && amx::usable();
#else
  return false;
#endif
}

#if defined(__x86_64__)

// False when some weights are not bfloat16 numbers; y is unfinished then.
bool multiply(const LinearProduct& whole) {
  static thread_local std::vector<uint32_t> parts_memory, packed_memory;
  const int64_t words = kProductBlock * whole.inputs / 2;  // of a block
  uint32_t* parts = scratch(parts_memory, kRowBlocks * kParts * words);
  uint32_t* packed = scratch(packed_memory, kOutputBlocks * words);
  std::atomic<bool> exact = true;
  for (int64_t row = 0; row < whole.rows; row += kRowBlocks * kProductBlock) {
    LinearProduct p = whole;
    p.x += row * p.inputs;
    p.y += row * p.outputs;
    p.rows = std::min(p.rows - row, kRowBlocks * kProductBlock);
    at::parallel_for(0, (p.rows + kProductBlock - 1) / kProductBlock, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) amx::split(p, i, parts + i * kParts * words);
    });
    const int64_t blocks = p.outputs / kProductBlock;
    for (int64_t output = 0; output < blocks; output += kOutputBlocks) {
      at::parallel_for(output, std::min(blocks, output + kOutputBlocks), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end && exact; ++i) {
          if (!amx::pack(p, i, packed + (i - output) * words)) exact = false;
        }
        if (exact) amx::multiply(p, begin, end, parts, packed + (begin - output) * words);
      });
      if (!exact) return false;
    }
  }
  return true;
}

#endif

Tensor linear(const Tensor& x, const Tensor& weight) {
  TORCH_CHECK_VALUE(usable(), "this processor has no AMX units that this process may use");
#if defined(__x86_64__)
  const Linear layer(x, weight, kProductBlock);
  if (layer.product().inputs > 0 && multiply(layer.product())) return layer.result();
#endif
  return at::linear(x, weight);
}

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) { m.impl("linear_amx", &modrwkv::linear); }

TORCH_LIBRARY_FRAGMENT(modrwkv_kernels, m) { m.def("amx_usable() -> bool", &modrwkv::usable); }

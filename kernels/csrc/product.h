// The product of rows with a matrix, all dense float32: plain pointers, so that kernels compile without torch.
#pragma once

#include <cstdint>

namespace modrwkv {

// y = x W'.
struct LinearProduct {
  const float* x;       // [rows, inputs]
  const float* weight;  // W: [outputs, inputs]
  float* y;             // [rows, outputs]
  int64_t rows, inputs, outputs;
};

}  // namespace modrwkv

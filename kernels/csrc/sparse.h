// Products of rows that are mostly zeros, as after a relu, with a matrix: plain pointers, so that the kernels compile
// without torch and once per instruction set. All is dense float32; inputs and outputs are multiples of 16.
//
// What is not zero is listed once, span by span of the inputs. Then each output panel, the weights of a few vectors of
// outputs, is packed input by input; of a span it stays in the nearest cache while each row adds up what it needs.
#pragma once

#include <cstdint>

#include "product.h"

namespace modrwkv {

// What is not zero in each span, row after row: span i begins at i * depth * rows.
struct NonZeros {
  float* value;     // [rows * inputs]
  uint16_t* place;  // [rows * inputs], where the weights of its input lie, seen from those of its span
  int32_t* count;   // [spans, rows]
  int64_t* found;   // [spans]
};

struct SparseKernels {
  int64_t depth;  // inputs of a span; the last one may have fewer
  int64_t width;  // outputs of a panel; the last one may have fewer
  // Fill the lists.
  void (*find)(const LinearProduct&, const NonZeros&);
  // The weights of a panel, [inputs, width]; where there is no output it is left as it was, and does not matter.
  void (*pack)(const LinearProduct&, int64_t panel, float* packed);
  // y of a panel; `sums` has room for [rows, width].
  void (*multiply)(const LinearProduct&, const NonZeros&, int64_t panel, const float* packed, float* sums);
};

SparseKernels sparse_kernels_portable();
#if defined(__x86_64__)
SparseKernels sparse_kernels_avx2();
SparseKernels sparse_kernels_avx512();
#endif

}  // namespace modrwkv

// A linear layer for few tokens, whose time is that of reading the weights, as a torch op.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <algorithm>

#include "decode.h"
#include "linear.h"

namespace modrwkv {
namespace {

using at::Tensor;

constexpr int64_t kMultiple = 32;               // that inputs and outputs are multiples of
constexpr int64_t kWeightsPerThread = 1 << 15;  // that a thread should have at least
constexpr int64_t kAnyHeadSize = 64;            // products have no heads

Tensor linear(const Tensor& x, const Tensor& weight) {
  const Linear layer(x, weight, kMultiple);
  const LinearProduct& p = layer.product();
  if (p.inputs == 0) return layer.result().zero_();
  const DecodeKernels kernels = decode_kernels(kAnyHeadSize);
  const Matrix weights{p.weight, Format::kFloat32, nullptr, p.outputs, p.inputs, p.inputs};
  const Product product{weights, p.x, p.inputs, p.y, p.outputs, false};
  // Threads take whole blocks of outputs: those that are left over from a tile are summed in another order.
  const int64_t blocks = p.outputs / kMultiple, grain = kWeightsPerThread / (kMultiple * p.inputs);
  at::parallel_for(0, blocks, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    kernels.multiply(product, p.rows, kMultiple * begin, kMultiple * end);
  });
  return layer.result();
}

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) { m.impl("linear_few", &modrwkv::linear); }

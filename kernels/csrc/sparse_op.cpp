// A linear layer for inputs that are largely zeros, as a torch op.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "instruction_set.h"
#include "linear.h"
#include "scratch.h"
#include "sparse.h"

namespace modrwkv {
namespace {

using at::Tensor;

constexpr int64_t kRows = 512;     // whose lists are held at once
constexpr int64_t kMultiple = 16;  // that inputs and outputs are multiples of
constexpr double kDensest = 0.55;  // share of numbers that are not zero, beyond which torch's product is faster

SparseKernels kernels() {
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::kAvx512) return sparse_kernels_avx512();
  if (instruction_set() == InstructionSet::kAvx2) return sparse_kernels_avx2();
#endif
  return sparse_kernels_portable();
}

// Part `i` of rows that are cut into `parts`.
LinearProduct part(const LinearProduct& whole, int64_t i, int64_t parts) {
  const int64_t begin = whole.rows * i / parts, end = whole.rows * (i + 1) / parts;
  LinearProduct p = whole;
  p.x += begin * p.inputs;
  p.y += begin * p.outputs;
  p.rows = end - begin;
  return p;
}

// Lists of the parts of at most kRows rows, one after another.
class Lists {
 public:
  Lists(const LinearProduct& whole, int64_t spans)
      : first_(whole.x),
        inputs_(whole.inputs),
        spans_(spans),
        value_(scratch(values_, whole.rows * inputs_)),
        place_(scratch(places_, whole.rows * inputs_)),
        count_(scratch(counts_, whole.rows * spans_)),
        found_(scratch(finds_, whole.rows * spans_)) {}

  NonZeros operator()(const LinearProduct& part) const {
    const int64_t number = part.x - first_, row = number / inputs_;
    return {value_ + number, place_ + number, count_ + row * spans_, found_ + row * spans_};
  }

  int64_t found(const LinearProduct& part) const {
    const int64_t* found = (*this)(part).found;
    int64_t total = 0;
    for (int64_t span = 0; span < spans_; ++span) total += found[span];
    return total;
  }

 private:
  static thread_local std::vector<float> values_;
  static thread_local std::vector<uint16_t> places_;
  static thread_local std::vector<int32_t> counts_;
  static thread_local std::vector<int64_t> finds_;
  const float* first_;
  int64_t inputs_, spans_;
  float* value_;
  uint16_t* place_;
  int32_t* count_;
  int64_t* found_;
};

thread_local std::vector<float> Lists::values_;
thread_local std::vector<uint16_t> Lists::places_;
thread_local std::vector<int32_t> Lists::counts_;
thread_local std::vector<int64_t> Lists::finds_;

// False when too few numbers are zero; y is unfinished then.
bool multiply(const LinearProduct& whole) {
  const SparseKernels kernel = kernels();
  const int64_t panels = (whole.outputs + kernel.width - 1) / kernel.width;
  const int64_t spans = (whole.inputs + kernel.depth - 1) / kernel.depth;
  for (int64_t row = 0; row < whole.rows; row += kRows) {
    LinearProduct rows = whole;
    rows.x += row * rows.inputs;
    rows.y += row * rows.outputs;
    rows.rows = std::min(rows.rows - row, kRows);
    const Lists lists(rows, spans);
    const int64_t parts = std::min<int64_t>(at::get_num_threads(), rows.rows);
    std::atomic<int64_t> found = 0;
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const LinearProduct p = part(rows, i, parts);
        kernel.find(p, lists(p));
        found += lists.found(p);
      }
    });
    if (found > kDensest * rows.rows * rows.inputs) return false;
    // Panels are too few to share them out whole.
    at::parallel_for(0, panels * parts, 1, [&](int64_t begin, int64_t end) {
      static thread_local std::vector<float> packed_memory, sums_memory;
      float* packed = scratch(packed_memory, kernel.width * rows.inputs);
      float* sums = scratch(sums_memory, kernel.width * kRows);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t panel = i / parts;
        const LinearProduct p = part(rows, i % parts, parts);
        if (i == begin || i % parts == 0) kernel.pack(rows, panel, packed);
        kernel.multiply(p, lists(p), panel, packed, sums);
      }
    });
  }
  return true;
}

Tensor linear(const Tensor& x, const Tensor& weight) {
  const Linear layer(x, weight, kMultiple);
  if (layer.product().inputs > 0 && multiply(layer.product())) return layer.result();
  return at::linear(x, weight);
}

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) { m.impl("linear_sparse", &modrwkv::linear); }

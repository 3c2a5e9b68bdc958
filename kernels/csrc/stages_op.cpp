// The stages around the recurrence as torch ops, without gradients. Their schemas and shape functions are registered in
// Python (modrwkv_kernels/fused/stages_cpu.py), which also says when they serve.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "dense.h"
#include "instruction_set.h"
#include "stages.h"

namespace modrwkv {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// A thread should have at least this many floats of the residual stream to work on.
constexpr int64_t kFloatsPerThread = 1 << 13;

StageKernels kernels_of(InstructionSet chosen, int64_t head_size) {
#if defined(__x86_64__)
  if (chosen == InstructionSet::kAvx512) return stage_kernels_avx512(head_size);
  if (chosen == InstructionSet::kAvx2) return stage_kernels_avx2(head_size);
#endif
  return stage_kernels_portable(head_size);
}

StageKernels kernels_for_heads(int64_t head_size) {
  const StageKernels kernels = kernels_of(instruction_set(), head_size);
  TORCH_CHECK_VALUE(kernels.k_update, "the cpu stages take heads of 32, 64 or 128, not ", head_size);
  return kernels;
}

template <typename Work>
void for_tokens(int64_t tokens, int64_t width, const Work& work) {
  at::parallel_for(0, tokens, std::max<int64_t>(1, kFloatsPerThread / std::max<int64_t>(1, width)), work);
}

std::tuple<Tensor, Tensor> token_shift(const Tensor& x, const OptionalTensor& update, const Tensor& before,
                                       const Tensor& mix, const Tensor& norm_weight, const Tensor& norm_bias,
                                       const OptionalTensor& first, double eps) {
  TORCH_CHECK_VALUE(x.dim() == 3 && x.size(2) % 16 == 0, "x must be [batch, tokens, a multiple of 16], not ", x.sizes());
  const int64_t batch = x.size(0), length = x.size(1), width = x.size(2), mixes = mix.size(0);
  std::vector<int64_t> starts;
  if (first) {
    const Tensor dense = first->to(at::kLong).contiguous();
    starts.assign(dense.const_data_ptr<int64_t>(), dense.const_data_ptr<int64_t>() + dense.numel());
    TORCH_CHECK_VALUE(batch == 1 && !starts.empty() && starts.front() == 0 && starts.back() < length &&
                          std::is_sorted(starts.begin(), starts.end()),
                      "first must rise from 0 within the ", length, " tokens of a batch of one");
  } else {
    for (int64_t i = 0; i < batch; ++i) starts.push_back(i * length);
  }
  const int64_t sequences = starts.size(), tokens = batch * length;
  Dense dense;
  Tensor summed = update ? at::empty(x.sizes(), x.options()) : at::empty({0}, x.options());
  Tensor out = at::empty({mixes, batch, length, width}, x.options());
  const Shift whole{dense(x, "x", x.sizes()),
                    dense(update, "update", x.sizes()),
                    dense(before, "before", {sequences, width}),
                    dense(norm_weight, "norm_weight", {width}),
                    dense(norm_bias, "norm_bias", {width}),
                    dense(mix, "mix", {mixes, width}),
                    mixes,
                    width,
                    static_cast<float>(eps),
                    summed.mutable_data_ptr<float>(),
                    out.mutable_data_ptr<float>(),
                    tokens * width};
  const StageKernels kernels = kernels_of(instruction_set(), 64);
  for_tokens(tokens, width, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(2 * width);
    while (begin < end) {
      const int64_t sequence = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
      const int64_t stop = std::min(end, sequence + 1 < sequences ? starts[sequence + 1] : tokens);
      Shift part = whole;
      part.x += begin * width;
      part.out += begin * width;
      if (update) {
        part.update += begin * width;
        part.summed += begin * width;
      }
      part.before = begin == starts[sequence] ? whole.before + sequence * width : nullptr;
      kernels.shift(part, stop - begin, scratch.data());
      begin = stop;
    }
  });
  return {summed, out};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> k_update(const Tensor& k, const Tensor& v, const Tensor& decay,
                                                           const Tensor& rate, const Tensor& k_k, const Tensor& k_a,
                                                           const OptionalTensor& v_first, const OptionalTensor& logit,
                                                           int64_t head_size) {
  TORCH_CHECK_VALUE(k.dim() == 3 && head_size > 0 && k.size(2) % head_size == 0,
                    "k must be [batch, tokens, a multiple of ", head_size, "], not ", k.sizes());
  TORCH_CHECK_VALUE(v_first.has_value() == logit.has_value(), "v_first and logit go together");
  const StageKernels kernels = kernels_for_heads(head_size);
  const int64_t width = k.size(2), tokens = k.size(0) * k.size(1);
  const auto shape = k.sizes();
  const auto empty = [&] { return at::empty({k.size(0), k.size(1), width / head_size, head_size}, k.options()); };
  Tensor log_w = empty(), out_k = empty(), out_a = empty(), out_b = empty();
  Tensor out_v = v_first ? empty() : at::empty({0}, k.options());
  Dense dense;
  const KUpdate work{dense(k, "k", shape),
                         dense(v, "v", shape),
                         dense(decay, "decay", shape),
                         dense(rate, "rate", shape),
                         dense(k_k, "k_k", {width}),
                         dense(k_a, "k_a", {width}),
                         dense(v_first, "v_first", shape),
                         dense(logit, "logit", shape),
                         log_w.mutable_data_ptr<float>(),
                         out_k.mutable_data_ptr<float>(),
                         out_v.mutable_data_ptr<float>(),
                         out_a.mutable_data_ptr<float>(),
                         out_b.mutable_data_ptr<float>(),
                         width / head_size};
  for_tokens(tokens, width, [&](int64_t begin, int64_t end) { kernels.k_update(work, begin, end); });
  return {log_w, out_k, out_a, out_b, out_v};
}

Tensor gate_output(const Tensor& y, const Tensor& r, const Tensor& k, const Tensor& v, const Tensor& gate,
               const Tensor& r_k, const Tensor& norm_weight, const Tensor& norm_bias, double eps) {
  TORCH_CHECK_VALUE(y.dim() == 4, "y must be [batch, tokens, heads, head size], not ", y.sizes());
  const StageKernels kernels = kernels_for_heads(y.size(3));
  const int64_t heads = y.size(2), size = y.size(3), width = heads * size, tokens = y.size(0) * y.size(1);
  Tensor out = at::empty(gate.sizes(), y.options());
  Dense dense;
  const GateOutput work{dense(y, "y", y.sizes()),
                     dense(r, "r", y.sizes()),
                     dense(k, "k", y.sizes()),
                     dense(v, "v", y.sizes()),
                     dense(gate, "gate", {y.size(0), y.size(1), width}),
                     dense(r_k, "r_k", {heads, size}),
                     dense(norm_weight, "norm_weight", {width}),
                     dense(norm_bias, "norm_bias", {width}),
                     out.mutable_data_ptr<float>(),
                     heads,
                     static_cast<float>(eps)};
  for_tokens(tokens, width, [&](int64_t begin, int64_t end) { kernels.gate_output(work, begin, end); });
  return out;
}

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) {
  m.impl("token_shift_cpu", &modrwkv::token_shift);
  m.impl("fused_k_update_cpu", &modrwkv::k_update);
  m.impl("gate_output_cpu", &modrwkv::gate_output);
}

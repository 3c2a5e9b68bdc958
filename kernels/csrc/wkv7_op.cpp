// The kernels as torch ops: modrwkv_kernels::wkv7_cpu and ::wkv7_cpu_backward. Their schemas, shape functions and the
// autograd formula are registered in Python (modrwkv_kernels/op_gradient.py), where all backends share them.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/CPUAllocator.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "dense.h"
#include "instruction_set.h"
#include "wkv7.h"

namespace modrwkv {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Over this many tokens the strongest decays multiply to 1e-17; float32 holds its inverse, and products with it.
constexpr int64_t kLongestChunk = 64;
// A thread should have at least this many tokens of one head to work on.
constexpr int64_t kTokensPerThread = 32;

Kernels kernels_of(InstructionSet chosen, int64_t head_size) {
#if defined(__x86_64__)
  if (chosen == InstructionSet::kAvx512) return kernels_avx512(head_size);
  if (chosen == InstructionSet::kAvx2) return kernels_avx2(head_size);
#endif
  return kernels_portable(head_size);
}

Kernels kernels_for(const Tensor& r) {
  const Kernels kernels = kernels_of(instruction_set(), r.size(3));
  TORCH_CHECK_VALUE(kernels.forward, "the cpu backend takes heads of 32, 64 or 128, not ", r.size(3));
  return kernels;
}

std::vector<Sequence> sequences_of(const Tensor& r, const OptionalTensor& cu_seqlens, int64_t chunk_size) {
  std::vector<int64_t> bounds;
  if (cu_seqlens) {
    TORCH_CHECK_VALUE(r.size(0) == 1 && cu_seqlens->dim() == 1 && cu_seqlens->numel() > 0, "cu_seqlens must be ",
                      "[sequences + 1] for inputs packed into a batch of one");
    const Tensor wide = cu_seqlens->to(at::kLong).contiguous();
    bounds.assign(wide.const_data_ptr<int64_t>(), wide.const_data_ptr<int64_t>() + wide.numel());
    TORCH_CHECK_VALUE(bounds.front() == 0 && bounds.back() == r.size(1) && std::is_sorted(bounds.begin(), bounds.end()),
                      "cu_seqlens must not decrease and run from 0 to ", r.size(1));
  } else {
    for (int64_t i = 0; i <= r.size(0); ++i) bounds.push_back(i * r.size(1));
  }
  std::vector<Sequence> sequences;
  int64_t chunk = 0;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    sequences.push_back({static_cast<int64_t>(i), bounds[i], bounds[i + 1], chunk});
    chunk += (bounds[i + 1] - bounds[i] + chunk_size - 1) / chunk_size;
  }
  return sequences;
}

// Run `work(sequence, head, scratch)` for all sequences and heads, the longest first, each by the next idle thread.
template <typename Work>
void for_each_head(std::vector<Sequence> sequences, int64_t heads, int64_t scratch_floats, const Work& work) {
  const auto length = [](const Sequence& s) { return s.end - s.begin; };
  std::stable_sort(sequences.begin(), sequences.end(),
                   [&](const Sequence& x, const Sequence& y) { return length(x) > length(y); });
  int64_t tokens = 0;
  for (const Sequence& sequence : sequences) tokens += length(sequence);
  const int64_t tasks = static_cast<int64_t>(sequences.size()) * heads;
  const int64_t threads = std::min({tasks, static_cast<int64_t>(at::get_num_threads()),
                                    std::max<int64_t>(1, tokens * heads / kTokensPerThread)});
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    const c10::DataPtr scratch = c10::GetCPUAllocator()->allocate(scratch_floats * sizeof(float));
    for (int64_t thread = begin; thread < end; ++thread) {
      for (int64_t task = next++; task < tasks; task = next++) {
        work(sequences[task / heads], task % heads, static_cast<float*>(scratch.get()));
      }
    }
  });
}

std::tuple<Tensor, Tensor, Tensor> wkv7(const Tensor& r, const Tensor& log_w, const Tensor& k, const Tensor& v,
                                        const Tensor& a, const Tensor& b, const OptionalTensor& state,
                                        const OptionalTensor& cu_seqlens, int64_t chunk_size, bool save) {
  const auto shape = r.sizes();
  TORCH_CHECK_VALUE(r.dim() == 4, "r must be [batch, tokens, heads, head size], not ", shape);
  TORCH_CHECK_VALUE(0 < chunk_size && chunk_size <= kLongestChunk, "chunk_size must be from 1 to ", kLongestChunk,
                    ", not ", chunk_size);
  const Kernels kernels = kernels_for(r);
  const std::vector<Sequence> sequences = sequences_of(r, cu_seqlens, chunk_size);
  const int64_t count = sequences.size(), heads = r.size(2), size = r.size(3);

  // Of the chunks that packed sequences can have, as op_gradient.py computes it without knowing the lengths.
  int64_t chunks = 0;
  if (save) {
    chunks = cu_seqlens ? r.size(1) / chunk_size + std::min(count, r.size(1))
                        : count * ((r.size(1) + chunk_size - 1) / chunk_size);
  }
  Tensor y = at::empty(shape, r.options());
  Tensor final = at::empty({count, heads, size, size}, r.options());
  Tensor saved = at::empty({chunks, heads, size + chunk_size, size}, r.options());

  Dense dense;
  const Forward forward{{dense(r, "r", shape), dense(log_w, "log_w", shape), dense(k, "k", shape), dense(v, "v", shape),
                         dense(a, "a", shape), dense(b, "b", shape), heads, chunk_size},
                        dense(state, "state", final.sizes()),
                        y.mutable_data_ptr<float>(),
                        final.mutable_data_ptr<float>(),
                        save ? saved.mutable_data_ptr<float>() : nullptr};
  for_each_head(sequences, heads, kernels.scratch(chunk_size),
                [&](const Sequence& sequence, int64_t head, float* scratch) {
                  kernels.forward(forward, sequence, head, scratch);
                });
  return {y, final, saved};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> wkv7_backward(
    const OptionalTensor& dy, const OptionalTensor& dfinal, const Tensor& r, const Tensor& log_w, const Tensor& k,
    const Tensor& v, const Tensor& a, const Tensor& b, const Tensor& saved, const OptionalTensor& cu_seqlens,
    int64_t chunk_size) {
  const auto shape = r.sizes();
  TORCH_CHECK_VALUE(r.dim() == 4, "r must be [batch, tokens, heads, head size], not ", shape);
  TORCH_CHECK_VALUE(0 < chunk_size && chunk_size <= kLongestChunk, "chunk_size must be from 1 to ", kLongestChunk,
                    ", not ", chunk_size);
  const Kernels kernels = kernels_for(r);
  const std::vector<Sequence> sequences = sequences_of(r, cu_seqlens, chunk_size);
  const int64_t count = sequences.size(), heads = r.size(2), size = r.size(3);
  if (count) {
    const Sequence& last = sequences.back();
    const int64_t chunks = last.first_chunk + (last.end - last.begin + chunk_size - 1) / chunk_size;
    TORCH_CHECK_VALUE(saved.size(0) >= chunks, "chunk_states holds ", saved.size(0), " chunks but there are ", chunks);
  }

  Tensor dstate = at::empty({count, heads, size, size}, r.options());
  Tensor dr = at::empty(shape, r.options()), dlog_w = at::empty(shape, r.options()), dk = at::empty(shape, r.options()),
         dv = at::empty(shape, r.options()), da = at::empty(shape, r.options()), db = at::empty(shape, r.options());

  Dense dense;
  const Backward backward{{dense(r, "r", shape), dense(log_w, "log_w", shape), dense(k, "k", shape),
                           dense(v, "v", shape), dense(a, "a", shape), dense(b, "b", shape), heads, chunk_size},
                          dense(saved, "chunk_states", {saved.size(0), heads, size + chunk_size, size}),
                          dense(dy ? *dy : at::zeros_like(r), "dy", shape),
                          dense(dfinal, "dfinal", dstate.sizes()),
                          dr.mutable_data_ptr<float>(),
                          dlog_w.mutable_data_ptr<float>(),
                          dk.mutable_data_ptr<float>(),
                          dv.mutable_data_ptr<float>(),
                          da.mutable_data_ptr<float>(),
                          db.mutable_data_ptr<float>(),
                          dstate.mutable_data_ptr<float>()};
  for_each_head(sequences, heads, kernels.scratch(chunk_size),
                [&](const Sequence& sequence, int64_t head, float* scratch) {
                  kernels.backward(backward, sequence, head, scratch);
                });
  return {dr, dlog_w, dk, dv, da, db, dstate};
}

std::string wkv7_cpu_isa() { return name(instruction_set()); }

}  // namespace
}  // namespace modrwkv

TORCH_LIBRARY_FRAGMENT(modrwkv_kernels, m) { m.def("wkv7_cpu_isa() -> str", &modrwkv::wkv7_cpu_isa); }


TORCH_LIBRARY_IMPL(modrwkv_kernels, CPU, m) {
  m.impl("wkv7_cpu", &modrwkv::wkv7);
  m.impl("wkv7_cpu_backward", &modrwkv::wkv7_backward);
}

// What surrounds the recurrence of a layer, for many tokens at once: plain pointers, so that the kernels compile without
// torch and once per instruction set. All is dense float32, tokens are rows of `width` floats, and widths are multiples
// of 16.
#pragma once

#include <cstdint>

namespace modrwkv {

// Tokens that follow each other: the residual sum, its layer norm, and mixes of each with the one before.
struct Shift {
  const float* x;
  const float* update;  // null: nothing is added
  const float* before;  // normalized predecessor of the first token; null: the token before it in memory does
  const float *weight, *bias;
  const float* mix;  // [mixes, hidden]
  int64_t mixes, width;
  float eps;
  float* summed;       // null where nothing is added
  float* out;          // of the first mix
  int64_t apart;       // floats from one mix to the next
};

// From the products with mixed inputs to the inputs of the recurrence.
struct KUpdate {
  const float *k, *v, *decay, *rate, *k_k, *k_a;
  const float *v_first, *logit;  // null in the first layer, which keeps v
  float *log_w, *out_k, *out_v, *out_a, *out_b;
  int64_t heads;
};

// From the output of the recurrence to the input of the output projection.
struct GateOutput {
  const float *y, *r, *k, *v, *gate, *r_k, *weight, *bias;
  float* out;
  int64_t heads;
  float eps;
};

struct StageKernels {
  // `tokens` of them; scratch holds 2 width floats.
  void (*shift)(const Shift&, int64_t tokens, float* scratch);
  // Tokens [begin, end). Null where the head size is not one of 32, 64, 128.
  void (*k_update)(const KUpdate&, int64_t begin, int64_t end);
  void (*gate_output)(const GateOutput&, int64_t begin, int64_t end);
};

StageKernels stage_kernels_portable(int64_t head_size);
#if defined(__x86_64__)
StageKernels stage_kernels_avx2(int64_t head_size);
StageKernels stage_kernels_avx512(int64_t head_size);
#endif

}  // namespace modrwkv

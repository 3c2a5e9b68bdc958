// What one step of decoding computes on: plain pointers, so that the kernels compile without torch and once per
// instruction set. Activations are float32, one vector of `width` floats for each sequence of the batch.
#pragma once

#include <cstdint>

namespace modrwkv {

enum class Format { kFloat32, kBfloat16, kInt8 };

// [rows, cols], rows `stride` elements apart; cols is a multiple of 32. An int8 row counts in units of its scale.
struct Matrix {
  const void* data;
  Format format;
  const float* scale;
  int64_t rows, cols, stride;
};

// y[b] = W x[b], or y[b] += W x[b]. Rows of x and of y lie their strides apart.
struct Product {
  Matrix weights;
  const float* x;
  int64_t x_stride;
  float* y;
  int64_t y_stride;
  bool add;
};

// The vectors of a layer, each `width` floats, in the order of the rows of its tensor `vectors`.
struct Vectors {
  const float *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;
  const float *mix[6];  // of r, k, v, decay, rate, gate
  const float *w0, *a0, *v0, *k_k, *k_a, *r_k, *ln_x_weight, *ln_x_bias, *ffn_x_k;
};

constexpr int64_t kVectors = sizeof(Vectors) / sizeof(const float*);

// One head of time mixing for one sequence: what follows the products with the mixed inputs.
struct Head {
  const Vectors* vectors;
  Matrix up[4];          // [N, rank] of this head: decay, rate, value residual, gate; no value residual in layer 0
  const float* low[4];   // [rank]: their inputs, after their activations
  const float *r, *k, *v;  // [N] of this head
  float* v_first;        // [N]: written in layer 0, read in the others
  float* state;          // [N, N]: value, key
  float* out;            // [N]
  int64_t channel;       // the head's first
  bool first_layer;
};

struct DecodeKernels {
  // Rows [begin, end) of the product, for the whole batch.
  void (*multiply)(const Product&, int64_t batch, int64_t begin, int64_t end);
  // y[b] += sum of x[b][i] W[i] over the listed rows i of W.
  void (*accumulate)(const Product&, int64_t batch, const int32_t* listed, int64_t count);
  // y += the sum of `count` vectors, `apart` floats from one to the next.
  void (*add)(const float* x, int64_t count, int64_t apart, int64_t width, float* y);
  // Layer norm of one vector.
  void (*normalize)(const float* x, const float* weight, const float* bias, int64_t width, float* y);
  // y = x + (before - x) mix.
  void (*mix)(const float* x, const float* before, const float* mix, int64_t width, float* y);
  void (*tanh)(float* x, int64_t count);
  void (*sigmoid)(float* x, int64_t count);
  void (*relu_squared)(float* x, int64_t count);
  // Null where the head size is not one of 32, 64, 128.
  void (*head)(const Head&);
};

// Those that serve this processor.
DecodeKernels decode_kernels(int64_t head_size);
DecodeKernels decode_kernels_portable(int64_t head_size);
#if defined(__x86_64__)
DecodeKernels decode_kernels_avx2(int64_t head_size);
DecodeKernels decode_kernels_avx512(int64_t head_size);
#endif

}  // namespace modrwkv

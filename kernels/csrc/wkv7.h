// What the kernels compute on: plain pointers, so that they compile without torch and once per instruction set.
//
// Tensors are dense float32: inputs, outputs and their gradients [tokens of all sequences, heads, head size], states
// [sequences, heads, value, key]. What is saved for the backward pass is [chunks, heads, value + chunk size, key]: the
// state at the start of a chunk, and u of its tokens.
#pragma once

#include <cstdint>

namespace modrwkv {

// One sequence: its tokens and the first of its chunks.
struct Sequence {
  int64_t index, begin, end, first_chunk;
};

struct Inputs {
  const float *r, *log_w, *k, *v, *a, *b;
  int64_t heads, chunk_size;
};

struct Forward {
  Inputs in;
  const float* state;  // null: zeros
  float *y, *final, *saved;  // saved null: there will be no backward pass
};

struct Backward {
  Inputs in;
  const float *saved, *dy;
  const float* dfinal;  // null: zeros
  float *dr, *dlog_w, *dk, *dv, *da, *db, *dstate;
};

// The kernels of one instruction set and head size. Scratch is aligned to 64 bytes and holds `scratch(chunk_size)`
// floats.
struct Kernels {
  void (*forward)(const Forward&, const Sequence&, int64_t head, float* scratch);
  void (*backward)(const Backward&, const Sequence&, int64_t head, float* scratch);
  int64_t (*scratch)(int64_t chunk_size);
};

// Null pointers where the head size is not one of 32, 64, 128.
Kernels kernels_portable(int64_t head_size);
#if defined(__x86_64__)
Kernels kernels_avx2(int64_t head_size);
Kernels kernels_avx512(int64_t head_size);
#endif

}  // namespace modrwkv

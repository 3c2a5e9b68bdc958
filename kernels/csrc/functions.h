// Functions of vectors that several kernels need.
#pragma once

#include <cmath>

#include "simd.h"

namespace modrwkv::ISA {

constexpr float kLogDecayMin = -0.60653066f;  // -exp(-1/2)

inline float sum(Vec x) { return sums(x, x, x, x)[0]; }

inline Vec sigmoid_of(Vec x) {
  const Vec e = exp_of_nonpositive(x < 0.0f ? x : -x);
  return (x < 0.0f ? e : Vec{} + 1.0f) / (e + 1.0f);
}

// (x - mean) / sqrt(variance + eps) weight + bias
inline void normalize_by(const float* x, const float* weight, const float* bias, int64_t width, float eps, float* y) {
  Vec total = {};
  for (int64_t j = 0; j < width; j += LANES) total += load(x + j);
  const float mean = sum(total) / width;
  Vec squares = {};
  for (int64_t j = 0; j < width; j += LANES) {
    const Vec centred = load(x + j) - mean;
    squares += centred * centred;
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / width + eps);
  for (int64_t j = 0; j < width; j += LANES) {
    store(y + j, (load(x + j) - mean) * scale * load(weight + j) + load(bias + j));
  }
}

}  // namespace modrwkv::ISA

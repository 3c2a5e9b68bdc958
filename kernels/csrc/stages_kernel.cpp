// The stages around the recurrence, one pass over the tokens each (RWKV-7 paper, arXiv 2503.14456, section 4.1).
//
// This file is compiled once per instruction set, with ISA (a namespace) and LANES (floats per vector) defined.

#include "stages.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "functions.h"

namespace modrwkv::ISA {
namespace {

constexpr float kSquaredKeyNormEps = 1e-24f;

void shift(const Shift& s, int64_t tokens, float* scratch) {
  float *previous = scratch, *now = scratch + s.width;
  const auto normalize = [&](int64_t token, float* summed, float* normed) {
    const float* x = s.x + token * s.width;
    if (s.update) {
      const float* update = s.update + token * s.width;
      for (int64_t j = 0; j < s.width; j += LANES) store(summed + j, load(x + j) + load(update + j));
      x = summed;
    }
    normalize_by(x, s.weight, s.bias, s.width, s.eps, normed);
  };
  if (s.before) {
    std::copy_n(s.before, s.width, previous);
  } else {
    normalize(-1, now, previous);
  }
  for (int64_t token = 0; token < tokens; ++token) {
    normalize(token, s.update ? s.summed + token * s.width : nullptr, now);
    for (int64_t m = 0; m < s.mixes; ++m) {
      const float* mix = s.mix + m * s.width;
      float* out = s.out + m * s.apart + token * s.width;
      for (int64_t j = 0; j < s.width; j += LANES) {
        const Vec x = load(now + j);
        store(out + j, x + (load(previous + j) - x) * load(mix + j));
      }
    }
    std::swap(previous, now);
  }
}

template <int N>
void k_update(const KUpdate& p, int64_t begin, int64_t end) {
  for (int64_t i = begin * p.heads; i < end * p.heads; ++i) {
    const int64_t at = i * N, channel = i % p.heads * N;
    Vec squares = {};
    for (int j = 0; j < N; j += LANES) {
      const Vec removal = load(p.k + at + j) * load(p.k_k + channel + j);
      squares += removal * removal;
    }
    const float length = 1.0f / std::sqrt(std::max(sum(squares), kSquaredKeyNormEps));
    for (int j = 0; j < N; j += LANES) {
      const Vec k = load(p.k + at + j), learning = sigmoid_of(load(p.rate + at + j));
      const Vec removal = k * load(p.k_k + channel + j) * length;
      store(p.log_w + at + j, sigmoid_of(load(p.decay + at + j)) * kLogDecayMin);
      store(p.out_k + at + j, k * ((learning - 1.0f) * load(p.k_a + channel + j) + 1.0f));
      store(p.out_a + at + j, -removal);
      store(p.out_b + at + j, removal * learning);
      if (p.v_first) {
        const Vec v = load(p.v + at + j);
        store(p.out_v + at + j, v + (load(p.v_first + at + j) - v) * sigmoid_of(load(p.logit + at + j)));
      }
    }
  }
}

template <int N>
void gate_output(const GateOutput& p, int64_t begin, int64_t end) {
  for (int64_t i = begin * p.heads; i < end * p.heads; ++i) {
    const int64_t at = i * N, channel = i % p.heads * N;
    float normed[N];
    normalize_by(p.y + at, p.weight + channel, p.bias + channel, N, p.eps, normed);
    Vec bonus = {};
    for (int j = 0; j < N; j += LANES) bonus += load(p.r + at + j) * load(p.k + at + j) * load(p.r_k + channel + j);
    const float share = sum(bonus);
    for (int j = 0; j < N; j += LANES) {
      store(p.out + at + j, (load(normed + j) + load(p.v + at + j) * share) * load(p.gate + at + j));
    }
  }
}

}  // namespace
}  // namespace modrwkv::ISA

#define CONCATENATE(x, y) x##y
#define NAME(isa) CONCATENATE(stage_kernels_, isa)

modrwkv::StageKernels modrwkv::NAME(ISA)(int64_t head_size) {
  using namespace modrwkv::ISA;
  switch (head_size) {
    case 32: return {shift, k_update<32>, gate_output<32>};
    case 64: return {shift, k_update<64>, gate_output<64>};
    case 128: return {shift, k_update<128>, gate_output<128>};
  }
  return {shift, nullptr, nullptr};
}

// One step of RWKV-7 for decoding: products of matrices with few vectors, at the speed at which weights come from
// memory, and what lies between them.
//
// This file is compiled once per instruction set, with ISA (a namespace) and LANES (floats per vector) defined.

#include <algorithm>
#include <cmath>

#include "decode.h"
#include "functions.h"

namespace modrwkv::ISA {
namespace {

#define UNROLL _Pragma("GCC unroll 8")

constexpr int kRows = 4;     // rows of weights multiplied together, as many as `sums` takes
constexpr int kBatch = 4;    // sequences of the batch that share a load of weights
constexpr int kAhead = 512;   // bytes of each row that are on their way from memory
constexpr int kTilesAhead = 3;  // the same in tiles, where rows are skipped
constexpr float kGroupNormEps = 64e-5f, kLayerNormEps = 1e-5f, kKeyNormEps = 1e-12f;

// Compilers would turn the portable form into instructions for each lane.
#if LANES == 16
inline IntVec widen_integers(const uint16_t* from) {
  return reinterpret_cast<IntVec>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
inline IntVec widen_integers(const int8_t* from) {
  return reinterpret_cast<IntVec>(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
#elif LANES == 8
inline IntVec widen_integers(const uint16_t* from) {
  return reinterpret_cast<IntVec>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline IntVec widen_integers(const int8_t* from) {
  return reinterpret_cast<IntVec>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
#else
template <class Narrow>
inline IntVec widen_integers(const Narrow* from) {
  return IntVec{from[0], from[1], from[2], from[3]};
}
#endif

// Weights of each format, widened to float32.
struct Float32 {
  using Element = float;
  static Vec widen(const float* from) { return load(from); }
};

struct Bfloat16 {
  using Element = uint16_t;
  static Vec widen(const uint16_t* from) { return reinterpret_cast<Vec>(widen_integers(from) << 16); }
};

struct Int8 {
  using Element = int8_t;
  static Vec widen(const int8_t* from) { return __builtin_convertvector(widen_integers(from), Vec); }
};

// The products of R rows of weights, some rows apart, with B sequences of the batch.
template <class Weights, int R, int B>
void multiply_tile(const Product& p, int64_t batch_item, int64_t row, int64_t apart) {
  using Element = typename Weights::Element;
  const Matrix& m = p.weights;
  const auto* w = static_cast<const Element*>(m.data) + row * m.stride;
  const float* x = p.x + batch_item * p.x_stride;
  const int64_t hop = apart * m.stride;
  Vec acc[R][B] = {};
  const auto add_at = [&](int64_t j) {
    Vec weights[R];
    UNROLL for (int r = 0; r < R; ++r) weights[r] = Weights::widen(w + r * hop + j);
    UNROLL for (int b = 0; b < B; ++b) {
      const Vec activations = load(x + b * p.x_stride + j);
      UNROLL for (int r = 0; r < R; ++r) acc[r][b] += weights[r] * activations;
    }
  };
  constexpr int64_t kLine = 64 / sizeof(Element);
  int64_t j = 0;
  for (; j + kLine <= m.cols; j += kLine) {
    UNROLL for (int r = 0; r < R; ++r) __builtin_prefetch(w + r * hop + j + kAhead / sizeof(Element));
    UNROLL for (int64_t i = 0; i < kLine; i += LANES) add_at(j + i);
  }
  for (; j < m.cols; j += LANES) add_at(j);
  for (int b = 0; b < B; ++b) {
    float result[R];
    if constexpr (R == 4) {
      store4(result, sums(acc[0][b], acc[1][b], acc[2][b], acc[3][b]));
    } else {
      for (int r = 0; r < R; ++r) result[r] = sum(acc[r][b]);
    }
    float* y = p.y + (batch_item + b) * p.y_stride + row;
    for (int r = 0; r < R; ++r) {
      const float scaled = m.scale ? result[r] * m.scale[row + r * apart] : result[r];
      y[r * apart] = p.add ? y[r * apart] + scaled : scaled;
    }
  }
}

template <class Weights, int R>
void multiply_rows(const Product& p, int64_t batch, int64_t row, int64_t apart) {
  int64_t b = 0;
  for (; b + kBatch <= batch; b += kBatch) multiply_tile<Weights, R, kBatch>(p, b, row, apart);
  for (; b < batch; ++b) multiply_tile<Weights, R, 1>(p, b, row, apart);
}

// Memory is fastest in few long runs, so each row of a tile goes through a quarter of its own.
template <class Weights>
void multiply_by(const Product& p, int64_t batch, int64_t begin, int64_t end) {
  const int64_t quarter = (end - begin) / kRows;
  for (int64_t i = 0; i < quarter; ++i) multiply_rows<Weights, kRows>(p, batch, begin + i, quarter);
  for (int64_t i = begin + kRows * quarter; i < end; ++i) multiply_rows<Weights, 1>(p, batch, i, 0);
}

void multiply(const Product& p, int64_t batch, int64_t begin, int64_t end) {
  switch (p.weights.format) {
    case Format::kFloat32: return multiply_by<Float32>(p, batch, begin, end);
    case Format::kBfloat16: return multiply_by<Bfloat16>(p, batch, begin, end);
    case Format::kInt8: return multiply_by<Int8>(p, batch, begin, end);
  }
}

// R rows of weights, each times its activation, onto y. The rows that come after them are asked for meanwhile.
template <class Weights, int R>
void accumulate_tile(const Product& p, int64_t batch, const int32_t* rows, int64_t apart, int64_t ahead) {
  using Element = typename Weights::Element;
  const Matrix& m = p.weights;
  const auto* w = static_cast<const Element*>(m.data);
  constexpr int64_t kLine = 64 / sizeof(Element);
  const Element *from[R], *later[R];
  for (int r = 0; r < R; ++r) {
    from[r] = w + rows[r * apart] * m.stride;
    later[r] = w + rows[r * apart + ahead] * m.stride;
  }
  for (int64_t b = 0; b < batch; ++b) {
    float h[R];
    for (int r = 0; r < R; ++r) {
      const int32_t row = rows[r * apart];
      h[r] = p.x[b * p.x_stride + row] * (m.scale ? m.scale[row] : 1.0f);
    }
    float* y = p.y + b * p.y_stride;
    const auto add_at = [&](int64_t j) {
      Vec acc = load(y + j);
      UNROLL for (int r = 0; r < R; ++r) acc += Weights::widen(from[r] + j) * h[r];
      store(y + j, acc);
    };
    int64_t j = 0;
    for (; j + kLine <= m.cols; j += kLine) {
      if (b == 0) {
        UNROLL for (int r = 0; r < R; ++r) __builtin_prefetch(later[r] + j);
      }
      UNROLL for (int64_t i = 0; i < kLine; i += LANES) add_at(j + i);
    }
    for (; j < m.cols; j += LANES) add_at(j);
  }
}

// Each sequence adds up its rows in their order, so that its sum does not depend on the rows that others ask for: to add
// zero times a row changes nothing.
template <class Weights>
void accumulate_by(const Product& p, int64_t batch, const int32_t* listed, int64_t count) {
  constexpr int kTogether = 8;
  const int64_t tiles = count / kTogether;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t ahead = kTogether * std::min<int64_t>(kTilesAhead, tiles - 1 - i);
    accumulate_tile<Weights, kTogether>(p, batch, listed + kTogether * i, 1, ahead);
  }
  for (int64_t i = kTogether * tiles; i < count; ++i) accumulate_tile<Weights, 1>(p, batch, listed + i, 0, 0);
}

void accumulate(const Product& p, int64_t batch, const int32_t* listed, int64_t count) {
  switch (p.weights.format) {
    case Format::kFloat32: return accumulate_by<Float32>(p, batch, listed, count);
    case Format::kBfloat16: return accumulate_by<Bfloat16>(p, batch, listed, count);
    case Format::kInt8: return accumulate_by<Int8>(p, batch, listed, count);
  }
}

void normalize(const float* x, const float* weight, const float* bias, int64_t width, float* y) {
  normalize_by(x, weight, bias, width, kLayerNormEps, y);
}

void mix(const float* x, const float* before, const float* mix, int64_t width, float* y) {
  for (int64_t j = 0; j < width; j += LANES) {
    const Vec now = load(x + j);
    store(y + j, now + (load(before + j) - now) * load(mix + j));
  }
}

void sigmoid(float* x, int64_t count) {
  for (int64_t j = 0; j < count; j += LANES) store(x + j, sigmoid_of(load(x + j)));
}

void tanh(float* x, int64_t count) {
  for (int64_t j = 0; j < count; ++j) x[j] = std::tanh(x[j]);
}

void relu_squared(float* x, int64_t count) {
  for (int64_t j = 0; j < count; j += LANES) {
    const Vec y = load(x + j);
    store(x + j, y <= 0.0f ? Vec{} : y * y);  // not a number stays one
  }
}

// y += the sum of `count` vectors, `apart` floats from one to the next.
void add(const float* x, int64_t count, int64_t apart, int64_t width, float* y) {
  for (int64_t j = 0; j < width; j += LANES) {
    Vec total = load(y + j);
    for (int64_t i = 0; i < count; ++i) total += load(x + i * apart + j);
    store(y + j, total);
  }
}

// u = S a,  S <- S diag(w) + u b' + v k',  y = S r, a few rows of S at a time.
template <int N>
void advance(float* state, const float* r, const float* w, const float* k, const float* v, const float* a,
             const float* b, float* y) {
  for (int i = 0; i < N; i += 4) {
    float* rows = state + i * N;
    Vec dot[4] = {};
    for (int j = 0; j < N; j += LANES) {
      UNROLL for (int p = 0; p < 4; ++p) dot[p] += load(rows + p * N + j) * load(a + j);
    }
    const Quad u = sums(dot[0], dot[1], dot[2], dot[3]);
    UNROLL for (int p = 0; p < 4; ++p) dot[p] = Vec{};
    for (int j = 0; j < N; j += LANES) {
      UNROLL for (int p = 0; p < 4; ++p) {
        const Vec s = load(rows + p * N + j) * load(w + j) + load(b + j) * u[p] + load(k + j) * v[i + p];
        store(rows + p * N + j, s);
        dot[p] += s * load(r + j);
      }
    }
    store4(y + i, sums(dot[0], dot[1], dot[2], dot[3]));
  }
}

// RWKV-7 paper, arXiv 2503.14456, section 4.1, from the low-rank maps' second halves to the gated output.
template <int N>
void head(const Head& h) {
  const int64_t c = h.channel;
  const Vectors& p = *h.vectors;
  float up[4][N];
  for (int i = 0; i < 4; ++i) {
    if (h.up[i].rows) multiply({h.up[i], h.low[i], 0, up[i], 0, false}, 1, 0, N);
  }
  const auto& [decay, rate, residual, gate] = up;

  float w[N], k[N], v[N], a[N], b[N], y[N];
  Vec squares = {};
  for (int j = 0; j < N; j += LANES) {
    const Vec removal = load(h.k + j) * load(p.k_k + c + j);
    squares += removal * removal;
    store(a + j, removal);
  }
  const float length = 1.0f / std::max(std::sqrt(sum(squares)), kKeyNormEps);
  Vec bonus = {};
  for (int j = 0; j < N; j += LANES) {
    const Vec learning = sigmoid_of(load(rate + j) + load(p.a0 + c + j));
    const Vec removal = load(a + j) * length;
    const Vec key = load(h.k + j) * ((learning - 1.0f) * load(p.k_a + c + j) + 1.0f);
    Vec value = load(h.v + j);
    if (h.first_layer) {
      store(h.v_first + j, value);
    } else {
      value += (load(h.v_first + j) - value) * sigmoid_of(load(residual + j) + load(p.v0 + c + j));
    }
    store(w + j, exp_of_nonpositive(sigmoid_of(load(decay + j) + load(p.w0 + c + j)) * kLogDecayMin));
    store(a + j, -removal);
    store(b + j, removal * learning);
    store(k + j, key);
    store(v + j, value);
    bonus += load(h.r + j) * key * load(p.r_k + c + j);
  }
  advance<N>(h.state, h.r, w, k, v, a, b, y);
  normalize_by(y, p.ln_x_weight + c, p.ln_x_bias + c, N, kGroupNormEps, y);
  const float share = sum(bonus);
  for (int j = 0; j < N; j += LANES) store(h.out + j, (load(y + j) + load(v + j) * share) * load(gate + j));
}

}  // namespace
}  // namespace modrwkv::ISA

#define CONCATENATE(x, y) x##y
#define NAME(isa) CONCATENATE(decode_kernels_, isa)

modrwkv::DecodeKernels modrwkv::NAME(ISA)(int64_t head_size) {
  using namespace modrwkv::ISA;
  DecodeKernels kernels{multiply, accumulate, add, normalize, mix, modrwkv::ISA::tanh, sigmoid, relu_squared, nullptr};
  switch (head_size) {
    case 32: kernels.head = head<32>; break;
    case 64: kernels.head = head<64>; break;
    case 128: kernels.head = head<128>; break;
  }
  return kernels;
}

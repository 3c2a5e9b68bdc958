// WKV-7 forward and backward for one sequence and head, token by token, with the state in the first-level cache.
//
//   u = S a,  S <- S diag(w) + u b' + v k',  y = S r            (S: rows are values, columns are keys)
//
// This file is compiled once per instruction set, with ISA (a namespace) and LANES (floats per vector) defined.
// N is the head size.

#include <algorithm>
#include <initializer_list>

#include "simd.h"
#include "wkv7.h"

namespace modrwkv::ISA {
namespace {

// Where all of a few state rows fit into the registers, loops over their vectors must vanish.
#if LANES == 16
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

constexpr int kRows = 4;  // state rows that the backward pass keeps in registers, as many as `sums` takes

// Offset of a token's vector of one head.
inline int64_t at(const Inputs& in, int64_t token, int64_t head, int size) { return (token * in.heads + head) * size; }

// Offset of what is saved of a chunk of one head: the state at its start, and u of its tokens.
inline int64_t saved_offset(const Inputs& in, int64_t chunk, int64_t head, int size) {
  return (chunk * in.heads + head) * (size + in.chunk_size) * size;
}

// Multiply the rows of a state, which are keys here, by the decays that were left out of it, and begin anew.
template <int N>
void restore(float* state, float* decay) {
  for (int j = 0; j < N; ++j) {
    const Vec w = splat(decay + j);
    for (int i = 0; i < N; i += LANES) store(state + j * N + i, load(state + j * N + i) * w);
  }
  std::fill_n(decay, N, 1.0f);
}

// The state is held transposed here, values in vector lanes, so that both products with it (S r, and S a of the next
// token) are sums over rows, and one pass over it does all of a token's work.
//
// Within a chunk the decays are left out of it: with W the product of w since the chunk's start, S diag(1/W) is what is
// held. b and k are divided by W instead, and a and r multiplied by it, which leaves four of five operations on the
// state. Chunks are short enough that W does not vanish.
template <int N>
void forward(const Forward& f, const Sequence& sequence, int64_t head, float* scratch) {
  // Vectors of values done together: their sums for y and u stay in the registers, of which AVX-512 has more.
  constexpr int kWanted = LANES == 16 ? 4 : 2;
  constexpr int kTile = N / LANES < kWanted ? N / LANES : kWanted;
  const Inputs& in = f.in;
  const int64_t state_offset = (sequence.index * in.heads + head) * N * N;
  float* state = scratch;  // [key][value]
  float* u = state + N * N;
  float* decay = u + N;  // W
  float *r = decay + N, *a = r + N, *k = a + N, *b = k + N;  // multiplied by it, or divided

  if (f.state) {
    transpose<N>(f.state + state_offset, state);
  } else {
    std::memset(state, 0, sizeof(float) * N * N);
  }
  std::fill_n(decay, N, 1.0f);
  std::memset(u, 0, sizeof(float) * N);
  if (f.state && sequence.begin < sequence.end) {
    const float* first_a = in.a + at(in, sequence.begin, head, N);
    for (int j = 0; j < N; ++j) {
      for (int i = 0; i < N; i += LANES) store(u + i, load(u + i) + load(state + j * N + i) * first_a[j]);
    }
  }

  for (int64_t t = sequence.begin; t < sequence.end; ++t) {
    const int64_t done = t - sequence.begin;
    float* saved = f.saved ? f.saved + saved_offset(in, sequence.first_chunk + done / in.chunk_size, head, N) : nullptr;
    if (done % in.chunk_size == 0) {
      restore<N>(state, decay);
      if (saved) {
        transpose<N>(state, saved);
        // What no token writes of a short chunk must not be left to chance.
        const int64_t tokens = std::min(sequence.end - t, in.chunk_size);
        std::fill(saved + (N + tokens) * N, saved + (N + in.chunk_size) * N, 0.0f);
      }
    }
    if (saved) std::memcpy(saved + (N + done % in.chunk_size) * N, u, sizeof(float) * N);
    const int64_t here = at(in, t, head, N);
    const float* v = in.v + here;
    // Tokens of one head lie far apart, so the processor does not foresee these reads and writes.
    if (t + 2 < sequence.end) {
      const int64_t later = at(in, t + 2, head, N);
      for (const float* x : {in.r, in.log_w, in.k, in.v, in.a, in.b}) prefetch<N, false>(x + later);
      prefetch<N, true>(f.y + later);
    }
    const float* next_a = in.a + (t + 1 < sequence.end ? at(in, t + 1, head, N) : here);
    for (int j = 0; j < N; j += LANES) {
      const Vec w = load(decay + j) * exp_of_nonpositive(load(in.log_w + here + j)), inverse = 1.0f / w;
      store(decay + j, w);
      store(r + j, load(in.r + here + j) * w);
      store(a + j, load(next_a + j) * w);
      store(k + j, load(in.k + here + j) * inverse);
      store(b + j, load(in.b + here + j) * inverse);
    }
    for (int i = 0; i < N; i += kTile * LANES) {
      Vec y_sum[kTile] = {}, u_sum[kTile] = {}, u_here[kTile], v_here[kTile];
      for (int p = 0; p < kTile; ++p) {
        u_here[p] = load(u + i + p * LANES);
        v_here[p] = load(v + i + p * LANES);
      }
      for (int j = 0; j < N; ++j) {
        float* row = state + j * N + i;
        // Read once: for all that the compiler knows, the stores below might change them.
        const Vec b_j = splat(b + j), k_j = splat(k + j), r_j = splat(r + j), a_j = splat(a + j);
        for (int p = 0; p < kTile; ++p) {
          const Vec s = load(row + p * LANES) + u_here[p] * b_j + v_here[p] * k_j;
          store(row + p * LANES, s);
          y_sum[p] += s * r_j;
          u_sum[p] += s * a_j;
        }
      }
      for (int p = 0; p < kTile; ++p) {
        store(f.y + here + i + p * LANES, y_sum[p]);
        store(u + i + p * LANES, u_sum[p]);
      }
    }
  }
  restore<N>(state, decay);
  transpose<N>(state, f.final + state_offset);
}

template <int N>
void exp_row(const float* log_w, float* w) {
  for (int j = 0; j < N; j += LANES) store(w + j, exp_of_nonpositive(load(log_w + j)));
}

// All that the backward pass knows of one token, in one block of memory. Those from `dr` on are gradients that add up
// over the rows of the state; `dr` and `dw` are yet to be carried over to r and log w. `g` is the gradient of y.
template <int N>
struct Token {
  float r[N], w[N], k[N], a[N], b[N], v[N], g[N], u[N], dv[N];
  float dr[N], dw[N], dk[N], da[N], db[N];
};

// The few rows in work, as they were before a token.
template <int N>
struct Rows {
  float row[kRows][N];
};

template <int N>
int64_t scratch(int64_t chunk_size) {
  return N * N + chunk_size * (sizeof(Token<N>) + sizeof(Rows<N>)) / sizeof(float);
}

// Run kRows rows of the state through a chunk, keeping what they were before each token.
template <int N>
void replay(const Token<N>* chunk, Rows<N>* before, int tokens, const float* start, int row) {
  std::memcpy(before[0].row, start + row * N, sizeof before[0].row);
  for (int t = 0; t + 1 < tokens; ++t) {
    const Token<N>& x = chunk[t];
    Vec v[kRows], u[kRows];
    for (int i = 0; i < kRows; ++i) {
      v[i] = splat(x.v + row + i);
      u[i] = splat(x.u + row + i);
    }
    for (int q = 0; q < N; q += LANES) {
      const Vec w = load(x.w + q), k = load(x.k + q), b = load(x.b + q);
      for (int i = 0; i < kRows; ++i) {
        store(before[t + 1].row[i] + q, load(before[t].row[i] + q) * w + (k * v[i] + b * u[i]));
      }
    }
  }
}

// Carry kRows rows of D, the gradient of the state, back through a chunk. With S the state before the token:
//   D += g r';  dv = D k;  du = D b;  dk += D' v;  db += D' u;  dr += S' g;  dw += colsum(D o S);  da += S' du;
//   D <- D diag(w) + du a'
template <int N>
void sweep(Token<N>* chunk, const Rows<N>* before, int tokens, float* dstate, int row) {
  constexpr int kVecs = N / LANES;
  Vec d[kRows][kVecs];
  for (int i = 0; i < kRows; ++i) {
    UNROLL for (int q = 0; q < kVecs; ++q) d[i][q] = load(dstate + (row + i) * N + q * LANES);
  }
  for (int t = tokens - 1; t >= 0; --t) {
    Token<N>& x = chunk[t];
    const Quad g = load4(x.g + row), v = load4(x.v + row), u = load4(x.u + row);

    Vec dot[kRows] = {};
    UNROLL for (int q = 0; q < kVecs; ++q) {
      const Vec r = load(x.r + q * LANES), b = load(x.b + q * LANES);
      UNROLL for (int i = 0; i < kRows; ++i) {
        d[i][q] += r * g[i];
        dot[i] += d[i][q] * b;
      }
    }
    const Quad du = sums(dot[0], dot[1], dot[2], dot[3]);

    UNROLL for (int i = 0; i < kRows; ++i) dot[i] = Vec{};
    UNROLL for (int q = 0; q < kVecs; ++q) {
      const Vec k = load(x.k + q * LANES);
      Vec dr = load(x.dr + q * LANES), dw = load(x.dw + q * LANES);
      Vec dk = load(x.dk + q * LANES), db = load(x.db + q * LANES);
      UNROLL for (int i = 0; i < kRows; ++i) {
        const Vec s = load(before[t].row[i] + q * LANES);
        dot[i] += d[i][q] * k;
        dk += d[i][q] * v[i];
        db += d[i][q] * u[i];
        dr += s * g[i];
        dw += s * d[i][q];
      }
      store(x.dr + q * LANES, dr);
      store(x.dw + q * LANES, dw);
      store(x.dk + q * LANES, dk);
      store(x.db + q * LANES, db);
    }
    store4(x.dv + row, sums(dot[0], dot[1], dot[2], dot[3]));

    UNROLL for (int q = 0; q < kVecs; ++q) {
      const Vec w = load(x.w + q * LANES), a = load(x.a + q * LANES);
      Vec da = load(x.da + q * LANES);
      UNROLL for (int i = 0; i < kRows; ++i) {
        da += load(before[t].row[i] + q * LANES) * du[i];
        d[i][q] = d[i][q] * w + a * du[i];
      }
      store(x.da + q * LANES, da);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    UNROLL for (int q = 0; q < kVecs; ++q) store(dstate + (row + i) * N + q * LANES, d[i][q]);
  }
}

template <int N>
float dot_product(const float* x, const float* y) {
  Vec sum = {};
  for (int j = 0; j < N; j += LANES) sum += load(x + j) * load(y + j);
  return sums(sum, sum, sum, sum)[0];
}

// Rows of the state, held as they are here, are independent of each other in both directions; so a few of them at a
// time go forth through a chunk, from its start, and back again without leaving the registers.
template <int N>
void backward(const Backward& f, const Sequence& sequence, int64_t head, float* scratch) {
  constexpr size_t kBytes = sizeof(float) * N;
  const Inputs& in = f.in;
  const int64_t state_offset = (sequence.index * in.heads + head) * N * N;
  float* dstate = scratch;
  auto* chunk = reinterpret_cast<Token<N>*>(dstate + N * N);
  auto* before = reinterpret_cast<Rows<N>*>(chunk + in.chunk_size);
  if (f.dfinal) {
    std::memcpy(dstate, f.dfinal + state_offset, N * kBytes);
  } else {
    std::memset(dstate, 0, N * kBytes);
  }

  const int64_t chunks = (sequence.end - sequence.begin + in.chunk_size - 1) / in.chunk_size;
  for (int64_t index = chunks - 1; index >= 0; --index) {
    const int64_t first = sequence.begin + index * in.chunk_size;
    const int64_t left = sequence.end - first;
    const int tokens = static_cast<int>(left < in.chunk_size ? left : in.chunk_size);
    const float* start = f.saved + saved_offset(in, sequence.first_chunk + index, head, N);
    for (int t = 0; t < tokens; ++t) {
      Token<N>& x = chunk[t];
      const int64_t here = at(in, first + t, head, N);
      exp_row<N>(in.log_w + here, x.w);
      std::memcpy(x.r, in.r + here, kBytes);
      std::memcpy(x.k, in.k + here, kBytes);
      std::memcpy(x.v, in.v + here, kBytes);
      std::memcpy(x.a, in.a + here, kBytes);
      std::memcpy(x.b, in.b + here, kBytes);
      std::memcpy(x.g, f.dy + here, kBytes);
      std::memcpy(x.u, start + (N + t) * N, kBytes);
      std::memset(x.dr, 0, 5 * kBytes);
    }

    for (int row = 0; row < N; row += kRows) {
      // Meanwhile, the memory of this chunk's gradients and of the inputs of the chunk before comes in.
      for (int64_t t = row * in.chunk_size / N; t < (row + kRows) * in.chunk_size / N; ++t) {
        if (t < tokens) {
          for (float* x : {f.dr, f.dlog_w, f.dk, f.dv, f.da, f.db}) prefetch<N, true>(x + at(in, first + t, head, N));
        }
        if (index > 0) {
          const int64_t earlier = at(in, first + t - in.chunk_size, head, N);
          for (const float* x : {in.r, in.log_w, in.k, in.v, in.a, in.b, f.dy}) prefetch<N, false>(x + earlier);
        }
      }
      replay<N>(chunk, before, tokens, start, row);
      sweep<N>(chunk, before, tokens, dstate, row);
    }

    for (int t = 0; t < tokens; ++t) {
      const Token<N>& x = chunk[t];
      const int64_t here = at(in, first + t, head, N);
      // y = (S diag(w) + u b' + v k') r with S the state before the token, whose product with g is in x.dr.
      const float ug = dot_product<N>(x.u, x.g), vg = dot_product<N>(x.v, x.g);
      for (int j = 0; j < N; j += LANES) {
        const Vec w = load(x.w + j);
        store(f.dr + here + j, w * load(x.dr + j) + load(x.b + j) * ug + load(x.k + j) * vg);
        store(f.dlog_w + here + j, w * load(x.dw + j));
      }
      std::memcpy(f.dk + here, x.dk, kBytes);
      std::memcpy(f.dv + here, x.dv, kBytes);
      std::memcpy(f.da + here, x.da, kBytes);
      std::memcpy(f.db + here, x.db, kBytes);
    }
  }
  std::memcpy(f.dstate + state_offset, dstate, N * kBytes);
}

template <int N>
constexpr Kernels kernels() {
  return {forward<N>, backward<N>, scratch<N>};
}

}  // namespace
}  // namespace modrwkv::ISA

#define CONCATENATE(x, y) x##y
#define NAME(isa) CONCATENATE(kernels_, isa)

modrwkv::Kernels modrwkv::NAME(ISA)(int64_t head_size) {
  switch (head_size) {
    case 32: return modrwkv::ISA::kernels<32>();
    case 64: return modrwkv::ISA::kernels<64>();
    case 128: return modrwkv::ISA::kernels<128>();
    default: return {nullptr, nullptr, nullptr};
  }
}

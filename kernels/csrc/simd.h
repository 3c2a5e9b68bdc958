// The few vector operations the kernels need, on compiler vectors of LANES floats.
//
// Everything lives in a namespace named after the instruction set (ISA): the linker must never merge two translations.
#pragma once

#include <cstdint>
#include <cstring>

#if LANES > 4
#include <immintrin.h>
#endif

namespace modrwkv::ISA {

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));
typedef float Quad __attribute__((vector_size(16)));

inline Vec load(const float* from) {
  Vec x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

inline void store(float* to, Vec x) { std::memcpy(to, &x, sizeof x); }

// One number in all lanes, loaded as such: on AVX2 compilers also load it into one lane first and spend a shuffle.
inline Vec splat(const float* from) {
#if LANES == 8
  return reinterpret_cast<Vec>(_mm256_broadcast_ss(from));
#else
  return *from - Vec{};
#endif
}

// Ask for the memory of N floats that will soon be read, or written.
template <int N, bool kWritten>
inline void prefetch(const float* at) {
  for (int j = 0; j < N; j += 16) __builtin_prefetch(at + j, kWritten, 2);
}

inline Quad load4(const float* from) {
  Quad x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

inline void store4(float* to, Quad x) { std::memcpy(to, &x, sizeof x); }

// e^x for x <= 0 to about one unit in the last place: 2^n e^f with |f| <= ln(2)/2 and a Taylor polynomial for e^f.
inline Vec exp_of_nonpositive(Vec x) {
  x = x < -87.0f ? Vec{} - 87.0f : x;
  const Vec round = Vec{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low mantissa bits
  const Vec shifted = x * 1.44269504f + round;
  const Vec n = shifted - round;
  Vec f = x - n * 0.693359375f;
  f = f + n * 2.12194440e-4f;
  Vec p = f * (1.0f / 5040.0f) + 1.0f / 720.0f;
  p = p * f + 1.0f / 120.0f;
  p = p * f + 1.0f / 24.0f;
  p = p * f + 1.0f / 6.0f;
  p = p * f + 0.5f;
  p = p * f + 1.0f;
  p = p * f + 1.0f;
  const IntVec power = (reinterpret_cast<IntVec>(shifted) << 23) + 0x3f800000;  // the bits of 2^n
  return p * reinterpret_cast<Vec>(power);
}

// The sums of four vectors.
#if LANES == 16
typedef float Half __attribute__((vector_size(32)));
inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
#define LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
  const Vec ab = __builtin_shufflevector(a, b, LOW) + __builtin_shufflevector(a, b, HIGH);
  const Vec cd = __builtin_shufflevector(c, d, LOW) + __builtin_shufflevector(c, d, HIGH);
#undef LOW
#undef HIGH
  const Vec abcd = __builtin_shufflevector(ab, cd, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                   __builtin_shufflevector(ab, cd, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  const Half half = __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(abcd, abcd, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
}
#elif LANES == 8
inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13) +
                 __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  const Vec cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13) +
                 __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
  const Vec abcd = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                   __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3) + __builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
}
#else
inline Quad sums(Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Vec cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}
#endif

// Transpose four rows of four numbers; rows are so many floats apart.
inline void transpose4(const float* from, int64_t from_apart, float* to, int64_t to_apart) {
  const Quad a = load4(from), b = load4(from + from_apart);
  const Quad c = load4(from + 2 * from_apart), d = load4(from + 3 * from_apart);
  const Quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store4(to, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
  store4(to + to_apart, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
  store4(to + 2 * to_apart, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
  store4(to + 3 * to_apart, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
}

// Transpose a square matrix of N rows, N a multiple of 4.
template <int N>
inline void transpose(const float* from, float* to) {
  for (int i = 0; i < N; i += 4) {
    for (int j = 0; j < N; j += 4) transpose4(from + i * N + j, N, to + j * N + i, N);
  }
}

}  // namespace modrwkv::ISA

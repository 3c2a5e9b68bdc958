// The products of sparse.h.
//
// This file is compiled once per instruction set, with ISA (a namespace) and LANES (floats per vector) defined.

#include "sparse.h"

#include <algorithm>

#include "simd.h"

namespace modrwkv::ISA {
namespace {

// As many sums as there are registers for; and spans short enough to leave room in 32 KB of cache.
constexpr int kVectors = LANES == 16 ? 8 : 12;
constexpr int kWidth = kVectors * LANES;
constexpr int kDepth = LANES == 16 ? 48 : 64;
static_assert(sizeof(float) * kWidth * kDepth <= 24 << 10);

// Writes the numbers of a vector that are not zero, and where their weights lie; returns how many there are. What it
// writes after them is ignored.
#if LANES == 16
inline int list(const float* x, int input, float* value, uint16_t* place) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_mullo_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(input)), _mm512_set1_epi32(kWidth));
  const __m512 all = _mm512_loadu_ps(x);
  const __mmask16 live = _mm512_cmp_ps_mask(all, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  _mm512_storeu_ps(value, _mm512_maskz_compress_ps(live, all));
  const __m256i narrow = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(live, places));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(place), narrow);
  return __builtin_popcount(live);
}
#elif LANES == 8
// For each choice of 8 lanes these lanes in turn, a byte each.
struct Choices {
  uint64_t lanes[256] = {};
  constexpr Choices() {
    for (int choice = 0; choice < 256; ++choice) {
      for (int lane = 0, n = 0; lane < 8; ++lane) {
        if (choice >> lane & 1) lanes[choice] |= static_cast<uint64_t>(lane) << 8 * n++;
      }
    }
  }
};
constexpr Choices kChoices;

inline int list(const float* x, int input, float* value, uint16_t* place) {
  const __m256 all = _mm256_loadu_ps(x);
  const int live = _mm256_movemask_ps(_mm256_cmp_ps(all, _mm256_setzero_ps(), _CMP_NEQ_UQ));
  const __m128i lanes = _mm_cvtsi64_si128(static_cast<int64_t>(kChoices.lanes[live]));
  _mm256_storeu_ps(value, _mm256_permutevar8x32_ps(all, _mm256_cvtepu8_epi32(lanes)));
  const __m128i inputs = _mm_add_epi16(_mm_cvtepu8_epi16(lanes), _mm_set1_epi16(static_cast<int16_t>(input)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(place), _mm_mullo_epi16(inputs, _mm_set1_epi16(kWidth)));
  return __builtin_popcount(live);
}
#else
inline int list(const float* x, int input, float* value, uint16_t* place) {
  int n = 0;
  for (int i = 0; i < LANES; ++i) {
    value[n] = x[i];
    place[n] = static_cast<uint16_t>((input + i) * kWidth);
    n += x[i] != 0.0f;
  }
  return n;
}
#endif

void find(const LinearProduct& p, const NonZeros& list_of) {
  const int64_t spans = (p.inputs + kDepth - 1) / kDepth;
  std::fill_n(list_of.found, spans, 0);
  for (int64_t row = 0; row < p.rows; ++row) {
    for (int64_t span = 0; span < spans; ++span) {
      const float* x = p.x + row * p.inputs + span * kDepth;
      const int depth = static_cast<int>(std::min<int64_t>(kDepth, p.inputs - span * kDepth));
      const int64_t at = span * kDepth * p.rows + list_of.found[span];
      int count = 0;
      for (int j = 0; j < depth; j += LANES) {
        count += list(x + j, j, list_of.value + at + count, list_of.place + at + count);
      }
      list_of.count[span * p.rows + row] = count;
      list_of.found[span] += count;
    }
  }
}

// In columns of a cache line, so that each line is written once.
void pack(const LinearProduct& p, int64_t panel, float* packed) {
  constexpr int64_t kLine = 16;
  static_assert(kWidth % kLine == 0);
  const int64_t outputs = std::min<int64_t>(kWidth, p.outputs - panel * kWidth);
  for (int64_t line = 0; line < outputs; line += kLine) {
    const float* weight = p.weight + (panel * kWidth + line) * p.inputs;
    for (int64_t j = 0; j < p.inputs; j += 4) {
      for (int64_t i = 0; i < kLine; i += 4) {
        transpose4(weight + i * p.inputs + j, p.inputs, packed + j * kWidth + line + i, kWidth);
      }
    }
  }
}

// sums += the values times their weights, for one row and at least one value.
inline void add(const float* value, const uint16_t* place, int64_t count, const float* packed, float* sums) {
  Vec sum[kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kVectors; ++i) sum[i] = load(sums + i * LANES);
  const float* end = value + count;
  do {
    const Vec x = splat(value++);
    const float* weight = packed + *place++;
#pragma GCC unroll 12
    for (int i = 0; i < kVectors; ++i) sum[i] += x * load(weight + i * LANES);
  } while (value != end);
#pragma GCC unroll 12
  for (int i = 0; i < kVectors; ++i) store(sums + i * LANES, sum[i]);
}

void multiply(const LinearProduct& p, const NonZeros& list_of, int64_t panel, const float* packed, float* sums) {
  std::fill_n(sums, p.rows * kWidth, 0.0f);
  for (int64_t first = 0; first < p.inputs; first += kDepth) {
    const float* value = list_of.value + first * p.rows;
    const uint16_t* place = list_of.place + first * p.rows;
    const int32_t* count = list_of.count + first / kDepth * p.rows;
    for (int64_t row = 0; row < p.rows; ++row) {
      if (count[row] == 0) continue;
      add(value, place, count[row], packed + first * kWidth, sums + row * kWidth);
      value += count[row];
      place += count[row];
    }
  }
  const int64_t outputs = std::min<int64_t>(kWidth, p.outputs - panel * kWidth);
  for (int64_t row = 0; row < p.rows; ++row) {
    std::copy_n(sums + row * kWidth, outputs, p.y + row * p.outputs + panel * kWidth);
  }
}

}  // namespace
}  // namespace modrwkv::ISA

#define CONCATENATE(x, y) x##y
#define NAME(isa) CONCATENATE(sparse_kernels_, isa)

modrwkv::SparseKernels modrwkv::NAME(ISA)() {
  using namespace modrwkv::ISA;
  return {kDepth, kWidth, find, pack, multiply};
}

// The matrix units of a processor in plain C++, for tests where there are none: what the intrinsics do, and an abort
// where the processor would refuse. To be included before a kernel that uses them.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tiles {

struct Config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64);

inline thread_local Config config;
inline thread_local uint32_t words[8][16][16];

inline void require(bool allowed) {
  if (!allowed) std::abort();
}

inline void load_config(const void* from) {
  std::memcpy(&config, from, sizeof config);
  require(config.palette == 1 && config.start_row == 0);
  for (int tile = 0; tile < 16; ++tile) {
    require(config.rows[tile] <= 16 && config.row_bytes[tile] <= 64);
    require((config.rows[tile] == 0) == (config.row_bytes[tile] == 0) && (tile < 8 || config.rows[tile] == 0));
  }
  std::memset(words, 0, sizeof words);
}

inline void zero(int tile) {
  require(config.rows[tile] > 0);
  std::memset(words[tile], 0, sizeof words[tile]);
}

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  for (int i = 0; i < config.rows[tile]; ++i) {
    std::memcpy(words[tile][i], static_cast<const char*>(from) + i * stride, config.row_bytes[tile]);
  }
}

inline void store(int tile, void* to, int64_t stride) {
  for (int i = 0; i < config.rows[tile]; ++i) {
    std::memcpy(static_cast<char*>(to) + i * stride, words[tile][i], config.row_bytes[tile]);
  }
}

inline float number(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// sum += a b, pairs of bfloat16's in each word of a and b. Rounded once, so that what is lost before is seen.
inline void multiply(int sum, int a, int b) {
  require(sum != a && sum != b && a != b);
  require(config.rows[sum] == config.rows[a] && config.row_bytes[sum] == config.row_bytes[b]);
  require(config.row_bytes[a] == 4 * config.rows[b]);
  for (int i = 0; i < config.rows[sum]; ++i) {
    for (int j = 0; j < config.row_bytes[sum] / 4; ++j) {
      double x = number(words[sum][i][j]);
      for (int k = 0; k < config.rows[b]; ++k) {
        const uint32_t left = words[a][i][k], right = words[b][k][j];
        x += static_cast<double>(number(left << 16)) * number(right << 16);
        x += static_cast<double>(number(left & 0xffff0000)) * number(right & 0xffff0000);
      }
      const auto rounded = static_cast<float>(x);
      std::memcpy(&words[sum][i][j], &rounded, sizeof rounded);
    }
  }
}

typedef int32_t Lanes __attribute__((vector_size(64)));

inline __m512i permute(__m512i a, __m512i index, __m512i b) {
  const Lanes first = reinterpret_cast<Lanes>(a), second = reinterpret_cast<Lanes>(b);
  Lanes from = reinterpret_cast<Lanes>(index), to;
  for (int i = 0; i < 16; ++i) to[i] = from[i] & 16 ? second[from[i] & 15] : first[from[i] & 15];
  return reinterpret_cast<__m512i>(to);
}

}  // namespace tiles

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig tiles::load_config
#define _tile_loadd tiles::load
#define _tile_stored tiles::store
#define _tile_zero tiles::zero
#define _tile_dpbf16ps tiles::multiply
#define _tile_release() tiles::config = {}
#define _mm512_permutex2var_epi32 tiles::permute

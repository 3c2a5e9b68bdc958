// The products of amx.h: tiles of 16 rows of 16 words, each a pair of bfloat16 numbers.
//
// A block of 32 rows, or of 32 outputs, is two tiles for every 32 inputs. The order of the inputs within these 32 does
// not matter to a product: a word holds inputs j and j + 16, so that two vectors are paired without a shuffle.

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "amx.h"
#include "simd.h"

namespace modrwkv::amx {
namespace {

constexpr int kTile = 16;                // rows of a tile, and words of a row
constexpr int kWords = kTile * kTile;    // of a tile
constexpr int kRowBytes = 4 * kTile;     // of a tile
constexpr int64_t kDepth = 24;           // blocks of inputs whose tiles fit the caches; sums wait in y between them
constexpr uint32_t kUpper = 0xffff0000;  // the half of a float32 that is a bfloat16
static_assert(LANES == kTile && kProductBlock == 2 * kTile);

typedef uint32_t Words __attribute__((vector_size(4 * LANES)));

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, two by two; 4 and 5 are parts of the upper and the lower rows, 6 and 7 weights.
void configure(int64_t rows) {
  const auto upper = static_cast<uint8_t>(std::min<int64_t>(rows, kTile));
  const auto lower = static_cast<uint8_t>(std::max<int64_t>(rows - kTile, 1));
  TileConfig config;
  std::fill_n(config.row_bytes, 8, kRowBytes);
  for (const int tile : {0, 1, 4}) config.rows[tile] = upper;
  for (const int tile : {2, 3, 5}) config.rows[tile] = lower;
  for (const int tile : {6, 7}) config.rows[tile] = kTile;
  asm volatile("" : : "r"(&config) : "memory");  // GCC assumes that only its first bytes are read
  _tile_loadconfig(&config);
}

inline Words bits(Vec x) { return reinterpret_cast<Words>(x); }
inline Vec head(Vec x) { return reinterpret_cast<Vec>(bits(x) & kUpper); }
inline Words pair(Vec low, Vec high) { return (bits(low) >> 16) | (bits(high) & kUpper); }
inline void store_words(uint32_t* to, Words x) { std::memcpy(to, &x, sizeof x); }

// Blocks of `step` lanes and blocks of `step` rows change places.
template <uint32_t kStep>
inline void exchange(Words (&rows)[kTile]) {
  const Words lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  // Lanes from kTile on are those of the second of two vectors.
  const Words first = (lane & kStep) == 0 ? lane : lane + (kTile - kStep), second = first + kStep;
#pragma GCC unroll 16
  for (uint32_t i = 0; i < kTile; ++i) {
    if (i & kStep) continue;
    const auto a = reinterpret_cast<__m512i>(rows[i]), b = reinterpret_cast<__m512i>(rows[i + kStep]);
    rows[i] = reinterpret_cast<Words>(_mm512_permutex2var_epi32(a, reinterpret_cast<__m512i>(first), b));
    rows[i + kStep] = reinterpret_cast<Words>(_mm512_permutex2var_epi32(a, reinterpret_cast<__m512i>(second), b));
  }
}

inline void transpose(Words (&rows)[kTile]) {
  exchange<1>(rows);
  exchange<2>(rows);
  exchange<4>(rows);
  exchange<8>(rows);
}

}  // namespace

// torch asks the same, but under names that change from version to version.
bool usable() {
  static const bool found = [] {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    constexpr unsigned kUnits = 1u << 22 | 1u << 24;             // AMX-BF16, AMX-TILE
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & kUnits) == kUnits &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return found;
}

void split(const LinearProduct& p, int64_t block, uint32_t* parts) {
  const int64_t begin = block * kProductBlock, end = std::min(p.rows, begin + kProductBlock);
  for (int64_t row = begin; row < end; ++row) {
    const float* x = p.x + row * p.inputs;
    uint32_t* to = parts + (row - begin) * kTile;
    for (int64_t j = 0; j < p.inputs; j += 2 * kTile, to += kParts * 2 * kWords) {
      Vec low = load(x + j), high = load(x + j + kTile);
      for (int64_t part = 0; part < kParts; ++part) {
        store_words(to + part * 2 * kWords, pair(low, high));
        low -= head(low);
        high -= head(high);
      }
    }
  }
}

bool pack(const LinearProduct& p, int64_t block, uint32_t* packed) {
  Words lost = {};
  for (int64_t j = 0; j < p.inputs; j += 2 * kTile) {
    for (int half = 0; half < 2; ++half, packed += kWords) {
      Words rows[kTile];
#pragma GCC unroll 16
      for (int i = 0; i < kTile; ++i) {
        const float* weight = p.weight + (block * kProductBlock + half * kTile + i) * p.inputs + j;
        const Vec low = load(weight), high = load(weight + kTile);
        lost |= (bits(low) | bits(high)) & ~kUpper;
        rows[i] = pair(low, high);
      }
      transpose(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kTile; ++i) store_words(packed + i * kTile, rows[i]);
    }
  }
  uint32_t any = 0;
  for (int i = 0; i < kTile; ++i) any |= lost[i];
  return any == 0;
}

void multiply(const LinearProduct& p, int64_t begin, int64_t end, const uint32_t* parts, const uint32_t* packed) {
  const int64_t depth = p.inputs / kProductBlock, blocks = (p.rows + kProductBlock - 1) / kProductBlock;
  for (int64_t from = 0; from < depth; from += kDepth) {
    const int64_t to = std::min(depth, from + kDepth);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t rows = std::min(kProductBlock, p.rows - block * kProductBlock);
      if (block == 0 || rows < kProductBlock) configure(rows);
      for (int64_t output = begin; output < end; ++output) {
        const uint32_t* x = parts + (block * depth + from) * kParts * 2 * kWords;
        const uint32_t* w = packed + ((output - begin) * depth + from) * 2 * kWords;
        float* y = p.y + block * kProductBlock * p.outputs + output * kProductBlock;
        float spare[kProductBlock];  // for a lower half that has no rows, and one tile row of whatever its parts hold
        float* lower = rows > kTile ? y + kTile * p.outputs : spare;
        const int64_t apart = sizeof(float) * p.outputs;
        if (from == 0) {
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
        } else {
          _tile_loadd(0, y, apart);
          _tile_loadd(1, y + kTile, apart);
          _tile_loadd(2, lower, apart);
          _tile_loadd(3, lower + kTile, apart);
        }
        for (int64_t j = from; j < to; ++j, w += 2 * kWords) {
          _tile_loadd(6, w, kRowBytes);
          _tile_loadd(7, w + kWords, kRowBytes);
          for (int64_t part = 0; part < kParts; ++part, x += 2 * kWords) {
            _tile_loadd(4, x, kRowBytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, x + kWords, kRowBytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          }
        }
        _tile_stored(0, y, apart);
        _tile_stored(1, y + kTile, apart);
        _tile_stored(2, lower, apart);
        _tile_stored(3, lower + kTile, apart);
      }
    }
  }
  _tile_release();
}

}  // namespace modrwkv::amx

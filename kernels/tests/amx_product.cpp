// The kernels of product_amx.cpp on emulated units, as one function for Python.

#include "amx_tiles.h"

#include "product_amx.cpp"

#include <vector>

extern "C" bool product(const float* x, const float* weight, float* y, int64_t rows, int64_t inputs, int64_t outputs) {
  using namespace modrwkv;
  const Product p{x, weight, y, rows, inputs, outputs};
  const int64_t words = kProductBlock * inputs / 2, blocks = (rows + kProductBlock - 1) / kProductBlock;
  std::vector<uint32_t> pieces(blocks * kPieces * words), packed(outputs / kProductBlock * words);
  for (int64_t i = 0; i < blocks; ++i) amx::split(p, i, pieces.data() + i * kPieces * words);
  for (int64_t i = 0; i < outputs / kProductBlock; ++i) {
    if (!amx::pack(p, i, packed.data() + i * words)) return false;
  }
  const int64_t half = outputs / kProductBlock / 2;
  amx::multiply(p, 0, half, pieces.data(), packed.data());
  amx::multiply(p, half, outputs / kProductBlock, pieces.data(), packed.data() + half * words);
  return true;
}

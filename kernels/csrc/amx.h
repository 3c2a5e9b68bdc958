// Products of float32 rows with matrices whose numbers are all bfloat16 numbers, on Intel's matrix units (AMX). Inputs and
// outputs come in whole blocks, rows in any number.
//
// A float32 number is the sum of three of bfloat16, and products of two bfloat16 numbers are exact in float32. So where a
// processor multiplies bfloat16 matrices and adds up in float32, three such products lose nothing but what any float32
// sum loses, and cost a fraction of one in float32.
#pragma once

#include <cstdint>

#include "product.h"

namespace modrwkv {

constexpr int64_t kProductBlock = 32;  // rows, inputs or outputs of a block
constexpr int64_t kParts = 3;          // bfloat16 numbers that make up a float32

#if defined(__x86_64__)
namespace amx {

// Whether this processor has the matrix units, and the system lets this process use them.
bool usable();

// Split a block of rows into parts, kParts * kProductBlock * inputs / 2 words.
void split(const LinearProduct&, int64_t block, uint32_t* parts);

// Pack the weights of a block of outputs, kProductBlock * inputs / 2 words; false when some are not bfloat16 numbers.
bool pack(const LinearProduct&, int64_t block, uint32_t* packed);

// Multiply all rows, in `parts`, with the weights of blocks [begin, end) of outputs, in `packed`.
void multiply(const LinearProduct&, int64_t begin, int64_t end, const uint32_t* parts, const uint32_t* packed);

}  // namespace amx
#endif

}  // namespace modrwkv

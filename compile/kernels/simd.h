// Sixteen lanes of everything, on every instruction set: clang splits them into what the processor has. All sums are
// written out lane by lane and in one order, so that every processor gives the same bits.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define LANES 16   // output channels of a block, keys of a block of the cache
#define GROUP 32   // columns that share a scale of activations, and at int4 one of weights
#define SUPER 8    // groups of a super-block at int4
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

typedef float f32x16 __attribute__((ext_vector_type(16), aligned(4), may_alias));
typedef int32_t i32x16 __attribute__((ext_vector_type(16), aligned(4), may_alias));
typedef uint8_t u8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
typedef uint8_t u8x8 __attribute__((ext_vector_type(8), aligned(1), may_alias));
typedef uint8_t u8x64 __attribute__((ext_vector_type(64), aligned(1), may_alias));
typedef _Float16 f16x16 __attribute__((ext_vector_type(16), aligned(2), may_alias));
typedef int32_t word __attribute__((aligned(1), may_alias));

INLINE f32x16 splat(float x) { return (f32x16)(x); }
INLINE i32x16 splat_i32(int32_t x) { return (i32x16)(x); }
INLINE f32x16 bits_f32(i32x16 x) { return __builtin_bit_cast(f32x16, x); }
INLINE i32x16 bits_i32(f32x16 x) { return __builtin_bit_cast(i32x16, x); }
INLINE f32x16 load(const void *p) { return *(const f32x16 *)p; }
INLINE f32x16 load_f16(const void *p) { return __builtin_convertvector(*(const f16x16 *)p, f32x16); }
INLINE f32x16 to_f32(i32x16 x) { return __builtin_convertvector(x, f32x16); }

// The first `count` of sixteen values, the others zero.
INLINE f32x16 load_some(const float *p, size_t count) {
  if (count >= LANES) return load(p);
  f32x16 x = splat(0);
  for (size_t i = 0; i < count; i++) x[i] = p[i];
  return x;
}

INLINE void store_some(float *p, f32x16 x, size_t count) {
  if (count >= LANES) { *(f32x16 *)p = x; return; }
  for (size_t i = 0; i < count; i++) p[i] = x[i];
}

INLINE f32x16 larger(f32x16 a, f32x16 b) { return a > b ? a : b; }
INLINE f32x16 size_of(f32x16 x) { return bits_f32(bits_i32(x) & 0x7fffffff); }

// Halves upon halves: the one order of every sum over lanes.
INLINE float sum(f32x16 x) {
  x += __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  return x[0] + x[1];
}

INLINE float largest(f32x16 x) {
  x = larger(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  x = larger(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
  x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
  return x[0] > x[1] ? x[0] : x[1];
}

INLINE int32_t sum_i32(i32x16 x) {
  int32_t total = 0;
  UNROLL for (int i = 0; i < LANES; i++) total += x[i];
  return total;
}

// Nearest integer, ties to even, of |x| < 2^22: adding 1.5 * 2^23 leaves it in the low bits.
INLINE i32x16 rounded(f32x16 x) { return bits_i32(x + 12582912.0f) - 0x4b400000; }

// e^x within 2 units in the last place; x is clamped to what f32 can hold. 2^n times a polynomial over |r| <= ln 2 / 2.
INLINE f32x16 exponential(f32x16 x) {
  x = larger(x, splat(-87.3f));
  x = x < 88.3f ? x : splat(88.3f);
  i32x16 n = rounded(x * 1.44269504f);
  f32x16 r = x - to_f32(n) * 0.693359375f;
  r = r + to_f32(n) * 2.12194440e-4f;
  f32x16 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * bits_f32((n + 127) << 23);
}

INLINE float as_float(size_t bits) { return __builtin_bit_cast(float, (uint32_t)bits); }

// 2^e, -127 < e < 128; and the least e for which that is x > 0 or more.
INLINE float power(int32_t e) { return as_float((size_t)(e + 127) << 23); }
INLINE int32_t next_power(float x) { return (int32_t)((__builtin_bit_cast(uint32_t, x) + 0x7fffff) >> 23) - 127; }

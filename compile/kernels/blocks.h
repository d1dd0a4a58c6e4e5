// Sixteen output channels of each format of weights, times up to MOST_ROWS rows of activations.
#pragma once
#include "dot.h"

// Rows of a block, TILE at a time.
#define TILES UNROLL for (int t = 0; t < rows; t += TILE)
INLINE Activations from_row(Activations x, int m) { return (Activations){row_of(x, m), x.stride, x.columns}; }
INLINE int tile_rows(int rows, int t) { return rows - t < TILE ? rows - t : TILE; }

// Block: f32 or f16 [columns][16]. Sums of a group first, then of groups: short chains, and less rounding.
#define FLOAT_BLOCK(NAME, LOAD, BYTES)                                                                                 \
  INLINE void block_##NAME(const int rows, const uint8_t *w, Activations x, f32x16 *y) {                               \
    f32x16 total[MOST_ROWS];                                                                                           \
    UNROLL for (int m = 0; m < rows; m++) total[m] = splat(0);                                                         \
    for (size_t k = 0; k < x.columns; k += GROUP, w += GROUP * LANES * BYTES) {                                        \
      const size_t end = k + GROUP < x.columns ? GROUP : x.columns - k;                                                \
      TILES {                                                                                                          \
        f32x16 a[TILE];                                                                                                \
        UNROLL for (int m = 0; m < tile_rows(rows, t); m++) a[m] = splat(0);                                           \
        for (size_t c = 0; c < end; c++) {                                                                             \
          const f32x16 b = LOAD(w + c * LANES * BYTES);                                                                \
          fetch(w + c * LANES * BYTES);                                                                                \
          UNROLL for (int m = 0; m < tile_rows(rows, t); m++) a[m] += b * splat(((const float *)row_of(x, t + m))[k + c]); \
        }                                                                                                              \
        UNROLL for (int m = 0; m < tile_rows(rows, t); m++) total[t + m] += a[m];                                      \
      }                                                                                                                \
    }                                                                                                                  \
    UNROLL for (int m = 0; m < rows; m++) y[m] = total[m];                                                             \
  }
FLOAT_BLOCK(f32, load, 4)
FLOAT_BLOCK(f16, load_f16, 2)

// What comes of the sums of a group: of int8 times the scale of these activations; of int4, whose weights have `scale` and
// `low`, see `Rounded`.
INLINE void add_int8_group(f32x16 *total, i32x16 sums, const Rounded *q) { *total += to_f32(sums) * splat(q->scale); }
INLINE void add_int4_group(f32x16 *total, i32x16 sums, f32x16 scale, f32x16 low, const Rounded *q) {
  *total += (bits_f32(sums) - splat(q->whole)) * scale;
  *total -= low * splat(q->scaled_sum);
}

// Block: f32 scale [16], then u8 [columns / 4][16][4], each byte a weight plus 128.
INLINE void block_int8(const int rows, const uint8_t *w, Activations x, f32x16 *y) {
  const f32x16 scale = load(w);
  f32x16 total[MOST_ROWS];
  const Rounded *q[MOST_ROWS];
  UNROLL for (int m = 0; m < rows; m++) total[m] = splat(0);
  rounded_groups(rows, q, x, 0);
  w += 64;
  for (size_t g = 0; g < x.columns / GROUP; g++, w += GROUP * LANES, next_groups(rows, q)) TILES {
    i32x16 a[TILE];
    dot_int8(tile_rows(rows, t), a, w, q + t);
    UNROLL for (int m = 0; m < tile_rows(rows, t); m++) add_int8_group(total + t + m, a[m], q[t + m]);
  }
  UNROLL for (int m = 0; m < rows; m++) y[m] = total[m] * scale;
}

// The six bits of scale s and of low m of a group, in FACTORS bytes: s of each channel with the upper two bits of m above
// it, then the lower four of m of channels 0 to 7, with those of channels 8 to 15 above them.
#define FACTORS 24
INLINE f32x16 scale_factors(const uint8_t *p) { return __builtin_convertvector(*(const u8x16 *)p & 63, f32x16); }
INLINE f32x16 low_factors(const uint8_t *p) {
  const u8x8 rest = *(const u8x8 *)(p + LANES), even = rest & 15, odd = rest >> 4;
  const u8x16 lower = __builtin_shufflevector(even, odd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_convertvector(lower | (*(const u8x16 *)p >> 6 << 4), f32x16);
}

// Block: super-blocks of up to 8 groups: f16 d [16], f16 dmin [16], then by group its factors (padded to whole 64 bytes),
// then by group 4 x [16][4] bytes: the low nibble is column 8 i + j, the high one column 8 i + 4 + j.
INLINE size_t factor_bytes(size_t groups) { return (groups * FACTORS + 63) / 64 * 64; }
INLINE void block_int4(const int rows, const uint8_t *w, Activations x, f32x16 *y) {
  const size_t groups = x.columns / GROUP;
  f32x16 total[MOST_ROWS];
  const Rounded *q[MOST_ROWS];
  UNROLL for (int m = 0; m < rows; m++) total[m] = splat(0);
  rounded_groups(rows, q, x, 0);
  for (size_t first = 0; first < groups; first += SUPER) {
    const size_t end = first + SUPER < groups ? first + SUPER : groups;
    const f32x16 d = load_f16(w), dmin = load_f16(w + 32);
    const uint8_t *factors = w + 64;
    w = factors + factor_bytes(end - first);
    for (size_t g = first; g < end; g++, factors += FACTORS, w += GROUP / 2 * LANES, next_groups(rows, q)) {
      const f32x16 s = scale_factors(factors) * d, low = low_factors(factors) * dmin;
      TILES {
        i32x16 a[TILE];
        dot_int4(tile_rows(rows, t), a, w, q + t);
        UNROLL for (int m = 0; m < tile_rows(rows, t); m++) add_int4_group(total + t + m, a[m], s, low, q[t + m]);
      }
    }
  }
  UNROLL for (int m = 0; m < rows; m++) y[m] = total[m];
}

INLINE size_t bytes_f32(size_t columns) { return columns * 64; }
INLINE size_t bytes_f16(size_t columns) { return columns * 32; }
INLINE size_t bytes_int8(size_t columns) { return 64 + columns * 16; }
INLINE size_t bytes_int4(size_t columns) {
  const size_t groups = columns / GROUP, rest = groups % SUPER;
  return groups * 256 + groups / SUPER * (64 + factor_bytes(SUPER)) + (rest ? 64 + factor_bytes(rest) : 0);
}
INLINE size_t stride_f32(size_t columns) { return columns * 4; }
INLINE size_t stride_f16(size_t columns) { return columns * 4; }
INLINE size_t stride_int8(size_t columns) { return quantised_stride(columns); }
INLINE size_t stride_int4(size_t columns) { return quantised_stride(columns); }

// Where group g of `groups` of a block of int4 lies.
typedef struct { const uint8_t *d, *factors, *nibbles; } Int4Group;
INLINE Int4Group int4_group(const uint8_t *w, size_t groups, size_t g) {
  const size_t first = g / SUPER * SUPER, count = groups - first < SUPER ? groups - first : SUPER;
  const uint8_t *d = w + bytes_int4(first * GROUP), *factors = d + 64;
  return (Int4Group){d, factors + (g - first) * FACTORS, factors + factor_bytes(count) + (g - first) * GROUP / 2 * LANES};
}

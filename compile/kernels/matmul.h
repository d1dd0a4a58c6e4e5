// Weights times activations, every weight read once for all rows of a call.
#pragma once
#include "tiles.h"

// `rows` as a constant: each case is a kernel of its own, which keeps its sums in registers. `again`: a call before this one
// has read these weights, for other rows; tiles ask for none then.
#define MOST_f32 MOST_ROWS
#define MOST_f16 MOST_ROWS
#define TILES_f32
#define TILES_f16
#define CASE(FORMAT, rows) case rows: block_##FORMAT(rows, w, x, y); return;
#if MOST_ROWS == 8
#define MORE_CASES(FORMAT) CASE(FORMAT, 5) CASE(FORMAT, 6) CASE(FORMAT, 7) CASE(FORMAT, 8)
#else
#define MORE_CASES(FORMAT)
#endif
#define BLOCK_ROWS(FORMAT)                                                                                             \
  static __attribute__((noinline)) void rows_##FORMAT(int rows, const uint8_t *w, int again, Activations x,           \
                                                      f32x16 *y) {                                                     \
    (void)again;                                                                                                       \
    switch (rows) { CASE(FORMAT, 1) CASE(FORMAT, 2) CASE(FORMAT, 3) CASE(FORMAT, 4) MORE_CASES(FORMAT) TILES_##FORMAT }\
  }
BLOCK_ROWS(f32)
BLOCK_ROWS(f16)
BLOCK_ROWS(int8)
BLOCK_ROWS(int4)

INLINE f32x16 silu(f32x16 x) { return x / (1.0f + exponential(-x)); }
INLINE f32x16 gelu(f32x16 x) {
  const f32x16 inner = 1.5957691216f * (x + 0.044715f * x * x * x);  // 2 sqrt(2 / pi): tanh from one exponential
  return x - x / (1.0f + exponential(inner));
}

// One workgroup: blocks [part * chunk, (part + 1) * chunk) of `channels` output channels, rows [from, rows).
#define MATMUL(FORMAT, NAME, PARAMETERS, TWO, FINISH)                                                                  \
  void matmul_##FORMAT##_##NAME(const uint8_t *x, const uint8_t *w, PARAMETERS float *out, size_t rows,                \
                                size_t channels, size_t columns, size_t chunk, size_t part) {                          \
    const size_t size = bytes_##FORMAT(columns), stride = stride_##FORMAT(columns), from = 0;                          \
    MATMUL_LOOP(FORMAT, TWO, FINISH)                                                                                   \
  }
#define MATMUL_LOOP(FORMAT, TWO, FINISH)                                                                               \
  const size_t blocks = (channels + LANES - 1) / LANES;                                                                \
  const size_t end = (part + 1) * chunk < blocks ? (part + 1) * chunk : blocks;                                        \
  for (size_t b = part * chunk; b < end; b++)                                                                          \
    for (size_t m = from; m < rows; m += MOST_##FORMAT) {                                                              \
      const int some = rows - m < MOST_##FORMAT ? (int)(rows - m) : MOST_##FORMAT;                                     \
      const Activations some_x = {x + m * stride, stride, columns};                                                    \
      const size_t c = b * LANES, lanes = channels - c;                                                                \
      f32x16 y[MOST_##FORMAT], z[MOST_##FORMAT];                                                                       \
      rows_##FORMAT(some, w + b * size, m > from, some_x, y);                                                          \
      if (TWO) rows_##FORMAT(some, w + (blocks + b) * size, m > from, some_x, z);                                      \
      for (int i = 0; i < some; i++) {                                                                                 \
        float *o = out + (m + i) * channels + c;                                                                       \
        FINISH                                                                                                         \
      }                                                                                                                \
    }

#define MATMULS(FORMAT)                                                                                                \
  MATMUL(FORMAT, store, , 0, store_some(o, y[i], lanes);)                                                              \
  MATMUL(FORMAT, bias, const float *bias COMMA, 0, store_some(o, y[i] + load_some(bias + c, lanes), lanes);)           \
  MATMUL(FORMAT, add, , 0, store_some(o, load_some(o, lanes) + y[i], lanes);)                                          \
  MATMUL(FORMAT, silu, , 1, store_some(o, silu(y[i]) * z[i], lanes);)                                                  \
  MATMUL(FORMAT, gelu, , 1, store_some(o, gelu(y[i]) * z[i], lanes);)                                                  \
  void matmul_##FORMAT##_from(const uint8_t *x, const uint8_t *w, const int32_t *span, float *out, size_t rows,        \
                              size_t channels, size_t columns, size_t chunk, size_t part) {                            \
    const size_t size = bytes_##FORMAT(columns), stride = stride_##FORMAT(columns), from = (size_t)span[1];            \
    MATMUL_LOOP(FORMAT, 0, store_some(o, y[i], lanes);)                                                                \
  }
#define COMMA ,

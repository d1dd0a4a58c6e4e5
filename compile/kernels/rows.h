// What is done to one row at a time: embedding, norms, rounding to bytes, choice of a token.
#pragma once
#include "matmul.h"

INLINE float root_mean_square_factor(const float *x, size_t columns, float epsilon) {
  f32x16 squares = splat(0);
  for (size_t k = 0; k < columns; k += LANES) {
    const f32x16 v = load_some(x + k, columns - k);
    squares += v * v;
  }
  return 1.0f / __builtin_sqrtf(sum(squares) / (float)columns + epsilon);
}

// In each lane the sum of its four: of eight columns 0, 1, 4 and 5 are one four, 2, 3, 6 and 7 the other.
INLINE f32x16 of_four(f32x16 x) {
  x += __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  return x + __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
}

// Columns k to k + 31 of x * g; g may be null, and what lies behind `columns` is zero.
typedef struct { f32x16 half[2]; } Group;
INLINE Group group_at(const float *x, const float *g, size_t k, size_t columns) {
  Group v;
  UNROLL for (size_t h = 0; h < 2; h++) {
    const size_t at = k + h * LANES, left = at < columns ? columns - at : 0;
    v.half[h] = load_some(x + at, left);
    if (g) v.half[h] *= load_some(g + at, left);
  }
  return v;
}

// The sum of what is stored. What is no number is rounded to some byte, and every processor makes the same of that.
INLINE int32_t store_rounded(Group v, float inverse, uint8_t *q) {
  i32x16 counted = splat_i32(0);
  UNROLL for (int h = 0; h < 2; h++) {
    const i32x16 r = rounded(v.half[h] * splat(inverse));
    *(u8x16 *)(q + h * LANES) = __builtin_convertvector(r, u8x16);
    counted += r << 24 >> 24;
  }
  return sum_i32(counted);
}

// For weights of int8; `factor` is left to the scale. Of four columns that meet in one 16-bit sum, those of one sign share
// 126 steps, which rounding makes 128 at most, and 255 * 128 fits. Four are seldom large and of one sign at once: of 8
// bits that costs normal values 0.8, an outlier among small ones next to nothing.
#define STEPS 126
INLINE void round_int8(const float *x, const float *g, float factor, uint8_t *q, size_t columns, size_t padded) {
  Rounded *group = (Rounded *)q;
  for (size_t k = 0; k < padded; k += GROUP, group++) {
    const Group v = group_at(x, g, k, columns);
    f32x16 shared[2];
    UNROLL for (int h = 0; h < 2; h++) {
      shared[h] = larger(of_four(larger(v.half[h], splat(0))), of_four(larger(-v.half[h], splat(0))));
    }
    const float most = largest(larger(shared[0], shared[1]));
    group->start = -128 * store_rounded(v, most > 1e-10f ? STEPS / most : 0.0f, (uint8_t *)group->bytes);
    group->scale = most * (1.0f / STEPS) * factor;
  }
}

// For weights of int4, whose sums have room for whole bytes. A scale is a power of two, which costs half a bit
// and spares sums a conversion, see `Rounded`: where two units do all products, those of eight rows wait for these.
#define HIGH 64  // scales are 2^-HIGH to 2^(HIGH - 1): what is multiplied by them stays well inside of floats
INLINE void round_int4(const float *x, const float *g, float factor, uint8_t *q, size_t columns, size_t padded) {
  Rounded *group = (Rounded *)q;
  for (size_t k = 0; k < padded; k += GROUP, group++) {
    const Group v = group_at(x, g, k, columns);
    const float most = largest(larger(size_of(v.half[0]), size_of(v.half[1])));
    const int32_t up = next_power(most * factor * (1.0f / 127)), e = up < -HIGH ? -HIGH : up >= HIGH ? HIGH - 1 : up;
    group->whole = WHOLE * power(e);
    group->scaled_sum = (float)store_rounded(v, factor * power(-e), (uint8_t *)group->bytes) * power(e);
  }
}

#define ROUND(FORMAT)                                                                                                  \
  void quantise_##FORMAT(const float *x, uint8_t *q, size_t columns, size_t padded, size_t row) {                      \
    round_##FORMAT(x + row * columns, NULL, 1.0f, q + row * quantised_stride(padded), columns, padded);                \
  }                                                                                                                    \
  void norm_quantise_##FORMAT(const float *x, const float *g, uint8_t *q, size_t columns, size_t padded,               \
                              size_t epsilon, size_t row) {                                                            \
    x += row * columns;                                                                                                \
    const float factor = root_mean_square_factor(x, columns, as_float(epsilon));                                       \
    round_##FORMAT(x, g, factor, q + row * quantised_stride(padded), columns, padded);                                 \
  }
ROUND(int8)
ROUND(int4)

void norm(const float *x, const float *g, float *y, size_t columns, size_t epsilon, size_t row) {
  x += row * columns;
  const float factor = root_mean_square_factor(x, columns, as_float(epsilon));
  for (size_t k = 0; k < columns; k += LANES) {
    const size_t left = columns - k;
    store_some(y + row * columns + k, load_some(x + k, left) * splat(factor) * load_some(g + k, left), left);
  }
}

// out += the norm of y: a residual whose branch ends in a norm.
void norm_add(const float *y, const float *g, float *out, size_t columns, size_t epsilon, size_t row) {
  y += row * columns;
  const float factor = root_mean_square_factor(y, columns, as_float(epsilon));
  for (size_t k = 0; k < columns; k += LANES) {
    const size_t left = columns - k;
    float *o = out + row * columns + k;
    store_some(o, load_some(o, left) + load_some(y + k, left) * splat(factor) * load_some(g + k, left), left);
  }
}

// An id that the table does not have reads row 0: a kernel has no way to complain. Every pass begins here.
#define EMBED(FORMAT, VALUE)                                                                                           \
  void embed_##FORMAT(const int32_t *ids, const uint8_t *w, float *out, size_t vocabulary, size_t columns,             \
                      size_t padded, size_t factor, size_t row) {                                                      \
    const size_t id = (uint32_t)ids[row] < vocabulary ? (size_t)ids[row] : 0, lane = id % LANES;                       \
    const uint8_t *block = w + id / LANES * bytes_##FORMAT(padded);                                                    \
    if (row == 0) ask_for_tiles();                                                                                     \
    for (size_t k = 0; k < columns; k++) out[row * columns + k] = (VALUE) * as_float(factor);                          \
  }
EMBED(f32, ((const float *)block)[k * LANES + lane])
EMBED(f16, (float)((const _Float16 *)block)[k * LANES + lane])
EMBED(int8, (float)((int)block[64 + k / 4 * 64 + lane * 4 + k % 4] - 128) * ((const float *)block)[lane])

// The first largest logit of a row.
void argmax(const float *logits, const int32_t *span, int32_t *ids, size_t vocabulary, size_t row) {
  if ((int32_t)row < span[1]) return;
  const float *x = logits + row * vocabulary;
  f32x16 most = splat(-__builtin_inff());
  for (size_t i = 0; i < vocabulary; i += LANES) {
    const size_t left = vocabulary - i;
    most = larger(left >= LANES ? load(x + i) : larger(load_some(x + i, left), splat(x[i])), most);
  }
  const float wanted = largest(most);
  size_t id = 0;
  while (id + 1 < vocabulary && x[id] != wanted) id++;
  ids[row] = x[id] == wanted ? (int32_t)id : 0;
}

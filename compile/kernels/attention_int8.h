// Attention over keys and values in bytes: products of `dot_int8`, whose weights they are, with queries and softmax weights
// as its rows of activations.
#pragma once
#include "softmax.h"

#define STRETCH_COLUMNS (STRETCH * LANES)
#define ROW_BYTES (LARGEST_HEAD / GROUP * sizeof(Rounded))  // of the largest head, or a stretch, as activations
_Static_assert(ROW_BYTES % 64 == 0 && LARGEST_HEAD >= STRETCH_COLUMNS, "");

// Rows of activations, one for each row of a workgroup.
typedef struct { _Alignas(64) uint8_t bytes[ROWS_AT_ONCE][ROW_BYTES]; } RoundedRows;

// Or compilers would keep every word of every query spread over a register of its own, for both, and run out of them.
#define READ_AGAIN __asm__ volatile("" ::: "memory")

// Scores of a block of sixteen keys for `count` rows.
INLINE void score_int8(const int count, const uint8_t *block, Activations q, f32x16 *s) {
  UNROLL for (int m = 0; m < count; m++) s[m] = splat(0);
  for (size_t g = 0; g < q.columns / GROUP; g++, block += KEY_BYTES) {
    i32x16 a[TILE];
    const Rounded *of[TILE];
    rounded_groups(count, of, q, g);
    dot_int8(count, a, block + 4 * LANES, of);
    READ_AGAIN;
    UNROLL for (int m = 0; m < count; m++) a[m] = (a[m] << 8) + start_int8(of[m]);
    add_int8(count, a, block + 4 * LANES + GROUP_BYTES, of);
    UNROLL for (int m = 0; m < count; m++) {
      const f32x16 scale = load(block) * splat(of[m]->scale);
      s[m] += to_f32(a[m]) * scale;
    }
  }
}

// Adds the values of `groups` groups of positions, weighted, to sixteen columns from `d` on of what `count` rows mix.
INLINE void mix_int8(const int count, const uint8_t *values, size_t stride, size_t groups, Activations w, Row *r, size_t d) {
  f32x16 sums[TILE];
  UNROLL for (int m = 0; m < count; m++) sums[m] = load(r[m].mixed + d);
  for (size_t g = 0; g < groups; g++) {
    i32x16 a[TILE];
    const Rounded *of[TILE];
    rounded_groups(count, of, w, g);
    dot_int8(count, a, values + g * stride, of);
    UNROLL for (int m = 0; m < count; m++) sums[m] += to_f32(a[m]) * splat(of[m]->scale);
  }
  UNROLL for (int m = 0; m < count; m++) *(f32x16 *)(r[m].mixed + d) = sums[m];
}

// What positions weigh times what a step of their values is, in bytes. `values` is of the first group. What weighs next to
// nothing, by which most processors multiply slowly, weighs nothing; and what has no weight may have any scale.
#define LEAST 1e-30f
INLINE void round_weights(float *weight, const uint8_t *values, size_t stride, size_t groups, uint8_t *w) {
  for (size_t j = 0; j < groups * GROUP; j += LANES) {
    const f32x16 p = load(weight + j), scale = load(values + j / GROUP * stride + j % GROUP * 4);
    *(f32x16 *)(weight + j) = p > splat(LEAST) ? p * scale : splat(0);
  }
  round_int8(weight, NULL, 1.0f, w, groups * GROUP, STRETCH_COLUMNS);
}

#define ROWS_OF(n, DO) for (; i + (n) <= count; i += (n)) { DO(n) }
#define ALL_ROWS(DO) ROWS_OF(TILE, DO) ROWS_OF(TILE / 2, DO) ROWS_OF(1, DO)

// Adds the positions of `blocks` blocks from `at` on, whose keys and values are `k` and `v`, to `count` rows.
INLINE void take_bytes(Row *rows, size_t count, const uint8_t *k, const uint8_t *v, size_t size, size_t at, size_t blocks,
                       const RoundedRows *q) {
  f32x16 s[STRETCH][ROWS_AT_ONCE];
  RoundedRows w;
  const size_t columns = groups_of(size) * GROUP, stride = value_bytes(size), groups = groups_of(blocks * LANES);
  for (size_t b = 0; b < blocks; b++, k += columns / GROUP * KEY_BYTES) {
    size_t i = 0;
#define SCORE(n) score_int8(n, k, (Activations){q->bytes[i], ROW_BYTES, columns}, s[b] + i);
    ALL_ROWS(SCORE)
  }
  for (size_t i = 0; i < count; i++) {
    f32x16 of_row[STRETCH];
    Weights weight;
    for (size_t b = 0; b < STRETCH; b++) of_row[b] = b < blocks ? s[b][i] : splat(NEVER);
    weigh(rows + i, of_row, weight, size, at);
    round_weights(weight, v, stride, groups, w.bytes[i]);
  }
  for (size_t d = 0; d < size; d += LANES) {
    const uint8_t *of_columns = v + 4 * GROUP + d / LANES * GROUP_BYTES;
    size_t i = 0;
#define MIX(n) mix_int8(n, of_columns, stride, groups, (Activations){w.bytes[i], ROW_BYTES, STRETCH_COLUMNS}, rows + i, d);
    ALL_ROWS(MIX)
  }
}

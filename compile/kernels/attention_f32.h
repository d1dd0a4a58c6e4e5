// Attention over keys and values in f32.
//
// A position always lies in the same place of the same block and stretch of blocks, so a row's sums have one order at any
// width.
#pragma once
#include "softmax.h"

#define CHAINS 8         // sums in flight of one score
#define SCORED 4         // rows that are scored at once
#define MIXED 2          // rows that are mixed at once
#ifdef __AVX512F__
#define IN_FLIGHT 8      // vectors that registers hold while keys go by
#define WIDE 4           // vectors of each row that are mixed at once
#else
#define IN_FLIGHT 4
#define WIDE 2
#endif

// Scores of sixteen keys for each of `count` rows, `chains` sums of each in flight.
INLINE void score(const Row *rows, const float *block, size_t size, f32x16 *s, const int count, const int chains) {
  f32x16 a[SCORED][CHAINS];
  const size_t whole = size / CHAINS * CHAINS;
  for (int c = 0; c < CHAINS; c += chains) {
    f32x16 flying[SCORED][CHAINS];
    UNROLL for (int m = 0; m < count; m++) UNROLL for (int i = 0; i < chains; i++) flying[m][i] = splat(0);
    for (size_t d = (size_t)c; d < whole; d += CHAINS)
      UNROLL for (int i = 0; i < chains; i++) {
        const f32x16 k = load(block + (d + i) * LANES);
        UNROLL for (int m = 0; m < count; m++) flying[m][i] += splat(rows[m].q[d + i]) * k;
      }
    UNROLL for (int m = 0; m < count; m++) UNROLL for (int i = 0; i < chains; i++) a[m][c + i] = flying[m][i];
  }
  UNROLL for (int m = 0; m < count; m++) {
    for (size_t d = whole; d < size; d++) a[m][0] += splat(rows[m].q[d]) * load(block + d * LANES);
    s[m] = ((a[m][0] + a[m][1]) + (a[m][2] + a[m][3])) + ((a[m][4] + a[m][5]) + (a[m][6] + a[m][7]));
  }
}

// Adds values [from, to) of a block, weighted, to WIDE vectors of what each of `rows` rows mixes.
INLINE void mix(Row *r, const Weights *weight, const float *v, size_t size, size_t d, size_t from, size_t to,
                const int rows) {
  f32x16 a[MIXED][WIDE];
  UNROLL for (int m = 0; m < rows; m++)
    UNROLL for (int i = 0; i < WIDE; i++) a[m][i] = load(r[m].mixed + d + i * LANES);
  for (size_t j = from; j < to; j++)
    UNROLL for (int i = 0; i < WIDE; i++) {
      const f32x16 value = load(v + j * size + d + i * LANES);
      UNROLL for (int m = 0; m < rows; m++) a[m][i] += splat(weight[m][j]) * value;
    }
  UNROLL for (int m = 0; m < rows; m++)
    UNROLL for (int i = 0; i < WIDE; i++) *(f32x16 *)(r[m].mixed + d + i * LANES) = a[m][i];
}

// Of sixteen positions from `at` on, how many lie before a row's end.
INLINE size_t before_end(const Row *r, size_t at) {
  const size_t left = r->end > at ? r->end - at : 0;
  return left < LANES ? left : LANES;
}

// Adds the values of positions [at, at + 16) to what `rows` rows mix: what lies beyond a row's end is not read for it.
INLINE void mix_block(Row *r, const Weights *weight, const float *v, size_t size, size_t at, const int rows) {
  size_t all = LANES, d = 0;
  UNROLL for (int m = 0; m < rows; m++) all = before_end(r + m, at) < all ? before_end(r + m, at) : all;
  for (; d + WIDE * LANES <= size; d += WIDE * LANES)
    if (all == LANES) mix(r, weight, v, size, d, 0, LANES, rows);
    else {
      mix(r, weight, v, size, d, 0, all, rows);
      UNROLL for (int m = 0; m < rows; m++) mix(r + m, weight + m, v, size, d, all, before_end(r + m, at), 1);
    }
  for (; d < size; d += LANES)
    UNROLL for (int m = 0; m < rows; m++) {
      f32x16 a = load(r[m].mixed + d);
      const size_t count = before_end(r + m, at);
      for (size_t j = 0; j < count; j++) a += splat(weight[m][j]) * load_some(v + j * size + d, size - d);
      *(f32x16 *)(r[m].mixed + d) = a;
    }
}

// Keys and values of the block after this one and of the next stretch's are fetched while this one's keys are scored.
INLINE void fetch_blocks(const float *k, const float *v, size_t size) {
  for (size_t i = 0; i < LANES * size; i += LANES) {
    __builtin_prefetch(k + LANES * size + i);
    __builtin_prefetch(k + STRETCH * LANES * size + i, 0, 2);
    __builtin_prefetch(v + STRETCH * LANES * size + i, 0, 2);
  }
}

// Adds the positions of `blocks` blocks from `at` on, whose keys and values are `k` and `v`, to `count` rows.
INLINE void take_floats(Row *rows, size_t count, const float *k, const float *v, size_t size, size_t at,
                         size_t blocks) {
  f32x16 s[ROWS_AT_ONCE][STRETCH];
  Weights weight[ROWS_AT_ONCE];
  for (size_t b = 0; b < blocks; b++, k += LANES * size) {
    fetch_blocks(k, v + b * LANES * size, size);
    size_t i = 0;
    for (; i + SCORED <= count; i += SCORED) {
      f32x16 scored[SCORED];
      score(rows + i, k, size, scored, SCORED, IN_FLIGHT / SCORED);
      UNROLL for (int m = 0; m < SCORED; m++) s[i + m][b] = scored[m];
    }
    for (; i < count; i++) score(rows + i, k, size, &s[i][b], 1, IN_FLIGHT);
  }
  for (size_t i = 0; i < count; i++) {
    for (size_t b = blocks; b < STRETCH; b++) s[i][b] = splat(NEVER);
    weigh(rows + i, s[i], weight[i], size, at);
  }
  for (size_t b = 0; b < blocks; b++, v += LANES * size) {
    const Weights *const of_block = (const Weights *)(weight[0] + b * LANES);
    size_t i = 0;
    for (; i + MIXED <= count; i += MIXED) mix_block(rows + i, of_block + i, v, size, at + b * LANES, MIXED);
    for (; i < count; i++) mix_block(rows + i, of_block + i, v, size, at + b * LANES, 1);
  }
}

// Keys and values: written into the caches in place, read as far as they are filled.
//
// Keys [layers, kv_heads, capacity / 16, head_size, 16], so that sixteen keys are scored at once; values [layers,
// kv_heads, capacity, head_size]. A position always lies in the same place of the same block and stretch of blocks, so a
// row's sums have one order at any width.
#pragma once
#include "simd.h"

#define LARGEST_HEAD 256
#define ROWS_AT_ONCE 16  // most rows of a workgroup, of heads that share keys: a block of these is read once for all
#define CHAINS 8         // sums in flight of one score
#define SCORED 4         // rows that are scored at once
#define STRETCH 4        // blocks of keys whose scores meet in one step of a softmax
#define MIXED 2          // rows that are mixed at once
#ifdef __AVX512F__
#define IN_FLIGHT 8      // vectors that registers hold while keys go by
#define WIDE 4           // vectors of each row that are mixed at once
#else
#define IN_FLIGHT 4
#define WIDE 2
#endif
#define NEVER -1e30f     // finite: a row of infinities would make NaN

typedef struct { size_t heads, kv_heads, size, capacity, layer; } Heads;

INLINE size_t cache_of(Heads h, size_t head) { return (h.layer * h.kv_heads + head) * h.capacity * h.size; }

INLINE void rotate(const float *x, const float *cosine, const float *sine, float factor, float *y, size_t size) {
  for (size_t d = 0; d < size; d++) {
    const float other = x[d < size / 2 ? d + size / 2 : d - size / 2];
    y[d] = (x[d] * cosine[d] + other * sine[d]) * factor;
  }
}

// One workgroup a head: queries are turned in place, keys and values go to the cache.
INLINE void rope(float *qkv, const float *q_norm, const float *k_norm, const float *cosine, const float *sine,
                 float *keys, float *values, const int32_t *span, Heads h, size_t rows, float factor, float epsilon,
                 size_t head) {
  const size_t all = h.heads + 2 * h.kv_heads, kv = head - h.heads;
  for (size_t m = 0; m < rows; m++) {
    float *x = qkv + (m * all + head) * h.size, turned[LARGEST_HEAD];
    const size_t at = (size_t)span[0] + m;
    if (head >= h.heads + h.kv_heads) {
      float *v = values + cache_of(h, kv - h.kv_heads) + at * h.size;
      for (size_t d = 0; d < h.size; d++) v[d] = x[d];
      continue;
    }
    const float *g = head < h.heads ? q_norm : k_norm;
    if (g) {
      const float inverse = root_mean_square_factor(x, h.size, epsilon);
      for (size_t d = 0; d < h.size; d++) x[d] = x[d] * inverse * g[d];
    }
    rotate(x, cosine + at * h.size, sine + at * h.size, head < h.heads ? factor : 1.0f, turned, h.size);
    if (head < h.heads) {
      for (size_t d = 0; d < h.size; d++) x[d] = turned[d];
    } else {
      float *k = keys + cache_of(h, kv) + at / LANES * LANES * h.size + at % LANES;
      for (size_t d = 0; d < h.size; d++) k[d * LANES] = turned[d];
    }
  }
}

void rope_store(float *qkv, const float *cosine, const float *sine, float *keys, float *values, const int32_t *span,
                size_t rows, size_t heads, size_t kv_heads, size_t size, size_t capacity, size_t layer, size_t factor,
                size_t head) {
  const Heads h = {heads, kv_heads, size, capacity, layer};
  rope(qkv, NULL, NULL, cosine, sine, keys, values, span, h, rows, as_float(factor), 0, head);
}

void rope_norm_store(float *qkv, const float *q_norm, const float *k_norm, const float *cosine, const float *sine,
                     float *keys, float *values, const int32_t *span, size_t rows, size_t heads, size_t kv_heads,
                     size_t size, size_t capacity, size_t layer, size_t factor, size_t epsilon, size_t head) {
  const Heads h = {heads, kv_heads, size, capacity, layer};
  rope(qkv, q_norm, k_norm, cosine, sine, keys, values, span, h, rows, as_float(factor), as_float(epsilon), head);
}

// A row of queries of one head: it sees positions [first, end), and holds a softmax in progress.
typedef struct {
  const float *q;
  float *out;
  size_t first, end;
  float most, total, mixed[LARGEST_HEAD];
} Row;

typedef float Weights[STRETCH * LANES];

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

// What positions of a stretch from `at` on, which scored `s`, weigh in a row; what it mixed before shrinks to match.
INLINE void weigh(Row *r, f32x16 *s, float *weight, size_t size, size_t at) {
  const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  i32x16 seen[STRETCH];
  f32x16 high = splat(NEVER), total = splat(0);
  UNROLL for (int b = 0; b < STRETCH; b++) {
    const i32x16 place = lane + (int32_t)(at + (size_t)b * LANES);
    seen[b] = (place >= (int32_t)r->first) & (place < (int32_t)r->end);
    high = larger(seen[b] ? s[b] : splat(NEVER), high);
  }
  const float most = largest(high), now = most > r->most ? most : r->most;
  UNROLL for (int b = 0; b < STRETCH; b++) {
    const f32x16 p = bits_f32(bits_i32(exponential((seen[b] ? s[b] : splat(NEVER)) - splat(now))) & seen[b]);
    *(f32x16 *)(weight + b * LANES) = p;
    total += p;
  }
  if (now != r->most) {
    const float shrink = exponential(splat(r->most - now))[0];
    r->total *= shrink;
    for (size_t d = 0; d < size; d += LANES) *(f32x16 *)(r->mixed + d) = load(r->mixed + d) * splat(shrink);
  }
  r->total += sum(total);
  r->most = now;
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
INLINE void take_stretch(Row *rows, size_t count, const float *k, const float *v, size_t size, size_t at,
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

// One workgroup: `share` rows, ROWS_AT_ONCE at most, of the heads that share keys and values. `window` is how many tokens
// a row sees, itself included; 0 is all.
void attention(const float *qkv, const float *keys, const float *values, const int32_t *span, float *out, size_t rows,
               size_t heads, size_t kv_heads, size_t size, size_t capacity, size_t layer, size_t window, size_t share,
               size_t part) {
  const Heads h = {heads, kv_heads, size, capacity, layer};
  const size_t kv = part % kv_heads, from = part / kv_heads * share, sharing = heads / kv_heads;
  const size_t count = rows * sharing - from < share ? rows * sharing - from : share;
  const float *const k = keys + cache_of(h, kv), *const v = values + cache_of(h, kv);
  Row of[ROWS_AT_ONCE];
  for (size_t i = 0; i < count; i++) {
    const size_t row = (from + i) / sharing, head = kv * sharing + (from + i) % sharing;
    const size_t end = (size_t)span[0] + row + 1;
    of[i].q = qkv + (row * (heads + 2 * kv_heads) + head) * size;
    of[i].out = out + (row * heads + head) * size;
    of[i].first = window && end > window ? end - window : 0;
    of[i].end = end;
    of[i].most = NEVER;
    of[i].total = 0;
    for (size_t d = 0; d < size; d += LANES) *(f32x16 *)(of[i].mixed + d) = splat(0);
  }
  const size_t end = of[count - 1].end;
  for (size_t at = of[0].first / (STRETCH * LANES) * (STRETCH * LANES); at < end; at += STRETCH * LANES) {
    const size_t left = (end - at + LANES - 1) / LANES;
    take_stretch(of, count, k + at * size, v + at * size, size, at, left < STRETCH ? left : STRETCH);
  }
  for (size_t i = 0; i < count; i++)
    for (size_t d = 0; d < size; d++) of[i].out[d] = of[i].mixed[d] / of[i].total;
}

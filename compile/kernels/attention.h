// Keys and values: written into the caches in place, read as far as they are filled.
//
// Keys [layers, kv_heads, capacity / 16, head_size, 16], so that sixteen keys are scored at once; values [layers,
// kv_heads, capacity, head_size]. A position always lies in the same block, so a row's sums have one order at any width.
#pragma once
#include "simd.h"

#define LARGEST_HEAD 256
#define ROWS_AT_ONCE 8   // rows of a workgroup: a block of keys stays in the first cache for all of them
#define CHAINS 8         // sums in flight of one score
#define WIDE 4           // vectors that are mixed at once
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

typedef struct { float most, total, mixed[LARGEST_HEAD]; } Running;

INLINE f32x16 scores(const float *q, const float *block, size_t size) {
  f32x16 a[CHAINS];
  UNROLL for (int c = 0; c < CHAINS; c++) a[c] = splat(0);
  size_t d = 0;
  for (; d + CHAINS <= size; d += CHAINS)
    UNROLL for (int c = 0; c < CHAINS; c++) a[c] += splat(q[d + c]) * load(block + (d + c) * LANES);
  for (; d < size; d++) a[0] += splat(q[d]) * load(block + d * LANES);
  return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
}

// Shrinks WIDE vectors of what was mixed so far and adds `count` weighted values to them.
INLINE void mix(float *mixed, const float *weight, const float *v, size_t size, float shrink, const size_t count) {
  f32x16 a[WIDE];
  UNROLL for (int i = 0; i < WIDE; i++) a[i] = load(mixed + i * LANES) * splat(shrink);
  for (size_t j = 0; j < count; j++)
    UNROLL for (int i = 0; i < WIDE; i++) a[i] += splat(weight[j]) * load(v + j * size + i * LANES);
  UNROLL for (int i = 0; i < WIDE; i++) *(f32x16 *)(mixed + i * LANES) = a[i];
}

// Adds positions [16 b, 16 b + 16), of which the row sees [first, end), to a softmax in progress.
INLINE void take_block(Running *r, const float *q, const float *block, const float *v, size_t size, size_t at,
                       size_t first, size_t end) {
  const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, place = lane + (int32_t)at;
  const i32x16 seen = (place >= (int32_t)first) & (place < (int32_t)end);
  f32x16 s = scores(q, block, size);
  s = seen ? s : splat(NEVER);
  const float most = largest(s), now = most > r->most ? most : r->most;
  const f32x16 p = bits_f32(bits_i32(exponential(s - splat(now))) & seen);
  const float shrink = now == r->most ? 1.0f : exponential(splat(r->most - now))[0];
  const size_t count = end - at < LANES ? end - at : LANES;
  float weight[LANES];
  *(f32x16 *)weight = p;
  r->total = r->total * shrink + sum(p);
  r->most = now;
  size_t d = 0;
  for (; d + WIDE * LANES <= size; d += WIDE * LANES)
    if (count == LANES) mix(r->mixed + d, weight, v + d, size, shrink, LANES);
    else mix(r->mixed + d, weight, v + d, size, shrink, count);
  for (; d < size; d += LANES) {
    f32x16 a = load(r->mixed + d) * splat(shrink);
    for (size_t j = 0; j < count; j++) a += splat(weight[j]) * load_some(v + j * size + d, size - d);
    *(f32x16 *)(r->mixed + d) = a;
  }
}

// One workgroup: ROWS_AT_ONCE rows of one head. `window` is how many tokens a row sees, itself included; 0 is all.
void attention(const float *qkv, const float *keys, const float *values, const int32_t *span, float *out, size_t rows,
               size_t heads, size_t kv_heads, size_t size, size_t capacity, size_t layer, size_t window, size_t part) {
  const Heads h = {heads, kv_heads, size, capacity, layer};
  const size_t head = part % heads, from = part / heads * ROWS_AT_ONCE, all = heads + 2 * kv_heads;
  const size_t count = rows - from < ROWS_AT_ONCE ? rows - from : ROWS_AT_ONCE, position = (size_t)span[0];
  const size_t cache = cache_of(h, head / (heads / kv_heads)), last = position + from + count;
  const size_t oldest = position + from + 1, start = window && oldest > window ? (oldest - window) / LANES * LANES : 0;
  Running running[ROWS_AT_ONCE];
  for (size_t m = 0; m < count; m++) {
    running[m].most = NEVER;
    running[m].total = 0;
    for (size_t d = 0; d < size; d += LANES) *(f32x16 *)(running[m].mixed + d) = splat(0);
  }
  for (size_t at = start; at < last; at += LANES)
    for (size_t m = 0; m < count; m++) {
      const size_t end = position + from + m + 1, first = window && end > window ? end - window : 0;
      if (at < end && at + LANES > first)
        take_block(running + m, qkv + ((from + m) * all + head) * size, keys + cache + at * size,
                   values + cache + at * size, size, at, first, end);
    }
  for (size_t m = 0; m < count; m++)
    for (size_t d = 0; d < size; d++) out[((from + m) * heads + head) * size + d] = running[m].mixed[d] / running[m].total;
}

// Keys and values: written into the caches in place.
//
// Of float weights: keys f32 [layers, kv_heads, capacity / 16, head_size, 16], so that sixteen keys are scored at once;
// values f32 [layers, kv_heads, capacity, head_size].
//
// Of integer weights, what `dot_int8` multiplies, a scale for what meets in one sum. Keys, whose groups of columns are
// spread as those of queries are, in two bytes [layers, kv_heads, capacity / 16, groups of columns]: f32 scale [16], then
// groups of `block_int8` whose output channels are the keys, of high bytes and of low ones. Values [layers, kv_heads,
// groups of positions]: f32 scale [32], then [head_size / 16] groups whose columns are the positions. What nobody has
// written may be read, but no row has anything of it: scores of it are dropped, and values of it weigh nothing.
#pragma once
#include "rows.h"

#define LARGEST_HEAD 256

typedef struct { size_t heads, kv_heads, size, capacity, layer; } Heads;

INLINE size_t groups_of(size_t columns) { return (columns + GROUP - 1) / GROUP; }
INLINE size_t blocks_of(size_t columns) { return (columns + LANES - 1) / LANES; }
#define GROUP_BYTES (GROUP * LANES)
#define KEY_BYTES (4 * LANES + 2 * GROUP_BYTES)  // of sixteen keys and a group of columns
INLINE size_t value_bytes(size_t size) { return 4 * GROUP + blocks_of(size) * GROUP_BYTES; }  // of a group of positions

INLINE size_t head_of(Heads h, size_t head) { return h.layer * h.kv_heads + head; }
INLINE float *floats_of(void *cache, Heads h, size_t head) { return (float *)cache + head_of(h, head) * h.capacity * h.size; }
INLINE uint8_t *keys_of(void *cache, Heads h, size_t head) {
  return (uint8_t *)cache + head_of(h, head) * blocks_of(h.capacity) * groups_of(h.size) * KEY_BYTES;
}
INLINE uint8_t *values_of(void *cache, Heads h, size_t head) {
  return (uint8_t *)cache + head_of(h, head) * groups_of(h.capacity) * value_bytes(h.size);
}

// Of a key 127 * 256 either way, of a value 127.
#define KEY_STEPS 32512
#define VALUE_STEPS 127
INLINE float steps_of(float most, float steps) { return most > 1e-30f ? steps / most : 0.0f; }
INLINE float largest_of(Group v) { return largest(larger(size_of(v.half[0]), size_of(v.half[1]))); }

// Sums and differences of all columns of a group: 32^(1/2) times an orthogonal transformation, of the two sides of a product
// together 32 times. It leaves no column much larger than others, as those of some models' keys are by far, which would
// take all steps. From QuaRot (arXiv 2404.00456).
INLINE f32x16 spread_lanes(f32x16 x) {
  const f32x16 one = splat(1);
  const f32x16 s1 = __builtin_shufflevector(one, -one, 0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31);
  const f32x16 s2 = __builtin_shufflevector(one, -one, 0, 1, 18, 19, 4, 5, 22, 23, 8, 9, 26, 27, 12, 13, 30, 31);
  const f32x16 s4 = __builtin_shufflevector(one, -one, 0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31);
  const f32x16 s8 = __builtin_shufflevector(one, -one, 0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31);
  x = x * s1 + __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  x = x * s2 + __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  x = x * s4 + __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  return x * s8 + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}
INLINE Group spread_columns(const float *x, size_t d, size_t size) {
  const Group v = group_at(x, NULL, d, size);
  const f32x16 a = spread_lanes(v.half[0]), b = spread_lanes(v.half[1]);
  return (Group){{a + b, a - b}};
}

// A query as a row of activations for keys of so many columns.
INLINE void round_query(const float *q, uint8_t *row, size_t size) {
  float spread[LARGEST_HEAD];
  for (size_t d = 0; d < size; d += GROUP) {
    const Group v = spread_columns(q, d, size);
    UNROLL for (int i = 0; i < 2; i++) *(f32x16 *)(spread + d + i * LANES) = v.half[i];
  }
  round_int8(spread, NULL, 1.0f / GROUP, row, groups_of(size) * GROUP, groups_of(size) * GROUP);
}

// Four columns of a key meet in a word, words of sixteen keys side by side.
INLINE void keep_key(const float *k, uint8_t *keys, size_t at, size_t size) {
  uint8_t *block = keys + at / LANES * groups_of(size) * KEY_BYTES;
  for (size_t d = 0; d < size; d += GROUP, block += KEY_BYTES) {
    const Group v = spread_columns(k, d, size);
    const float most = largest_of(v), steps = steps_of(most, KEY_STEPS);
    ((float *)block)[at % LANES] = most * (1.0f / KEY_STEPS);
    word *high = (word *)(block + 4 * LANES) + at % LANES, *low = high + GROUP_BYTES / 4;
    for (size_t h = 0; h < 2; h++) {
      const i32x16 whole = rounded(v.half[h] * splat(steps)), upper = (whole + 128) >> 8;
      const u8x16 of_high = __builtin_convertvector(upper + 128, u8x16);
      const u8x16 of_low = __builtin_convertvector(whole - (upper << 8) + 128, u8x16);
      for (size_t i = 0; i < 4; i++) {
        high[(h * 4 + i) * LANES] = ((const word *)&of_high)[i];
        low[(h * 4 + i) * LANES] = ((const word *)&of_low)[i];
      }
    }
  }
}

// Four positions of a column meet in a word, words of sixteen columns side by side.
INLINE void keep_value(const float *v, uint8_t *values, size_t at, size_t size) {
  uint8_t *group = values + at / GROUP * value_bytes(size), bytes[LARGEST_HEAD];
  float most = 0;
  for (size_t d = 0; d < size; d += GROUP) {
    const float here = largest_of(group_at(v, NULL, d, size));
    most = here > most ? here : most;
  }
  ((float *)group)[at % GROUP] = most * (1.0f / VALUE_STEPS);
  for (size_t d = 0; d < size; d += GROUP) store_rounded(group_at(v, NULL, d, size), steps_of(most, VALUE_STEPS), bytes + d);
  uint8_t *place = group + 4 * GROUP + at % GROUP / 4 * 4 * LANES + at % 4;
  for (size_t d = 0; d < size; d++) place[d / LANES * GROUP_BYTES + d % LANES * 4] = bytes[d] ^ 0x80;
}

INLINE void rotate(const float *x, const float *cosine, const float *sine, float factor, float *y, size_t size) {
  for (size_t d = 0; d < size; d++) {
    const float other = x[d < size / 2 ? d + size / 2 : d - size / 2];
    y[d] = (x[d] * cosine[d] + other * sine[d]) * factor;
  }
}

// One workgroup a head: queries are turned in place, keys and values go to the cache, if `in_bytes` in bytes.
INLINE void rope(float *qkv, const float *q_norm, const float *k_norm, const float *cosine, const float *sine,
                 void *keys, void *values, const int32_t *span, Heads h, size_t rows, float factor, float epsilon,
                 size_t head, const int in_bytes) {
  const size_t all = h.heads + 2 * h.kv_heads, kv = head - h.heads;
  for (size_t m = 0; m < rows; m++) {
    float *x = qkv + (m * all + head) * h.size, turned[LARGEST_HEAD];
    const size_t at = (size_t)span[0] + m;
    if (head >= h.heads + h.kv_heads) {
      if (in_bytes) keep_value(x, values_of(values, h, kv - h.kv_heads), at, h.size);
      else for (size_t d = 0; d < h.size; d++) floats_of(values, h, kv - h.kv_heads)[at * h.size + d] = x[d];
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
    } else if (in_bytes) {
      keep_key(turned, keys_of(keys, h, kv), at, h.size);
    } else {
      float *k = floats_of(keys, h, kv) + at / LANES * LANES * h.size + at % LANES;
      for (size_t d = 0; d < h.size; d++) k[d * LANES] = turned[d];
    }
  }
}

#define ROPE(NAME, IN_BYTES)                                                                                           \
  void rope_store_##NAME(float *qkv, const float *cosine, const float *sine, void *keys, void *values,                 \
                         const int32_t *span, size_t rows, size_t heads, size_t kv_heads, size_t size,                 \
                         size_t capacity, size_t layer, size_t factor, size_t head) {                                  \
    const Heads h = {heads, kv_heads, size, capacity, layer};                                                          \
    rope(qkv, NULL, NULL, cosine, sine, keys, values, span, h, rows, as_float(factor), 0, head, IN_BYTES);             \
  }                                                                                                                    \
  void rope_norm_store_##NAME(float *qkv, const float *q_norm, const float *k_norm, const float *cosine,               \
                              const float *sine, void *keys, void *values, const int32_t *span, size_t rows,           \
                              size_t heads, size_t kv_heads, size_t size, size_t capacity, size_t layer,               \
                              size_t factor, size_t epsilon, size_t head) {                                            \
    const Heads h = {heads, kv_heads, size, capacity, layer};                                                          \
    rope(qkv, q_norm, k_norm, cosine, sine, keys, values, span, h, rows, as_float(factor), as_float(epsilon), head,    \
         IN_BYTES);                                                                                                    \
  }
ROPE(f32, 0)
ROPE(int8, 1)

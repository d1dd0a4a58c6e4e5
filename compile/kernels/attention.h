// One call for a layer's attention: rows of heads that share keys and values, stretch by stretch of the filled cache.
#pragma once
#include "attention_f32.h"
#include "attention_int8.h"

INLINE void begin_row(Row *r, const float *qkv, float *out, const int32_t *span, Heads h, size_t window, size_t row,
                      size_t head) {
  const size_t end = (size_t)span[0] + row + 1;
  r->q = qkv + (row * (h.heads + 2 * h.kv_heads) + head) * h.size;
  r->out = out + (row * h.heads + head) * h.size;
  r->first = window && end > window ? end - window : 0;
  r->end = end;
  r->most = NEVER;
  r->total = 0;
  for (size_t d = 0; d < h.size; d += LANES) *(f32x16 *)(r->mixed + d) = splat(0);
}

// One workgroup: `share` rows, ROWS_AT_ONCE at most, of the heads that share keys and values. `window` is how many tokens
// a row sees, itself included; 0 is all.
INLINE void attend(const float *qkv, void *keys, void *values, const int32_t *span, float *out, size_t rows, Heads h,
                   size_t window, size_t share, size_t part, const int in_bytes) {
  const size_t kv = part % h.kv_heads, from = part / h.kv_heads * share, sharing = h.heads / h.kv_heads, size = h.size;
  const size_t count = rows * sharing - from < share ? rows * sharing - from : share;
  Row of[ROWS_AT_ONCE];
  RoundedRows q;
  for (size_t i = 0; i < count; i++) {
    begin_row(of + i, qkv, out, span, h, window, (from + i) / sharing, kv * sharing + (from + i) % sharing);
    if (in_bytes) round_query(of[i].q, q.bytes[i], size);
  }
  const size_t end = of[count - 1].end, step = STRETCH * LANES;
  for (size_t at = of[0].first / step * step; at < end; at += step) {
    const size_t left = blocks_of(end - at), blocks = left < STRETCH ? left : STRETCH;
    if (in_bytes)
      take_bytes(of, count, keys_of(keys, h, kv) + at / LANES * groups_of(size) * KEY_BYTES,
                 values_of(values, h, kv) + at / GROUP * value_bytes(size), size, at, blocks, &q);
    else
      take_floats(of, count, floats_of(keys, h, kv) + at * size, floats_of(values, h, kv) + at * size, size, at, blocks);
  }
  for (size_t i = 0; i < count; i++)
    for (size_t d = 0; d < size; d++) of[i].out[d] = of[i].mixed[d] / of[i].total;
}

#define ATTENTION(NAME, IN_BYTES)                                                                                      \
  void attention_##NAME(const float *qkv, void *keys, void *values, const int32_t *span, float *out, size_t rows,      \
                        size_t heads, size_t kv_heads, size_t size, size_t capacity, size_t layer, size_t window,      \
                        size_t share, size_t part) {                                                                   \
    const Heads h = {heads, kv_heads, size, capacity, layer};                                                          \
    attend(qkv, keys, values, span, out, rows, h, window, share, part, IN_BYTES);                                      \
  }
ATTENTION(f32, 0)
ATTENTION(int8, 1)

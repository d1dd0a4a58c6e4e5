// The head of a drafter: only those logits that its signs promise are computed.
//
// A logit is promised by the signs of its weights: their sum with the activations, times the mean size of a weight of that
// channel. Of RUN blocks of sixteen, those that promise most are computed in full, as many as their share of `choices` is;
// no other of that run can be chosen. A row chooses for itself: it gets the same bits whatever stands beside it.
#pragma once
#include "matmul.h"

#define RUN 128
#define NO_LOGIT -1e30f  // finite: infinities would make a softmax of nothing else no number
#define TAKEN (-__builtin_inff())

// A block of signs: f32 mean size [16], then by group [16][4] bytes, see `dot_bits`; a set bit is a weight of 0 or more.
INLINE size_t bytes_signs(size_t columns) { return 64 + columns * 2; }

// What comes of a group whose activations at set bits sum up to `set`: what these bring, less what the others do.
INLINE f32x16 balance_int8(i32x16 set, const Rounded *q) { return to_f32(set + set + q->start / 128) * splat(q->scale); }
INLINE f32x16 balance_int4(i32x16 set, const Rounded *q) {
  const f32x16 brought = bits_f32(start_int4(q) + set) - splat(q->whole);
  return brought + brought - splat(q->scaled_sum);
}

INLINE size_t most_promising(const float *promise, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; i++) best = promise[i] > promise[best] ? i : best;
  return best;
}

// One workgroup: a run of blocks of `channels` output channels, rows [span[1], rows).
#define SCREENED(FORMAT)                                                                                               \
  static __attribute__((noinline)) float promised_##FORMAT(const uint8_t *signs, Activations x) {                     \
    const f32x16 size = load(signs);                                                                                   \
    f32x16 total = splat(0);                                                                                           \
    signs += 64;                                                                                                       \
    for (size_t g = 0; g < x.columns / GROUP; g++, signs += 64) {                                                      \
      const Rounded *q = rounded_group(x, 0, g);                                                                       \
      total += balance_##FORMAT(dot_bits(signs, q), q);                                                                \
    }                                                                                                                  \
    return largest(total * size);                                                                                      \
  }                                                                                                                    \
  void screened_##FORMAT(const uint8_t *x, const uint8_t *w, const uint8_t *signs, const int32_t *span, float *out,    \
                         size_t rows, size_t channels, size_t columns, size_t choices, size_t part) {                  \
    const size_t blocks = (channels + LANES - 1) / LANES, first = part * RUN, stride = stride_##FORMAT(columns);       \
    const size_t count = blocks - first < RUN ? blocks - first : RUN;                                                  \
    const size_t kept = (count * choices + channels - 1) / channels;                                                   \
    for (size_t m = (size_t)span[1]; m < rows; m++) {                                                                  \
      const Activations row = {x + m * stride, stride, columns};                                                       \
      float promise[RUN], *logits = out + m * channels;                                                                \
      for (size_t i = 0; i < count; i++) {                                                                             \
        const size_t c = (first + i) * LANES;                                                                          \
        promise[i] = promised_##FORMAT(signs + (first + i) * bytes_signs(columns), row);                               \
        store_some(logits + c, splat(NO_LOGIT), channels - c);                                                         \
      }                                                                                                                \
      for (size_t k = 0; k < kept; k++) {                                                                              \
        const size_t i = most_promising(promise, count), c = (first + i) * LANES;                                      \
        f32x16 y;                                                                                                      \
        promise[i] = TAKEN;                                                                                            \
        rows_##FORMAT(1, w + (first + i) * bytes_##FORMAT(columns), 0, row, &y);                                       \
        store_some(logits + c, y, channels - c);                                                                       \
      }                                                                                                                \
    }                                                                                                                  \
  }
SCREENED(int8)
SCREENED(int4)

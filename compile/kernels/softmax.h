// The rows of a workgroup of attention, and the softmax that each has in progress.
#pragma once
#include "caches.h"

#define ROWS_AT_ONCE 16  // most rows of a workgroup, of heads that share keys: a block of these is read once for all
#define STRETCH 4        // blocks of keys whose scores meet in one step of a softmax
#define NEVER -1e30f     // finite: a row of infinities would make NaN

// A row of queries of one head: it sees positions [first, end), and holds a softmax in progress.
typedef struct {
  const float *q;
  float *out;
  size_t first, end;
  float most, total, mixed[LARGEST_HEAD];
} Row;

typedef float Weights[STRETCH * LANES];

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

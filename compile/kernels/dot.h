// Dot products of one group of columns, exact in 32 bits: sixteen output channels, several rows of activations at once.
//
// dot_int8 sets a[m] to the sum of weights times bytes of q[m], a group of row m; add_int8 adds that to a[m], but for what
// `start_int8` says that sums begin with. dot_int4, whose nibbles are unsigned, adds to what `start_int4` says. dot_bits is
// of one row, and bits: that of column 4 i + j of a group is bit i of byte j of its channel.
#pragma once
#include "simd.h"

// A row of activations is [columns] f32 for float weights, and for integer weights its groups, the last one padded: i8 [32]
// and two words behind them, so that one address finds all of a group. For int8 they are f32 scale and i32 -128 * sum. For
// int4, whose scales are powers of two, f32 WHOLE * scale and f32 scale * sum: the bits of the first, and a sum of products
// counted on from them, are those of (WHOLE + sum) * scale. No conversion, and no product with the scale.
typedef struct { const uint8_t *rows; size_t stride, columns; } Activations;
typedef struct __attribute__((may_alias)) {
  int8_t bytes[GROUP];
  union { float scale, whole; };
  union { int32_t start; float scaled_sum; };
} Rounded;
#define WHOLE 12582912.0f  // 1.5 * 2^23: there is room for 2^22 either way

INLINE const uint8_t *row_of(Activations x, int m) { return x.rows + m * x.stride; }
INLINE const Rounded *rounded_group(Activations x, int m, size_t g) { return (const Rounded *)row_of(x, m) + g; }

// The same group of so many rows, and from each the one after it. The compiler is not to see that addresses lie evenly: from
// a base and a common index, processors make two steps of every product that reads activations.
INLINE void rounded_groups(const int rows, const Rounded **q, Activations x, size_t g) {
  UNROLL for (int m = 0; m < rows; m++) q[m] = rounded_group(x, m, g);
}
INLINE void next_groups(const int rows, const Rounded **q) {
  UNROLL for (int m = 0; m < rows; m++) {
    q[m]++;
    __asm__("" : "+r"(q[m]));
  }
}

// Rows are read side by side, and a cache has few places for lines that are a multiple of 4096 bytes apart. An odd number
// of lines gives the rows of a call places of their own; of these, five above a multiple of eight was faster than one.
// row_bytes in kernel_program.py is the same.
INLINE size_t quantised_stride(size_t columns) {
  const size_t lines = (columns / GROUP * sizeof(Rounded) + 63) / 64;
  return ((lines + 2) / 8 * 8 + 5) * 64;
}

// Weights are fetched twice before their use: FAR bytes ahead into the second cache, which waits for dozens of lines at
// once, and NEAR ahead into the first, which waits for few: it would hold up the products while memory answers. FAR is
// more than a core can take in while it does, some 150 ns at 40 GB/s, and between the two lie as many lines as a second
// cache waits for, 48: with more, memory was read 5 % slower.
#define FAR 8192
#define NEAR 5120
INLINE void fetch(const uint8_t *w) {
  __builtin_prefetch(w + FAR, 0, 2);
  __builtin_prefetch(w + NEAR);
}

// Where products take nearly as long as memory does, a core with tiles has too few lines under way: what it fetches unasked
// are lines of one page, from where it was asked to. So it is asked in PAGES pages in turns, a line of each: what is read
// one after the other, permuted within that many pages, the next whole ones. Lines of factors do not ask, nor does anyone
// for the first such pages of a workgroup. Where memory alone is waited for, all that takes 1.06 times as long.
#if defined(__AMX_INT8__)
#define PAGES 8
#define PAGE_LINES 64  // of the smallest page
#define FAR_PAGES (PAGES * PAGE_LINES * 64)
#define NEAR_PAGES 3072
INLINE void fetch_pages(const uint8_t *w) {
  const uintptr_t next = (uintptr_t)w / FAR_PAGES + 1, line = (uintptr_t)w % FAR_PAGES / 64;
  __builtin_prefetch((const void *)(next * FAR_PAGES + (line / PAGES + line % PAGES * PAGE_LINES) * 64), 0, 2);
  __builtin_prefetch(w + NEAR_PAGES);
}
#else
INLINE void fetch_pages(const uint8_t *w) { fetch(w); }
#endif
INLINE void fetch_lines(const uint8_t *w, const int lines) {
  UNROLL for (int i = 0; i < lines; i++) fetch_pages(w + i * 64);
}

// From so many rows on, products of int4 take nearly as long as memory does; those of int8 only in tiles.
#define SLOW_ROWS 4

INLINE int32_t word_of(const Rounded *q, int i) { return *((const word *)q->bytes + i); }
INLINE i32x16 start_int4(const Rounded *q) { return bits_i32(splat(q->whole)); }

// MOST_ROWS read a weight once from memory, TILE of them once from the nearest cache: as many as registers hold sums for.
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
#include <immintrin.h>
#define MOST_ROWS 8
#define TILE 4
// Unrolled, int4 loads everything first and runs out of registers, and int8 gains nothing.
#define ROLLED _Pragma("clang loop unroll(disable)")
typedef struct { __m256i half[2]; } pair;
INLINE i32x16 joined(__m256i first, __m256i second) {
  const pair both = {{first, second}};
  i32x16 a;
  __builtin_memcpy_inline(&a, &both, 64);
  return a;
}

// Weights have 128 added, and so no sign. Products of four of them with activations fit 16 bits, as `round_int8`
// rounds these, and are widened together. With activations of full bytes each pair of columns needs a sign and a
// widening of its own: eight instructions for 64 products instead of five.
INLINE void add_int8(const int rows, i32x16 *a, const uint8_t *w, const Rounded *const *q) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[TILE][2];
  UNROLL for (int m = 0; m < rows; m++) __builtin_memcpy_inline(sum[m], a + m, 64);
  ROLLED for (int j = 0; j < GROUP / 8; j++, w += 128) {
    fetch(w);
    fetch(w + 64);
    __m256i b[4];
    UNROLL for (int i = 0; i < 4; i++) b[i] = _mm256_loadu_si256((const __m256i *)w + i);
    UNROLL for (int m = 0; m < rows; m++) {
      const __m256i even = _mm256_set1_epi32(word_of(q[m], 2 * j)), odd = _mm256_set1_epi32(word_of(q[m], 2 * j + 1));
      UNROLL for (int i = 0; i < 2; i++) {
        const __m256i fours = _mm256_add_epi16(_mm256_maddubs_epi16(b[i], even), _mm256_maddubs_epi16(b[2 + i], odd));
        sum[m][i] = _mm256_add_epi32(sum[m][i], _mm256_madd_epi16(fours, ones));
      }
    }
  }
  UNROLL for (int m = 0; m < rows; m++) a[m] = joined(sum[m][0], sum[m][1]);
}

// In bytes: 16 products of a nibble and a byte fit 16 bits, and that is how many of a group each word adds up.
INLINE void dot_int4(const int rows, i32x16 *a, const uint8_t *w, const Rounded *const *q) {
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sum[TILE][2];
  UNROLL for (int m = 0; m < rows; m++) sum[m][0] = sum[m][1] = _mm256_setzero_si256();
  ROLLED for (int j = 0; j < GROUP / 8; j++, w += 64) {
    fetch(w);
    __m256i first[2], second[2];
    UNROLL for (int i = 0; i < 2; i++) {
      const __m256i bytes = _mm256_loadu_si256((const __m256i *)w + i);
      first[i] = _mm256_and_si256(bytes, low), second[i] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
    }
    UNROLL for (int m = 0; m < rows; m++) {
      const __m256i even = _mm256_set1_epi32(word_of(q[m], 2 * j)), odd = _mm256_set1_epi32(word_of(q[m], 2 * j + 1));
      UNROLL for (int i = 0; i < 2; i++) {
        sum[m][i] = _mm256_add_epi16(sum[m][i], _mm256_maddubs_epi16(first[i], even));
        sum[m][i] = _mm256_add_epi16(sum[m][i], _mm256_maddubs_epi16(second[i], odd));
      }
    }
  }
  UNROLL for (int m = 0; m < rows; m++) {
    a[m] = start_int4(q[m]) + joined(_mm256_madd_epi16(sum[m][0], ones), _mm256_madd_epi16(sum[m][1], ones));
  }
}

INLINE i32x16 dot_bits(const uint8_t *w, const Rounded *q) {
  const __m256i one = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  __m256i sum[2];
  fetch(w);
  UNROLL for (int h = 0; h < 2; h++) {
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)w + h);
    sum[h] = _mm256_setzero_si256();
    UNROLL for (int i = 0; i < 8; i++) {
      const __m256i bits = _mm256_and_si256(_mm256_srli_epi16(bytes, i), one);
      sum[h] = _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(bits, _mm256_set1_epi32(word_of(q, i))));
    }
  }
  return joined(_mm256_madd_epi16(sum[0], ones), _mm256_madd_epi16(sum[1], ones));
}
#else
// dot4: each of sixteen i32 lanes adds the products of its four unsigned bytes of w with the four signed bytes of x.
// Weights of int8 are stored with 128 added. Signed hardware takes it off each byte, unsigned hardware starts below zero.
#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define MOST_ROWS 8
#define TILE 8
INLINE i32x16 dot4(i32x16 a, u8x64 w, int32_t x) {
  return (i32x16)_mm512_dpbusd_epi32((__m512i)a, (__m512i)w, _mm512_set1_epi32(x));
}
INLINE u8x64 int8_bytes(const void *p) { return *(const u8x64 *)p; }
#elif defined(__aarch64__)
#include <arm_neon.h>
#define MOST_ROWS 4
#define TILE 4
typedef struct { int32x4_t part[4]; } quad;
typedef struct { int8x16_t part[4]; } quad8;
INLINE i32x16 dot4(i32x16 a, u8x64 w, int32_t x) {
  const int8x16_t every = vreinterpretq_s8_s32(vdupq_n_s32(x));
  quad sums;
  quad8 bytes;
  __builtin_memcpy_inline(&sums, &a, 64);
  __builtin_memcpy_inline(&bytes, &w, 64);
  UNROLL for (int i = 0; i < 4; i++) {
#if defined(__ARM_FEATURE_DOTPROD)
    sums.part[i] = vdotq_s32(sums.part[i], bytes.part[i], every);
#else
    int16x8_t low = vmull_s8(vget_low_s8(bytes.part[i]), vget_low_s8(every));
    int16x8_t high = vmull_s8(vget_high_s8(bytes.part[i]), vget_high_s8(every));
    sums.part[i] = vpadalq_s16(sums.part[i], vpaddq_s16(low, high));
#endif
  }
  __builtin_memcpy_inline(&a, &sums, 64);
  return a;
}
INLINE u8x64 int8_bytes(const void *p) { return *(const u8x64 *)p ^ 0x80; }
#define SIGNED
#else
#error "no dot product for this instruction set"
#endif

INLINE void add_int8(const int rows, i32x16 *a, const uint8_t *w, const Rounded *const *q) {
  UNROLL for (int j = 0; j < GROUP / 4; j++, w += 64) {
    const u8x64 b = int8_bytes(w);
    fetch(w);
    UNROLL for (int m = 0; m < rows; m++) a[m] = dot4(a[m], b, word_of(q[m], j));
  }
}

INLINE void dot_int4(const int rows, i32x16 *a, const uint8_t *w, const Rounded *const *q) {
  UNROLL for (int m = 0; m < rows; m++) a[m] = start_int4(q[m]);
  UNROLL for (int j = 0; j < GROUP / 8; j++, w += 64) {
    const u8x64 b = *(const u8x64 *)w, even = b & 15, odd = b >> 4;
    rows >= SLOW_ROWS ? fetch_pages(w) : fetch(w);
    UNROLL for (int m = 0; m < rows; m++) a[m] = dot4(dot4(a[m], even, word_of(q[m], 2 * j)), odd, word_of(q[m], 2 * j + 1));
  }
}

INLINE i32x16 dot_bits(const uint8_t *w, const Rounded *q) {
  const u8x64 b = *(const u8x64 *)w;
  i32x16 even = splat_i32(0), odd = splat_i32(0);  // one after the other, eight products would wait for each other
  fetch(w);
  UNROLL for (int i = 0; i < 8; i += 2) {
    even = dot4(even, (b >> i) & 1, word_of(q, i));
    odd = dot4(odd, (b >> (i + 1)) & 1, word_of(q, i + 1));
  }
  return even + odd;
}
#endif

INLINE i32x16 start_int8(const Rounded *q) {
#ifdef SIGNED
  (void)q;
  return splat_i32(0);
#else
  return splat_i32(q->start);
#endif
}
INLINE void dot_int8(const int rows, i32x16 *a, const uint8_t *w, const Rounded *const *q) {
  UNROLL for (int m = 0; m < rows; m++) a[m] = start_int8(q[m]);
  add_int8(rows, a, w, q);
}

// The same for sixteen rows, where processors multiply whole tiles of bytes (AMX). Sums are exact, so that bits do not ask
// which it was. With fewer rows tiles save nothing: to store one, the only way to its sums, takes as long whatever it holds.
//
// Weights lie as the second operand wants them, [columns / 4][16][4]; rows of activations are the first.
#pragma once
#include "blocks.h"

#if defined(__AMX_INT8__)
#define MOST_int8 16
#define MOST_int4 16
#define TILES_int8 WHOLE_TILES(int8)
#define TILES_int4 WHOLE_TILES(int4)
#define WHOLE_TILES(FORMAT)                                                                                            \
  case 16: tiles_##FORMAT(w, again, x, y); return;                                                                     \
  default: rows_##FORMAT(8, w, again, x, y); rows_##FORMAT(rows - 8, w, 1, from_row(x, 8), y + 8);
#define ALL_ROWS_OF_TILES UNROLL for (int m = 0; m < 16; m++)

// Sums that tiles store, and what they load of int4, are touched AHEAD groups later: until a store has come to the cache
// nothing of it can be read.
#define AHEAD 4
#define RING 8
typedef struct { _Alignas(64) i32x16 of[RING][16]; } Sums;
typedef struct { _Alignas(64) u8x64 of[RING][GROUP / 4]; } Widened;

// What LDTILECFG reads, of each tile: bytes of a row, and rows. Tile 0 is for sums, 1 for activations, 2 for weights.
typedef struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } Shapes;
INLINE void begin_tiles(void) {
  const Shapes shapes = {.palette = 1, .bytes = {64, GROUP, 64}, .rows = {16, 16, GROUP / 4}};
  _tile_loadconfig(&shapes);
}

INLINE void sum_tiles(i32x16 *sums, const void *w, Activations x, size_t g) {
  _tile_zero(0);
  _tile_loadd(1, rounded_group(x, 0, g), x.stride);
  _tile_loadd(2, w, 4 * LANES);
  _tile_dpbsud(0, 1, 2);
  _tile_stored(0, sums, 4 * LANES);
}

INLINE void tiles_int8(const uint8_t *w, int again, Activations x, f32x16 *y) {
  const size_t groups = x.columns / GROUP;
  const f32x16 scale = load(w);
  f32x16 total[16];
  Sums sums;
  ALL_ROWS_OF_TILES total[m] = splat(0);
  begin_tiles();
  w += 64;
  for (size_t i = 0; i < groups + AHEAD; i++, w += GROUP * LANES) {
    if (i < groups) {
      if (!again) fetch_lines(w, GROUP / 4);
      sum_tiles(sums.of[i % RING], w, x, i);
    }
    if (i < AHEAD) continue;
    const size_t g = i - AHEAD;
    ALL_ROWS_OF_TILES {
      const Rounded *q = rounded_group(x, m, g);
      add_int8_group(total + m, sums.of[g % RING][m] + start_int8(q), q);
    }
  }
  _tile_release();
  ALL_ROWS_OF_TILES y[m] = total[m] * scale;
}

INLINE void widen(u8x64 *bytes, const uint8_t *nibbles) {
  UNROLL for (int j = 0; j < GROUP / 8; j++) {
    const u8x64 b = ((const u8x64 *)nibbles)[j];
    bytes[2 * j] = b & 15, bytes[2 * j + 1] = b >> 4;
  }
}

INLINE void tiles_int4(const uint8_t *w, int again, Activations x, f32x16 *y) {
  const size_t groups = x.columns / GROUP;
  f32x16 total[16];
  Widened widened;
  Sums sums;
  ALL_ROWS_OF_TILES total[m] = splat(0);
  begin_tiles();
  for (size_t i = 0; i < groups + 2 * AHEAD; i++) {
    if (i < groups) {
      const uint8_t *nibbles = int4_group(w, groups, i).nibbles;
      widen(widened.of[i % RING], nibbles);
      if (!again) fetch_lines(nibbles, GROUP / 8);
    }
    const size_t h = i - AHEAD, g = h - AHEAD;
    if (i >= AHEAD && h < groups) sum_tiles(sums.of[h % RING], widened.of[h % RING], x, h);
    if (i < 2 * AHEAD) continue;
    const Int4Group of = int4_group(w, groups, g);
    const f32x16 scale = scale_factors(of.factors) * load_f16(of.d), low = low_factors(of.factors) * load_f16(of.d + 32);
    ALL_ROWS_OF_TILES {
      const Rounded *q = rounded_group(x, m, g);
      add_int4_group(total + m, sums.of[g % RING][m] + start_int4(q), scale, low, q);
    }
  }
  _tile_release();
  ALL_ROWS_OF_TILES y[m] = total[m];
}

// No thread of a process has tiles unasked: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA) of Linux. Once is enough, and more
// often does no harm. targets/amx.py asks too, to refuse with a sentence; other programs that run this need not know.
INLINE void ask_for_tiles(void) {
  long answer = 158;
  __asm__ volatile("syscall" : "+a"(answer) : "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
}
#else
#define MOST_int8 MOST_ROWS
#define MOST_int4 MOST_ROWS
#define TILES_int8
#define TILES_int4
INLINE void ask_for_tiles(void) {}
#endif

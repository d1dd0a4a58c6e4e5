"""Kernels for AVX2 as they ship: sums fit sixteen bits whatever is multiplied, attention is by row."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paceline.compile.int4 import GROUP
from paceline.compile.kernel_calls import CACHES, object_of
from paceline.compile.kernel_program import row_bytes
from paceline.compile.packing import PACKED, SIGNS
from paceline.costmodel.caches import LANES
from paceline.targets import load_soc
from paceline.targets.instruction_sets import SETS, instruction_set
from tests.compile.clang import clang, needs_clang
from tests.compile.kernel_scheme import HIGH
from tests.compile.rounded_caches import rounded_keys, rounded_values

COLUMNS = 2 * GROUP
NO_LOGIT = np.float32(-1e30)
WHOLE = 1.5 * 2**23  # what sums for int4 are counted on from, in scales
MOST = 128  # what four activations of one sign may come to: 255 * 128 is 32640, and sixteen bits hold 32767
# Sizes that make fours full, uneven or empty, of both signs.
SIZES = st.sampled_from([0.0, 1e-12, 0.3, 0.5, 1.0, 1.5, 30.0, 1e4])
ROWS = st.lists(st.tuples(SIZES, st.booleans()), min_size=COLUMNS, max_size=COLUMNS)
EXTREMES = st.lists(st.sampled_from([-127, 0, 1, 127]), min_size=COLUMNS, max_size=COLUMNS)

CALLED = (
    *("quantise_int8", "quantise_int4", "matmul_int8_store", "matmul_int4_store"),
    *("screened_int8", "screened_int4", "attention_f32", "attention_int8", "rope_store_int8"),
)
ROUNDED = 0.08  # of normal values that are mixed, by rounded queries and weights. Seen: 0.05, of few keys
pytestmark = [pytest.mark.cpu, needs_clang]
checked = settings(max_examples=200, deadline=None, derandomize=True)
# Every four is full: each of it is rounded up to 32.
FULL, FULL_BELOW = [(1.0, False)] * COLUMNS, [(1.0, True)] * COLUMNS


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    unit = load_soc("host").unit("cpu")
    best = unit and instruction_set(unit)
    if not best or best.architecture != "x86_64":
        pytest.skip("this processor has no AVX2")
    folder = tmp_path_factory.mktemp("kernels")
    source, library = folder / "show.c", folder / "kernels.so"
    # The object hides its names from all but what it is linked to.
    source.write_text("".join(f"void {n}(void); void *at_{n}(void) {{ return (void *){n}; }}\n" for n in CALLED))
    (avx2,) = (some for some in SETS if some.name == "x86_64-avx2")
    clang("-fPIC", "-shared", "-nostdlib", str(source), str(object_of(avx2)), "-o", str(library))
    return SimpleNamespace(**{name: _function(ctypes.CDLL(str(library)), name) for name in CALLED})


def _function(library: ctypes.CDLL, name: str) -> Any:
    at = getattr(library, f"at_{name}")
    at.restype = ctypes.c_void_p
    return ctypes.CFUNCTYPE(None)(at())


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _values(row: list[tuple[float, bool]]) -> NDArray[np.float32]:
    return np.array([-size if negative else size for size, negative in row], np.float32)


def _rounded(kernels: Any, x: NDArray[np.float32], row: int = 0, *, to: str = "int8") -> NDArray[np.uint8]:
    """The last of ``row`` + 1 rows, which has its place and not a byte behind it."""
    made = np.full((row + 2) * row_bytes(COLUMNS), 0xA5, np.uint8)
    rows = np.tile(x, (row + 1, 1))
    getattr(kernels, f"quantise_{to}")(_pointer(rows), _pointer(made), *map(ctypes.c_size_t, (COLUMNS, COLUMNS, row)))
    begin, end = row * row_bytes(COLUMNS), (row + 1) * row_bytes(COLUMNS)
    assert (made[:begin] == 0xA5).all() and (made[end:] == 0xA5).all()
    return made[begin:end]


def _groups(row: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Whole numbers [groups, 32] and the two words [groups, 2] behind them."""
    groups = row[: (GROUP + 8) * (COLUMNS // GROUP)].reshape(-1, GROUP + 8)
    return groups[:, :GROUP].view(np.int8).astype(np.int64), np.ascontiguousarray(groups[:, GROUP:]).view(np.int32)


def _parts(row: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole numbers [groups, 32] and scales [groups, 1] of a row of rounded activations."""
    whole, words = _groups(row)
    return whole, words[:, :1].view(np.float32).astype(np.float64)


def _starts(row: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Where sums of products begin, by group."""
    return _groups(row)[1][:, 1]


@checked
@example(FULL)
@example(FULL_BELOW)
@given(ROWS)
def test_four_activations_of_one_sign_share_their_steps(kernels: Any, row: list[tuple[float, bool]]) -> None:
    x = _values(row)
    whole, scale = _parts(made := _rounded(kernels, x, row=7))
    assert (_starts(made) == -128 * whole.sum(1)).all()
    fours = whole.reshape(-1, 2, 2, 2).swapaxes(1, 2).reshape(-1, 4)  # k, k + 1, k + 4, k + 5
    for sign in (1, -1):
        assert np.clip(sign * fours, 0, None).sum(1).max() <= MOST
    off = np.abs(whole * scale - x.reshape(-1, GROUP).astype(np.float64))
    assert (off <= scale * 0.501 + 1e-10).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_no_number_starts_at_the_bytes_that_were_stored(kernels: Any, odd: float) -> None:
    """Or processors that take 128 off each byte would make something else of it than those that take it off the sum."""
    x = np.ones(COLUMNS, np.float32)
    x[3:40:5] = odd
    row = _rounded(kernels, x)
    assert (_starts(row) == -128 * _parts(row)[0].sum(1)).all()


@checked
@example(FULL, [127] * COLUMNS)
@example(FULL_BELOW, [127] * COLUMNS)
@example(FULL, [-127] * COLUMNS)
@given(ROWS, EXTREMES)
def test_the_largest_weights_are_multiplied_exactly(
    kernels: Any, row: list[tuple[float, bool]], weights: list[int]
) -> None:
    """All channels have the same weights, as bytes with 128 added."""
    rounded = _rounded(kernels, _values(row))
    w = np.array(weights, np.int64)
    bytes_ = np.repeat((w + 128).astype(np.uint8).reshape(-1, 1, 4), LANES, axis=1)
    block = np.concatenate([np.ones(LANES, np.float32).view(np.uint8), bytes_.ravel()])
    out = np.zeros(LANES, np.float32)
    sizes = map(ctypes.c_size_t, (1, LANES, COLUMNS, 1, 0))
    kernels.matmul_int8_store(_pointer(rounded), _pointer(block), _pointer(out), *sizes)
    whole, scale = _parts(rounded)
    terms = (whole * w.reshape(-1, GROUP)).sum(1, keepdims=True) * scale
    assert out == pytest.approx(np.full(LANES, terms.sum()), abs=1e-6 * np.abs(terms).sum() + 1e-30)


def _parts_int4(row: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Whole numbers [groups, 32], scales [groups, 1] and scaled sums [groups] of a row for weights of int4."""
    whole, words = _groups(row)
    of_whole, sums = np.moveaxis(words.view(np.float32).astype(np.float64), 1, 0)
    return whole, of_whole[:, None] / WHOLE, sums


@checked
@example(FULL)
@given(ROWS)
def test_scales_for_int4_are_the_least_powers_of_two_that_do(kernels: Any, row: list[tuple[float, bool]]) -> None:
    x = _values(row)
    whole, scale, sums = _parts_int4(_rounded(kernels, x, row=7, to="int4"))
    groups = x.reshape(-1, GROUP).astype(np.float64)
    most = np.abs(groups).max(1, keepdims=True)
    assert (np.frexp(scale)[0] == 0.5).all() and (most <= scale * 127.001).all()
    assert ((most > scale * 63.499) | (scale == 2.0**-HIGH)).all()
    assert (np.abs(whole * scale - groups) <= scale * 0.501).all()
    assert (sums == (whole * scale).sum(1)).all()


@checked
@example(FULL, [15] * COLUMNS, 63, 65504.0)
@example(FULL_BELOW, [15] * COLUMNS, 63, 1.0)
@example(FULL, [7] * COLUMNS, 0, 1.0)
@given(
    ROWS,
    st.lists(st.sampled_from([0, 1, 14, 15]), min_size=COLUMNS, max_size=COLUMNS),
    st.sampled_from([0, 1, 31, 63]),
    st.sampled_from([0.0, 6e-8, 1e-3, 1.0]),
)
def test_the_largest_nibbles_are_multiplied_exactly(
    kernels: Any, row: list[tuple[float, bool]], nibbles: list[int], factor: int, d: float
) -> None:
    """All channels have the same weights, and groups the same factors, of d and of dmin, which is half of d."""
    rounded = _rounded(kernels, _values(row), to="int4")
    w = np.array(nibbles, np.int64)
    eights = w.reshape(-1, 2, 4).astype(np.uint8)
    words = np.repeat((eights[:, 0] | eights[:, 1] << 4)[:, None], LANES, axis=1)
    halves = np.repeat(np.array([d, d / 2], np.float16), LANES)
    factors = np.repeat([[factor | factor >> 4 << 6 & 192, factor & 15 | (factor & 15) << 4]], [16, 8], axis=1)
    padded = np.pad(np.tile(factors.astype(np.uint8).ravel(), COLUMNS // GROUP), (0, 16))
    block = np.concatenate([halves.view(np.uint8), padded, words.ravel()])
    out = np.zeros(LANES, np.float32)
    kernels.matmul_int4_store(
        _pointer(rounded), _pointer(block), _pointer(out), *map(ctypes.c_size_t, (1, LANES, COLUMNS, 1, 0))
    )
    whole, scale, _ = _parts_int4(rounded)
    scales, lows = (half.astype(np.float64) * factor for half in halves[::LANES])
    terms = np.stack([(whole * w.reshape(-1, GROUP)).sum(1) * scale[:, 0] * scales, -whole.sum(1) * scale[:, 0] * lows])
    assert out == pytest.approx(np.full(LANES, terms.sum()), abs=1e-6 * np.abs(terms).sum() + 1e-30)


@pytest.mark.parametrize("name", ["int8", "int4"])
@pytest.mark.parametrize("choices", [1, 200, 2000])
def test_a_screened_head_computes_the_blocks_whose_signs_promise_most(kernels: Any, name: str, choices: int) -> None:
    channels, runs = 2100, (slice(0, 128), slice(128, 132))  # the second is short, and so is its last block
    source = np.random.default_rng(choices)
    w = source.normal(size=(channels, COLUMNS)).astype(np.float32)
    row = _rounded(kernels, source.normal(size=COLUMNS).astype(np.float32), to=name)
    (block,), (signs,) = PACKED[name].store(w).values(), SIGNS.store(w).values()
    logits = np.zeros(channels, np.float32)
    for part, _ in enumerate(runs):
        arrays = (row, block, signs, np.zeros(2, np.int32), logits)
        sizes = map(ctypes.c_size_t, (1, channels, COLUMNS, choices, part))
        getattr(kernels, f"screened_{name}")(*map(_pointer, arrays), *sizes)
    whole, scale, *_ = _parts(row) if name == "int8" else _parts_int4(row)
    promised = np.where(w >= 0, 1, -1) @ (whole * scale).ravel() * np.abs(w).mean(1)
    promise = np.pad(promised, (0, -channels % LANES)).reshape(-1, LANES).max(1)
    computed = np.pad(logits != NO_LOGIT, (0, -channels % LANES), "edge").reshape(-1, LANES)
    assert (computed.all(1) == computed.any(1)).all()
    for run in runs:
        found = computed[run, 0]
        assert found.sum() == -(-(run.stop - run.start) * choices // channels)
        assert promise[run][found].min() >= promise[run][~found].max(initial=-np.inf) - 1e-4


HEADS = st.tuples(st.integers(1, 2), st.integers(1, 5), st.sampled_from([8, 24, 32, 40, 64, 128, 256]))
CAPACITY = 240  # no whole groups of positions
UNWRITTEN = 0xFF  # bytes of which four are no number


def _caches(kept: str, keys: NDArray[np.float32], values: NDArray[np.float32], end: int) -> tuple[NDArray[Any], ...]:
    """Both as kernels have them, and what these then read; nobody has written anything from ``end`` on."""
    if kept == "int8":
        (k, keys), (v, values) = rounded_keys(keys), rounded_values(values)
        k[:, -(-end // LANES) :] = v[:, -(-end // GROUP) :] = UNWRITTEN
        of_keys = k.reshape(*k.shape[:2], -1, (4 + 2 * GROUP) * LANES)[:, end // LANES]  # groups of columns
        of_keys[..., np.tile(np.arange(LANES).repeat(4) >= end % LANES, 1 + 2 * GROUP // 4)] = UNWRITTEN
        later = np.arange(GROUP) >= end % GROUP  # four positions of a column are a word, words of sixteen columns a row
        bytes_ = np.broadcast_to(later.reshape(-1, 1, 4), (GROUP // 4, LANES, 4)).ravel()
        blocks = (v.shape[2] - 4 * GROUP) // len(bytes_)
        v[:, end // GROUP][:, np.concatenate([later.repeat(4), np.tile(bytes_, blocks)])] = UNWRITTEN
        return k, v, keys, values
    keys, values = keys.copy(), values.copy()
    keys[:, end:] = values[:, end:] = np.nan
    blocks = keys.reshape(len(keys), -1, LANES, keys.shape[2]).swapaxes(2, 3)
    return np.ascontiguousarray(blocks), values, keys, values


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kept=st.sampled_from(CACHES),
    heads=HEADS,
    rows=st.integers(1, 11),
    position=st.integers(0, 205),
    window=st.sampled_from([0, 1, 17, 70]),
)
@example(kept="f32", heads=(1, 3, 64), rows=11, position=123, window=0)
@example(kept="f32", heads=(2, 2, 32), rows=8, position=190, window=70)
@example(kept="int8", heads=(1, 3, 64), rows=11, position=123, window=0)
@example(kept="int8", heads=(2, 2, 32), rows=8, position=190, window=70)
@example(kept="int8", heads=(2, 5, 40), rows=11, position=0, window=0)
def test_attention_of_a_row_is_the_same_alone_and_among_others(
    kernels: Any, kept: str, heads: tuple[int, int, int], rows: int, position: int, window: int
) -> None:
    kv, sharing, size = heads
    source = np.random.default_rng(position)
    drawn = [source.normal(size=(kv, CAPACITY, size)).astype(np.float32) for _ in range(2)]
    # what nobody has written yet must not matter
    first, second, keys, values = _caches(kept, drawn[0], drawn[1], position + rows)
    q = (source.normal(size=(rows, kv * sharing + 2 * kv, size)) / np.sqrt(size)).astype(np.float32)

    def attended(begin: int, count: int, share: int) -> NDArray[np.float32]:
        given_, out = np.ascontiguousarray(q[begin : begin + count]), np.zeros((count, kv * sharing, size), np.float32)
        arrays = (given_, first, second, np.array([position + begin, 0], np.int32), out)
        for part in range(kv * -(-count * sharing // share)):
            sizes = (count, kv * sharing, kv, size, CAPACITY, 0, window, share, part)
            getattr(kernels, f"attention_{kept}")(*map(_pointer, arrays), *map(ctypes.c_size_t, sizes))
        return out

    together = attended(0, rows, 16)
    for row in range(rows):
        assert attended(row, 1, 8).tobytes() == together[row].tobytes()
        end = position + row + 1
        seen = slice(max(0, end - window) if window else 0, end)
        for head in range(kv * sharing):
            scores = keys[head // sharing, seen].astype(np.float64) @ q[row, head]
            weights = np.exp(scores - scores.max())
            expected = weights / weights.sum() @ values[head // sharing, seen]
            np.testing.assert_allclose(together[row, head], expected, atol=1e-4 if kept == "f32" else ROUNDED)


@pytest.mark.parametrize("size", [8, 40, 128, 256])
def test_keys_and_values_are_kept_in_bytes(kernels: Any, size: int) -> None:
    """One position of two, behind others, and nothing beside them changes; rounding may tip where a product differs."""
    kv, at, rows = 2, 45, 2
    source = np.random.default_rng(size)
    qkv = source.normal(size=(rows, 3 * kv, size)).astype(np.float32)
    qkv[0, kv + 1], qkv[1, 2 * kv] = 0, 1e-35  # nothing, and next to nothing
    keys = np.zeros((kv, CAPACITY, size), np.float32)
    values = keys.copy()
    keys[:, at : at + rows], values[:, at : at + rows] = (qkv[:, kv * n : kv * (n + 1)].swapaxes(0, 1) for n in (1, 2))
    (wanted_keys, exact_keys), (wanted_values, exact_values) = rounded_keys(keys), rounded_values(values)
    made_keys, made_values = rounded_keys(np.zeros_like(keys))[0], rounded_values(np.zeros_like(values))[0]
    cosine, sine = np.ones((CAPACITY, size), np.float32), np.zeros((CAPACITY, size), np.float32)
    arrays: list[NDArray[Any]] = [qkv, cosine, sine, made_keys, made_values, np.array([at, 0], np.int32)]
    factor = int(np.float32(1).view(np.int32))
    for head in range(3 * kv):
        sizes = (rows, kv, kv, size, CAPACITY, 0, factor, head)
        kernels.rope_store_int8(*map(_pointer, arrays), *map(ctypes.c_size_t, sizes))
    for made, wanted in ((made_keys, wanted_keys), (made_values, wanted_values)):
        assert np.abs(made.astype(int) - wanted.astype(int)).max() <= 1
        assert (made != wanted).mean() < 1e-3
    assert np.abs(exact_keys - keys).max() < 0.02 and np.abs(exact_values - values).max() < 0.02

"""Work of a forward pass against a layer counted by hand, and against 2 operations a parameter."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.costmodel import (
    Experts,
    ModelSpec,
    Work,
    attention,
    forward,
    layer,
    matmul,
    matrix_bytes,
    parameters,
)
from paceline.costmodel.memory import signs_bytes
from paceline.costmodel.traced import Program
from paceline.costmodel.work import elementwise, feed_forward, kernels_take
from paceline.targets import Dtype
from tests.specs import tiny_spec

TINY = tiny_spec()
LLAMA_3_2_3B = msgspec.structs.replace(
    TINY, name="llama-3.2-3b", layers=28, hidden=3072, heads=24, kv_heads=8, head_size=128, ffn=8192,
    vocabulary=128256, tied=True,
)  # fmt: skip
QWEN3_30B = msgspec.structs.replace(
    TINY, name="qwen3-30b-a3b", layers=48, hidden=2048, heads=32, kv_heads=4, head_size=128, vocabulary=151936,
    qk_norm=True, experts=Experts(count=128, active=8, ffn=768),
)  # fmt: skip


def test_matmul_by_hand() -> None:
    assert matmul(2, 3, 5) == Work(60, (10 + 15) * 4, 6 * 4, 1, activations=10 + 6)
    assert matmul(2, 3, 5, right_bytes=27) == Work(60, 40 + 27, 24, 1, activations=10 + 6)


def test_layer_by_hand() -> None:
    width, context = 3, 10
    # q [8, 8], k and v [4, 8], o [8, 8]; gate and up [16, 8], down [8, 16].
    projections = 2 * width * (8 * 8 + 4 * 8 + 4 * 8 + 8 * 8)
    feed = 2 * width * 3 * 16 * 8 + 5 * width * 16
    # Each of 4 heads: scores and mix of 3 tokens over 10 keys of size 2; softmax takes 5 operations a score.
    attend = 2 * (2 * width * 4 * context * 2) + 5 * width * 4 * context
    rotary, norms = 3 * width * (4 + 2) * 2, 2 * 4 * width * 8
    found = layer(TINY, width, context, "f32")
    assert found.operations == projections + feed + attend + rotary + norms
    assert found.dispatches == 4 + (3 + 1) + (2 + 1 + 1) + 1 + 2
    # Matrices take their columns and give their rows; heads are turned, the gate is applied, norms are two.
    taken_and_given = (8 + 8 + 8 + 4 + 8 + 4 + 8 + 8) + (8 + 16 + 8 + 16 + 16 + 8)
    assert found.activations == width * (taken_and_given + 2 * (4 + 2) * 2 + 2 * 16 + 2 * 2 * 8)


@given(st.integers(1, 32), st.integers(1, 200))
def test_activations_grow_with_tokens_and_not_with_what_they_look_back_on(width: int, context: int) -> None:
    one, many, back = (
        forward(TINY, width=w, context=c, precision="f32") for w, c in ((1, 1), (width, 1), (1, context))
    )
    assert many.activations == width * one.activations
    assert back.activations == one.activations


def test_kernels_make_logits_of_the_rows_that_are_asked_for() -> None:
    asked: tuple[tuple[Program, int | None], ...] = (("kernels", None), ("kernels", 1), ("cpu", 1))
    all_rows, last, traced = (
        forward(TINY, width=5, context=64, precision="int8", program=program, wanted=wanted)
        for program, wanted in asked
    )
    spared = 4 * TINY.vocabulary
    assert all_rows.logits - last.logits == spared
    assert all_rows.operations - last.operations == 2 * spared * TINY.hidden
    assert all_rows.bytes_written - last.bytes_written == 4 * spared
    assert all_rows.activations - last.activations == 4 * TINY.hidden
    assert traced == forward(TINY, width=5, context=64, precision="int8", program="cpu")


def test_shared_kv_heads_are_read_once() -> None:
    few = attention(TINY, 1, 1000)
    many = attention(msgspec.structs.replace(TINY, kv_heads=4), 1, 1000)
    assert few.operations == many.operations
    assert many.bytes_read - few.bytes_read == pytest.approx(2 * 2 * 1000 * 2 * 4)


@pytest.mark.parametrize(("spec", "billions"), [(LLAMA_3_2_3B, 3.21), (QWEN3_30B, 30.5)])
def test_parameters_are_the_published_ones(spec: ModelSpec, billions: float) -> None:
    assert parameters(spec) / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize("width", [1, 64])
def test_a_large_model_takes_two_operations_a_parameter(width: int) -> None:
    work = forward(LLAMA_3_2_3B, width=width, context=128, precision="f32")
    assert work.operations == pytest.approx(2 * parameters(LLAMA_3_2_3B) * width, rel=0.01)


def test_experts_work_on_active_parameters_and_are_read_once() -> None:
    one = forward(QWEN3_30B, width=1, context=128, precision="f32")
    assert one.operations / 2 == pytest.approx(3.0e9, rel=0.05)  # 30B-A3B: 3.3 B active, the embedding is a look-up
    wide = forward(QWEN3_30B, width=64, context=128, precision="f32")
    assert wide.bytes_read < 1.1 * 4 * parameters(QWEN3_30B)
    assert wide.operations == pytest.approx(64 * one.operations, rel=0.01)


@pytest.mark.parametrize(("precision", "calls"), [("f32", 8), ("f16", 8), ("int8", 10), ("int4", 10)])
def test_kernels_are_a_handful_of_launches_and_do_what_has_to_be_done(precision: Dtype, calls: int) -> None:
    programs: tuple[Program | None, ...] = ("kernels", None, "cpu")
    called, least, traced = (forward(TINY, width=2, context=64, precision=precision, program=p) for p in programs)
    assert called.dispatches == 2 * calls + 4 < traced.dispatches
    assert (called.operations, called.bytes) == (least.operations, least.bytes)
    assert called.operations == traced.operations and called.bytes < traced.bytes


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_screened_head_reads_its_signs_and_what_the_last_token_chooses(precision: Dtype) -> None:
    some = TINY.vocabulary // 4
    screened = msgspec.structs.replace(TINY, draft_vocabulary=some)

    def works(program: Program) -> tuple[Work, Work]:
        whole, less = (
            forward(spec, width=2, context=64, precision=precision, program=program) for spec in (TINY, screened)
        )
        return whole, less

    whole, less = works("kernels")
    stored: Dtype = "int8" if precision == "int4" and TINY.tied else precision
    head, chosen = (matrix_bytes(rows, TINY.hidden, stored) for rows in (TINY.vocabulary, some))
    assert whole.bytes_read - less.bytes_read == head - signs_bytes(TINY) - chosen
    multiplied = (
        2 * TINY.vocabulary - 3 * TINY.vocabulary - some
    )  # both rows; a bit counts three times, and is of one row
    assert whole.operations - less.operations == 2 * multiplied * TINY.hidden
    assert (2 * less.logits, less.dispatches) == (whole.logits, whole.dispatches)
    assert works("cpu")[0] == works("cpu")[1]


def test_what_is_four_bits_already_is_read_so() -> None:
    wide = msgspec.structs.replace(TINY, hidden=256, head_size=64)
    exact = msgspec.structs.replace(wide, exact_int4=("layers.0.qkv", "layers.1.o"))
    # q, k, v are 256 + 128 + 128 rows and o 256, of 256 columns: a byte each and a scale; half of it, 8 * 12 bits and 4
    cases: dict[Program, int] = {"kernels": 768 * (256 + 4 - (128 + 12 + 4)), "cpu": 0}
    for program, saved in cases.items():
        before, after = (
            forward(spec, width=1, context=64, precision="int4", program=program).bytes for spec in (wide, exact)
        )
        assert before - after == saved


def test_kernels_read_the_window_of_layers_that_have_one() -> None:
    windowed = msgspec.structs.replace(TINY, sliding_window=100, sliding_layers=(0,))

    def work(spec: ModelSpec, context: int, program: Program) -> Work:
        return forward(spec, width=3, context=context, precision="f32", program=program)

    assert work(windowed, 100, "kernels") == work(TINY, 100, "kernels")
    assert work(windowed, 1000, "cpu").bytes == work(TINY, 1000, "cpu").bytes
    read = attention(TINY, 3, 1000).bytes - attention(TINY, 3, 102).bytes
    assert work(TINY, 1000, "kernels").bytes - work(windowed, 1000, "kernels").bytes == read


def test_int8_reads_about_a_quarter() -> None:
    f32, int8 = (forward(LLAMA_3_2_3B, width=1, context=128, precision=p) for p in ("f32", "int8"))
    assert f32.operations == int8.operations
    assert int8.bytes_read / f32.bytes_read == pytest.approx(0.25, abs=0.02)


def test_int4_reads_half_of_int8_in_the_feed_forward_blocks() -> None:
    int8, int4 = (feed_forward(LLAMA_3_2_3B, 1, precision) for precision in ("int8", "int4"))
    assert int8.operations == int4.operations
    assert int4.bytes_read / int8.bytes_read == pytest.approx(0.56, abs=0.01)


@given(st.integers(1, 32), st.integers(1, 200))
def test_more_tokens_are_more_work(width: int, context: int) -> None:
    now = forward(TINY, width=width, context=context, precision="int8")
    wider = forward(TINY, width=width + 1, context=context, precision="int8")
    longer = forward(TINY, width=width, context=context + 1, precision="int8")
    assert now.dispatches == wider.dispatches == longer.dispatches
    assert wider.operations > now.operations and wider.bytes > now.bytes
    assert longer.operations > now.operations and longer.bytes > now.bytes


def test_work_adds_up() -> None:
    part = elementwise(10, operations=3)
    assert part + part == part * 2 == Work(60, 80, 80, 2, activations=40)
    assert sum([part, part], Work()) == part * 2


@pytest.mark.parametrize(
    "fields", [{"ffn": 136}, {"heads": 3, "head_size": 8}, {"kv_heads": 1, "head_size": 40}, {"head_size": 288}]
)
def test_what_kernels_do_not_take(fields: dict[str, int]) -> None:
    assert kernels_take(LLAMA_3_2_3B)
    assert not kernels_take(msgspec.structs.replace(LLAMA_3_2_3B, **fields))
    assert not kernels_take(QWEN3_30B)  # experts

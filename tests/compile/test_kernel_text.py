"""A call of a kernel is checked when it is written: wrong arguments would be wrong numbers, or worse, when it runs."""

from __future__ import annotations

import pytest

from paceline.compile.kernel_text import Builder, Value


def builder() -> tuple[Builder, Value]:
    on = Builder("step_1", {"norm": "tensor<8xf32>"})
    return on, on.argument("x", "1x8xf32")


def test_integers_in_another_order_are_refused() -> None:
    on, x = builder()
    with pytest.raises(ValueError, match="quantise_int8 takes io and"):
        on.call("rows", "quantise_int8", 1, (x, on.make("1x44xi8")), padded=32, columns=8)


def test_a_missing_array_is_refused() -> None:
    on, x = builder()
    with pytest.raises(ValueError, match="norm takes iio and"):
        on.call("norm", "norm", 1, (x, on.make("1x8xf32")), columns=8, epsilon=0)


def test_what_a_call_changes_has_a_new_name_and_what_it_reads_has_not() -> None:
    on, x = builder()
    y, g = on.make("1x8xf32"), on.weight("norm")
    on.call("norm", "norm", 1, (x, g, y), columns=8, epsilon=0)
    names = x.name, g.name, y.name
    on.call("add", "norm_add", 1, (y, g, x), columns=8, epsilon=0)
    assert (g.name, y.name) == names[1:]
    assert x.name != names[0]
    assert on.lines[-1].startswith(f"{x.name} = flow.dispatch") and on.lines[-1].endswith(f"-> ({names[0]})")


def test_a_weight_is_loaded_once() -> None:
    on, _ = builder()
    assert on.weight("norm") is on.weight("norm")
    assert sum("util.global.load" in line for line in on.lines) == 1

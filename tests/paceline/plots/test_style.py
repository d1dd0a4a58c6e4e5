"""Texts and figures as charts write them."""

from __future__ import annotations

from paceline.plots import style


def test_texts_are_shown_as_they_are() -> None:
    assert style.plain("$a_b$ \u6771\n c") == r"\$a_b\$ ? c"
    assert style.plain("x" * 50, 20, lines=1) == "x" * 18 + " …"
    assert [style.quantity(v, "s") for v in (0.0, 1.5e-3, 999.96, 2.5e-10)] == ["0 s", "1.5 ms", "1 ks", "0.25 ns"]

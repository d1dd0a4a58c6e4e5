"""Whatever the files of a bundle hold, loading and generating works or gives one of paceline's own errors.

Files are changed where their checksums do not reach: the manifest itself, what is measured and planned, and files whose
checksum in the manifest was made to fit.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from paceline import cli
from paceline.checksums import describe
from paceline.costmodel import Acceptance, Contention, Measurement, Profile, count_rounds
from paceline.costmodel.acceptance import AcceptanceFile
from paceline.documents import write_json
from paceline.errors import BundleError, PacelineError, PlanError, ProfileError
from paceline.partition import TokenIds, choose, read_bundle
from paceline.runtime import NullDevice, load
from paceline.runtime.machine import this_machine

FUZZ = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Reader = Callable[[Path], object]
# What a field may hold that nobody means: other types, sizes that no memory has, text that is none.
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**60, 2**63, 2**64, 10**400, -(10**400), 1e308, -1e308, 1e-320, 0.5),
    *(
        "",
        "x",
        "../x",
        "/etc/passwd",
        "\0",
        "x" * 10_000,
        "\ud800",
        [],
        {},
        [[]],
        [None],
        {"": None},
        ["x", -1],
        {"x": 2**60},
    ),
)


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of everything within a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def changed(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    """``document`` with ``value`` in a place; without that place where it is ..."""
    if not path:
        return value
    copied = copy.deepcopy(document)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> bytes:
    """The bytes of a JSON document with something wrong somewhere."""
    kind = draw(st.sampled_from(["value", "value", "value", "missing", "more", "bytes", "cut", "nested", "coded"]))
    whole = json.dumps(document).encode()
    if kind in ("value", "missing", "more"):
        path = draw(st.sampled_from(list(paths(document))))
        value = {"missing": ..., "more": {"unheard_of": 1}}.get(kind, draw(st.sampled_from(NASTY)))
        return json.dumps(changed(document, path, None if value is ... and not path else value)).encode()
    if kind == "bytes":
        at = draw(st.integers(0, len(whole) - 1))
        return whole[:at] + draw(st.binary(max_size=4)) + whole[at + 1 :]
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if kind == "nested":
        depth, (opening, closing) = (
            draw(st.sampled_from([100, 100_000])),
            draw(st.sampled_from([("[", "]"), ('{"a":', "}")])),
        )
        return (opening * depth + "1" + closing * draw(st.sampled_from([0, depth]))).encode()
    return draw(
        st.sampled_from(
            [
                whole.decode().encode("utf-16"),
                b"\xff" + whole,
                b"\xef\xbb\xbf" + whole,
                b"",
                b"NaN",
                b'{"schema": NaN}',
                b"\0" * 100,
            ]
        )
    )


def survives(folder: Path, name: str, data: bytes, use: Reader) -> None:
    """Use a bundle with ``data`` as one of its files; anything but a PacelineError fails the test.

    What is wrong with the file itself names it; what it says may also be refused later, in its own terms.
    """
    (folder / name).write_bytes(data)
    try:
        use(folder)
    except PacelineError as error:
        said = str(error)
        assert folder.name in said or not isinstance(error, (BundleError, PlanError, ProfileError)), said
        assert "\n" not in said.strip(), said


def generate(folder: Path) -> None:
    with load(folder, device=NullDevice()) as model:
        model.generate("hello", max_new_tokens=3).finish()


@pytest.fixture
def sound(null_bundle: Callable[..., Path]) -> Path:
    """A bundle with a plan, a profile and an acceptance file, on the null device."""
    folder = null_bundle(tokens=TokenIds(bos=0))
    bundle = read_bundle(folder)
    write_json(folder / "plan.json", choose(bundle, profile=None, alpha=0.9))
    return folder


@pytest.mark.parametrize("name", ["bundle.json", "plan.json"])
def test_manifest_and_plan(sound: Path, name: str) -> None:
    whole = (sound / name).read_bytes()
    document = json.loads(whole)

    @FUZZ
    @given(data=damaged(document))
    def check(data: bytes) -> None:
        survives(sound, name, data, generate)

    try:
        check()
    finally:
        (sound / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["profile.json", "acceptance.json"])
def test_what_was_measured(sound: Path, name: str) -> None:
    """As 'paceline plan' uses it."""
    bundle = read_bundle(sound)
    passes = tuple(
        Measurement(
            role=role, precision="f32", unit="cpu", cores=1, width=width, position=position,
            seconds=(1.0 + width / 16) * (4.0 if role == "target" else 1.0), spread=0.0, repeats=3,
        )
        for role in ("target", "drafter") for width in bundle.widths for position in (0, 64)
    )  # fmt: skip
    company = Contention(together="in turns", target="cpu", drafter="cpu", width=2, slows_target=1.2, slows_drafter=1.1)
    profile = Profile(
        bundle=bundle.digest,
        machine=this_machine(),
        context=bundle.context,
        measurements=passes,
        contention=(company,),
    )
    kept = Acceptance(counts=count_rounds([(4, 3), (4, 4), (4, 1)]), drafter="f32", target="f32", asked=4)
    write_json(sound / "profile.json", profile)
    write_json(sound / "acceptance.json", AcceptanceFile(bundle=bundle.digest, histograms=(kept,)))
    cli._register()
    page = ["plan", str(sound), "--json"]
    whole = CliRunner().invoke(cli.app, page)
    assert (whole.exit_code, json.loads(whole.stdout)["alpha_source"]) == (0, "measured on all tasks"), whole.stderr
    document = json.loads((sound / name).read_text())

    @settings(FUZZ, max_examples=50)  # each is a whole command
    @given(data=damaged(document))
    def check(data: bytes) -> None:
        (sound / name).write_bytes(data)
        result = CliRunner().invoke(cli.app, page)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        if result.exit_code:
            assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr

    check()


def test_tokenizer_whose_checksum_fits(sound: Path) -> None:
    document = json.loads((sound / "tokenizer.json").read_text())
    manifest = json.loads((sound / "bundle.json").read_text())

    def use(folder: Path) -> None:
        entry = describe(folder / "tokenizer.json")
        fitting = changed(manifest, ("files", "tokenizer.json"), {"bytes": entry.bytes, "sha256": entry.sha256})
        (folder / "bundle.json").write_text(json.dumps(fitting))
        generate(folder)

    @FUZZ
    @given(data=damaged(document))
    def check(data: bytes) -> None:
        survives(sound, "tokenizer.json", data, use)

    check()

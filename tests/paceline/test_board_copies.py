"""``--on ssh://board``: what is copied, what is not copied again, and what an interruption leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline.partition import read_bundle
from tests.paceline.desk import WEIGHTS, Desk, copied, on_board, same


def test_the_first_run_copies_and_the_next_ones_do_not(desk: Desk, sendable: Path) -> None:
    first, second = (desk("run", sendable, "hello", "--max-tokens", 8) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout and len(first.stdout) > 1
    assert copied(first) == pytest.approx(2 * WEIGHTS / 1e6, abs=0.2) and copied(second) == 0.0
    there = on_board(desk, sendable)
    assert same(sendable, there) and not list((there / ".part").iterdir())


def test_what_was_interrupted_goes_on_and_what_is_damaged_is_sent_anew(desk: Desk, sendable: Path) -> None:
    assert desk("run", sendable, "hello", "--max-tokens", 2).returncode == 0
    there, (first, second) = on_board(desk, sendable), sorted(read_bundle(sendable).weights)
    data = (sendable / first).read_bytes()
    (there / first).unlink()
    (there / ".part" / first).write_bytes(data[:2_000_000])
    resumed = desk("run", sendable, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == 1.0, resumed.stderr

    (there / first).unlink()
    (there / ".part" / first).write_bytes(b"x" + data[1:2_000_000])  # of something else
    (there / second).write_bytes(b"x" * WEIGHTS)
    (there / "tokenizer.json").write_text("{}")
    (there / "plan.json").write_text("{}")  # the desk has none
    anew = desk("run", sendable, "hello", "--max-tokens", 2)
    assert anew.returncode == 0 and copied(anew) == pytest.approx(7.0, abs=0.1), anew.stderr
    assert same(sendable, there) and not (there / "plan.json").exists()


def test_a_file_that_was_changed_under_its_old_size_and_date(desk: Desk, sendable: Path) -> None:
    """As where the board's clock was set back in between: only what the system itself notes is another."""
    assert desk("run", sendable, "hello", "--max-tokens", 2).returncode == 0
    there, name = on_board(desk, sendable), sorted(read_bundle(sendable).weights)[0]
    before = (there / name).stat()
    with (there / name).open("r+b") as file:
        file.write(b"damaged")
    os.utime(there / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = desk("run", sendable, "hello", "--max-tokens", 2)
    assert again.returncode == 0 and copied(again) == 3.0, again.stderr
    assert same(sendable, there)


def test_an_interrupted_copy_is_kept(desk: Desk, sendable: Path) -> None:
    ssh = desk.folder.parent / "bin" / "ssh"
    honest = ssh.read_text()
    rest = honest.removeprefix("#!/bin/sh\nexec ")
    ssh.write_text(f'#!/bin/sh\ncase "$*" in *"cat >>"*) head -c 2000000 | {rest};; *) {rest};; esac\n')
    cut = desk("run", sendable, "hello", "--max-tokens", 2)
    assert cut.returncode == 1 and "could not store" in cut.stderr and "goes on from there" in cut.stderr
    ssh.write_text(honest)
    resumed = desk("run", sendable, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == pytest.approx(4.0, abs=0.1), resumed.stderr
    assert same(sendable, on_board(desk, sendable))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("echo client_loop: send disconnect: Broken pipe >&2; exit 255", "Broken pipe"),
        ("kill -9 $$", "ssh ended without a word"),
    ],
)
def test_a_connection_that_is_lost_in_a_copy(desk: Desk, sendable: Path, end: str, reason: str) -> None:
    ssh = desk.folder.parent / "bin" / "ssh"
    honest = ssh.read_text()
    rest = honest.removeprefix("#!/bin/sh\nexec ").strip()
    ssh.write_text(f'#!/bin/sh\ncase "$*" in *"cat >>"*.irpa*) head -c 2000000 | {rest}; {end};; *) {rest};; esac\n')
    lost = desk("run", sendable, "hello", "--max-tokens", 2)
    sentence = f"lost the connection to {desk.address}: "
    assert lost.returncode == 1 and lost.stderr.startswith(f"error: {sentence}"), lost.stderr
    assert f"{reason}; what has arrived is kept" in lost.stderr and lost.stderr.count("\n") == 1
    ssh.write_text(honest)
    resumed = desk("run", sendable, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == pytest.approx(4.0, abs=0.1), resumed.stderr
    assert same(sendable, on_board(desk, sendable))

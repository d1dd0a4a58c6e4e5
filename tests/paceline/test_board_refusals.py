"""``--on ssh://board``: boards and words that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.board import Board, parse_board
from paceline.errors import UsageError
from tests.paceline.desk import Desk, on_board


def test_boards_that_cannot(desk: Desk, sendable: Path) -> None:
    cases = {
        "has no command": {"PACELINE_BOARD_COMMAND": "no-paceline"},
        "paceline 9.9, this is paceline": desk.stand_in("print('paceline 9.9')"),
    }
    for sentence, variables in cases.items():
        changed = Desk(folder=desk.folder, address=desk.address, environment={**desk.environment, **variables})
        said = changed("run", sendable, "hello")
        assert said.returncode == 1 and sentence in said.stderr and "Traceback" not in said.stderr, said.stderr
    assert not (on_board(desk, sendable) / "bundle.json").exists()


def test_no_room(desk: Desk, sendable: Path) -> None:
    (desk.cache / "bin").mkdir()
    (df := desk.cache / "bin" / "df").write_text("#!/bin/sh\necho /dev/x 10000 9000 1000 90% /\n")
    df.chmod(0o755)
    said = desk("run", sendable, "hello")
    assert said.returncode == 1 and "6.0 MB are missing, 1.0 MB are free" in said.stderr, said.stderr
    assert not (on_board(desk, sendable) / "bundle.json").exists()


def test_ways_not_to_reach_a_board(desk: Desk, sendable: Path) -> None:
    files = desk.folder.parent
    known = (files / "known").read_text()

    def refused() -> str:
        said = desk("run", sendable, "hello")
        assert said.returncode == 1 and said.stderr.startswith("error: cannot reach ssh://127.0.0.1:"), said.stderr
        return said.stderr

    (files / "known").write_text("")
    assert "its key is not known here; connect once with 'ssh -p " in refused()
    (files / "known").write_text(known.split()[0] + " " + (files / "user.pub").read_text())
    assert "is another than before" in refused() or "not known" in refused()
    (files / "known").write_text(known)
    (files / "user.pub").write_text("")
    assert "accepts no key of yours" in refused()
    nobody = Desk(folder=desk.folder, address="ssh://127.0.0.1:1", environment=desk.environment)
    assert "nothing listens at this port" in nobody("run", sendable, "hello").stderr
    alone = Desk(folder=desk.folder, address=desk.address, environment={**desk.environment, "PATH": "/nowhere"})
    assert "there is no ssh here" in alone("run", sendable, "hello").stderr
    (files / "bin" / "ssh").write_text("")
    alone.environment["PATH"] = str(files / "bin")
    assert "cannot be started: Exec format error" in alone("run", sendable, "hello").stderr


def test_addresses() -> None:
    assert parse_board("ssh://board") == Board(host="board")
    assert parse_board("ssh://me@a.b:22/x y/") == Board(host="a.b", user="me", port=22, folder="/x y")
    assert parse_board("ssh://[::1]:2222") == Board(host="::1", port=2222)
    for text in ("ssh://board", "ssh://me@a.b:22/x y", "ssh://[::1]:2222"):
        assert str(parse_board(text)) == text
    with pytest.raises(UsageError, match="takes no password") as refused:
        parse_board("ssh://me:secret@board")
    assert "secret" not in str(refused.value)
    for text in ("board", "ssh://", "ssh://-oProxyCommand=x", "ssh://a:0", "ssh://a:99999", "ssh://a b", "adb://1"):
        with pytest.raises(UsageError, match="expected ssh://"):
            parse_board(text)


def test_files_of_the_desk_stay(desk: Desk, sendable: Path, tmp_path: Path) -> None:
    said = desk("plan", sendable, "--acceptance", tmp_path / "x.json")
    assert said.returncode == 2 and "--acceptance names a file of this machine" in said.stderr
    pack = tmp_path / "x.tar.zst"
    pack.write_bytes(b"x")
    said = desk("run", pack, "hello")
    assert said.returncode == 2 and "unpack --other-soc" in said.stderr

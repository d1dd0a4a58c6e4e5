"""``--on ssh://board``: words, streams, signals and measurements go there and come back."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.paceline.desk import Desk, gone, on_board

# what the board has for paceline where a test looks at what comes back
STAND_IN = """
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("paceline 0.1.0")
else:
    folder = next(word for word in sys.argv if "/sent/" in word)
    digest = folder.rsplit("/", 1)[1]
    for name in ("profile", "acceptance", "plan"):
        with open(f"{folder}/{name}.json", "w") as file:
            json.dump({"bundle": digest, "made": name, "words": sys.argv[1:], "read": sys.stdin.read()}, file)
"""


def test_words_arrive_as_they_were_typed(desk: Desk, sendable: Path) -> None:
    prompt = '-- it\'s $(touch /tmp/no) `id` "ä 日"\n\\ $HOME *'
    options = ("--stop", "a 'b'", "--stop", "$x", "--max-tokens", 3, "--no-adapt", "--raw", "--temperature", "0.5")
    said = desk("run", *options, sendable, "--", prompt)
    assert said.returncode == 0, said.stderr
    (call,) = desk.calls()
    folder = str(on_board(desk, sendable))
    assert call[-3:] == ["--", folder, prompt]
    given = ["--stop=a 'b'", "--stop=$x", "--max-tokens=3", "--no-adapt", "--raw", "--temperature=0.5"]
    assert call[0] == "run" and sorted(call[1:-3]) == sorted(given)


def test_a_prompt_longer_than_a_command_line(desk: Desk, sendable: Path) -> None:
    said = desk("run", sendable, "'" * 60_000)
    assert said.returncode == 2 and "give the prompt on standard input" in said.stderr, said.stderr
    assert "has more than 16000 tokens" in desk("run", sendable, "-", typed="'" * 200_000).stderr


def test_streams_codes_and_statistics_come_through(desk: Desk, sendable: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    piped = desk("run", sendable, "--max-tokens", 4, "--json", "--stats", stats, typed="hello\n")
    assert piped.returncode == 0 and json.loads(piped.stdout) == json.loads(stats.read_text())
    assert [path.name for path in on_board(desk, sendable).glob(".*.json")] == []
    wrong = desk("run", sendable, "hello", "--map", "target=npu")
    assert wrong.returncode == 1 and "'npu'" in wrong.stderr and not wrong.stdout
    usage = desk("run", sendable, "hello", "--draft-length", "-1")
    assert usage.returncode == 2, usage.stderr


def test_measurements_come_back(desk: Desk, sendable: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "p.txt"
    prompts.write_text("ä prompt\n")
    desk.environment.update(desk.stand_in(STAND_IN))
    for page, names in (("profile", ("profile", "acceptance")), ("plan", ("plan",))):
        said = desk(page, sendable, *(("--prompts", prompts, "--budget", 1) if page == "profile" else ()))
        assert said.returncode == 0, said.stderr
        for name in names:
            document = json.loads((sendable / f"{name}.json").read_text())
            assert document["made"] == name and document["words"][0] == page
    profile = json.loads((sendable / "profile.json").read_text())
    assert profile["words"][1:3] == ["--budget=1.0", "--prompts=/dev/stdin"] and profile["read"] == "ä prompt\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_running(desk: Desk, sendable: Path, number: signal.Signals) -> None:
    (desk.cache / "slow").touch()
    words = desk.words("run", sendable, "hello", "--max-tokens", 3000, "--json")
    with subprocess.Popen(words, env=desk.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        there = desk.process()
        time.sleep(1.0)
        assert Path(f"/proc/{there}").exists()
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
    assert gone(there)


def test_a_terminal_is_one_on_the_board(desk: Desk, sendable: Path) -> None:
    (desk.cache / "slow").touch()
    terminal, end = pty.openpty()
    words = desk.words("run", sendable, "hello", "--max-tokens", 3000)
    said: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(terminal, said))
    with subprocess.Popen(words, env=desk.environment, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        reader.start()
        there = desk.process()
        time.sleep(2.0)
        os.write(terminal, b"\x03")
        code = process.wait(timeout=20)
    reader.join()
    os.close(terminal)
    text = b"".join(said)
    assert code == 130 and text.rstrip().endswith(b"interrupted") and b"tokens/s" in text, text
    assert gone(there)


def _read_all(terminal: int, said: list[bytes]) -> None:
    with suppress(OSError):  # how Linux says that the other end is closed
        while block := os.read(terminal, 4096):
            said.append(block)

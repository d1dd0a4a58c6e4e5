"""A board that is an sshd of this machine with keys of its own, and paceline on the null device there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from paceline.checksums import describe
from paceline.partition import read_bundle

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
WEIGHTS = 3_000_000
# what the board's paceline is: passes take no time, or 20 ms with SLOW; it says which arguments it was given
PROGRAM = """
import json, os, sys
from paceline import cli
from paceline.runtime import NullDevice, load_model
seconds = 0.02 if os.path.exists(os.environ["PACELINE_CACHE"] + "/slow") else 0.0
load_model.open_device = lambda unit, **rest: NullDevice(unit=unit, agreement=0.8, seconds=seconds)
with open(os.environ["PACELINE_CACHE"] + "/calls", "a") as file:
    file.write(json.dumps([os.getpid(), *sys.argv[1:]]) + "\\n")
cli.main()
"""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """How a test calls paceline, and the board that it may reach."""

    folder: Path
    address: str
    environment: dict[str, str]

    @property
    def cache(self) -> Path:
        return self.folder / "board"

    def words(self, page: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "paceline", page, "--on", self.address, *map(str, arguments)]

    def __call__(self, page: str, *arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
        words = self.words(page, *arguments)
        return subprocess.run(
            words, env=self.environment, input=typed, capture_output=True, text=True, check=False, timeout=300
        )

    def calls(self) -> list[list[str]]:
        """Arguments that the board's paceline was called with, but for its version."""
        calls = [json.loads(line)[1:] for line in (self.cache / "calls").read_text().splitlines()]
        return [call for call in calls if call != ["--version"]]

    def process(self) -> int:
        """The process of the last call, once there is one."""
        path = self.cache / "calls"
        wait(lambda: path.exists() and bool(self.calls()), lambda: "the board was not called")
        return int(json.loads(path.read_text().splitlines()[-1])[0])

    def stand_in(self, code: str) -> dict[str, str]:
        (self.folder / "stand_in.py").write_text(code)
        return {"PACELINE_BOARD_COMMAND": shlex.join((sys.executable, str(self.folder / "stand_in.py")))}


@contextmanager
def reachable(tmp_path: Path) -> Iterator[Desk]:
    """A board that keeps bundles in a folder whose name needs quotes, until the end of the test."""
    if SSHD is None or not all(map(shutil.which, ("ssh", "ssh-keygen"))):
        pytest.skip("no sshd to reach a board with: sh scripts/need sshd openssh-server")
    folder = tmp_path / "a desk's"
    (cache := folder / "board").mkdir(parents=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    public = (tmp_path / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public}")
    (tmp_path / "config").write_text(
        f"Host *\n  IdentityFile {tmp_path}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {tmp_path}/known\n"
        "  GlobalKnownHostsFile /dev/null\n"
    )
    # ssh looks for its files in the user's home, wherever HOME is
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    ssh.chmod(0o755)
    (folder / "program.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PACELINE_BOARD_COMMAND": shlex.join((sys.executable, str(folder / "program.py"))),
    }
    with _sshd(tmp_path, port, cache):
        yield Desk(folder=folder, address=f"ssh://127.0.0.1:{port}", environment=environment)


@contextmanager
def _sshd(folder: Path, port: int, board: Path) -> Iterator[None]:
    assert SSHD
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f'UsePAM no\nStrictModes no\nPidFile none\nSetEnv "PACELINE_CACHE={board}" "PATH={board}/bin:/usr/bin:/bin"\n'
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait(lambda: _listens(port), lambda: (folder / "log").read_text())
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(happened: Callable[[], bool], why: Callable[[], str] = str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


def with_weights(folder: Path) -> Path:
    """The bundle, with weights that take a while to copy."""
    names = read_bundle(folder).weights
    for name in sorted(names):
        (folder / name).write_bytes(os.urandom(WEIGHTS))
    document = json.loads((folder / "bundle.json").read_text())
    for name in names:
        entry = describe(folder / name)
        document["files"][name] = {"bytes": entry.bytes, "sha256": entry.sha256}
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


def copied(said: subprocess.CompletedProcess[str]) -> float:
    """MB that went to the board."""
    found = re.search(r"copied ([0-9.]+) MB", said.stderr)
    return float(found[1]) if found else 0.0


def on_board(desk: Desk, bundle: Path) -> Path:
    return desk.cache / "sent" / read_bundle(bundle).digest


def same(left: Path, right: Path) -> bool:
    files = [path.name for path in left.iterdir() if path.is_file()]
    return all((left / name).read_bytes() == (right / name).read_bytes() for name in files)


def gone(process: int) -> bool:
    wait(lambda: not Path(f"/proc/{process}").exists(), lambda: f"{process} runs on", seconds=10.0)
    return True

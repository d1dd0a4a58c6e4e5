"""``--on ssh://board``: a board is an sshd of this machine with keys of its own, and paceline on the null device."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from paceline.board import Board, parse_board
from paceline.errors import UsageError
from paceline.files import describe
from paceline.partition import TokenIds, read_bundle

MakeBundle = Callable[..., Path]
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
        _wait(lambda: path.exists() and bool(self.calls()), lambda: "the board was not called")
        return int(json.loads(path.read_text().splitlines()[-1])[0])

    def stand_in(self, code: str) -> dict[str, str]:
        (self.folder / "stand_in.py").write_text(code)
        return {"PACELINE_BOARD_COMMAND": shlex.join((sys.executable, str(self.folder / "stand_in.py")))}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
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
        _wait(lambda: _listens(port), lambda: (folder / "log").read_text())
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(happened: Callable[[], bool], why: Callable[[], str] = str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


@pytest.fixture
def bundle(null_bundle: MakeBundle) -> Path:
    """Endless text, and weights that take a while to copy."""
    folder = null_bundle(tokens=TokenIds(bos=0), context=4000)
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
    _wait(lambda: not Path(f"/proc/{process}").exists(), lambda: f"{process} runs on", seconds=10.0)
    return True


def test_the_first_run_copies_and_the_next_ones_do_not(desk: Desk, bundle: Path) -> None:
    first, second = (desk("run", bundle, "hello", "--max-tokens", 8) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout and len(first.stdout) > 1
    assert copied(first) == pytest.approx(2 * WEIGHTS / 1e6, abs=0.2) and copied(second) == 0.0
    there = on_board(desk, bundle)
    assert same(bundle, there) and not list((there / ".part").iterdir())


def test_what_was_interrupted_goes_on_and_what_is_damaged_is_sent_anew(desk: Desk, bundle: Path) -> None:
    assert desk("run", bundle, "hello", "--max-tokens", 2).returncode == 0
    there, (first, second) = on_board(desk, bundle), sorted(read_bundle(bundle).weights)
    data = (bundle / first).read_bytes()
    (there / first).unlink()
    (there / ".part" / first).write_bytes(data[:2_000_000])
    resumed = desk("run", bundle, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == 1.0, resumed.stderr

    (there / first).unlink()
    (there / ".part" / first).write_bytes(b"x" + data[1:2_000_000])  # of something else
    (there / second).write_bytes(b"x" * WEIGHTS)
    (there / "tokenizer.json").write_text("{}")
    (there / "plan.json").write_text("{}")  # the desk has none
    anew = desk("run", bundle, "hello", "--max-tokens", 2)
    assert anew.returncode == 0 and copied(anew) == pytest.approx(7.0, abs=0.1), anew.stderr
    assert same(bundle, there) and not (there / "plan.json").exists()


def test_a_file_that_was_changed_under_its_old_size_and_date(desk: Desk, bundle: Path) -> None:
    """As where the board's clock was set back in between: only what the system itself notes is another."""
    assert desk("run", bundle, "hello", "--max-tokens", 2).returncode == 0
    there, name = on_board(desk, bundle), sorted(read_bundle(bundle).weights)[0]
    before = (there / name).stat()
    with (there / name).open("r+b") as file:
        file.write(b"damaged")
    os.utime(there / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = desk("run", bundle, "hello", "--max-tokens", 2)
    assert again.returncode == 0 and copied(again) == 3.0, again.stderr
    assert same(bundle, there)


def test_an_interrupted_copy_is_kept(desk: Desk, bundle: Path) -> None:
    ssh = desk.folder.parent / "bin" / "ssh"
    honest = ssh.read_text()
    rest = honest.removeprefix("#!/bin/sh\nexec ")
    ssh.write_text(f'#!/bin/sh\ncase "$*" in *"cat >>"*) head -c 2000000 | {rest};; *) {rest};; esac\n')
    cut = desk("run", bundle, "hello", "--max-tokens", 2)
    assert cut.returncode == 1 and "could not store" in cut.stderr and "goes on from there" in cut.stderr
    ssh.write_text(honest)
    resumed = desk("run", bundle, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == pytest.approx(4.0, abs=0.1), resumed.stderr
    assert same(bundle, on_board(desk, bundle))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("echo client_loop: send disconnect: Broken pipe >&2; exit 255", "Broken pipe"),
        ("kill -9 $$", "ssh ended without a word"),
    ],
)
def test_a_connection_that_is_lost_in_a_copy(desk: Desk, bundle: Path, end: str, reason: str) -> None:
    ssh = desk.folder.parent / "bin" / "ssh"
    honest = ssh.read_text()
    rest = honest.removeprefix("#!/bin/sh\nexec ").strip()
    ssh.write_text(f'#!/bin/sh\ncase "$*" in *"cat >>"*.irpa*) head -c 2000000 | {rest}; {end};; *) {rest};; esac\n')
    lost = desk("run", bundle, "hello", "--max-tokens", 2)
    sentence = f"lost the connection to {desk.address}: "
    assert lost.returncode == 1 and lost.stderr.startswith(f"error: {sentence}"), lost.stderr
    assert f"{reason}; what has arrived is kept" in lost.stderr and lost.stderr.count("\n") == 1
    ssh.write_text(honest)
    resumed = desk("run", bundle, "hello", "--max-tokens", 2)
    assert resumed.returncode == 0 and copied(resumed) == pytest.approx(4.0, abs=0.1), resumed.stderr
    assert same(bundle, on_board(desk, bundle))


def test_words_arrive_as_they_were_typed(desk: Desk, bundle: Path) -> None:
    prompt = '-- it\'s $(touch /tmp/no) `id` "ä 日"\n\\ $HOME *'
    options = ("--stop", "a 'b'", "--stop", "$x", "--max-tokens", 3, "--no-adapt", "--raw", "--temperature", "0.5")
    said = desk("run", *options, bundle, "--", prompt)
    assert said.returncode == 0, said.stderr
    (call,) = desk.calls()
    folder = str(on_board(desk, bundle))
    assert call[-3:] == ["--", folder, prompt]
    given = ["--stop=a 'b'", "--stop=$x", "--max-tokens=3", "--no-adapt", "--raw", "--temperature=0.5"]
    assert call[0] == "run" and sorted(call[1:-3]) == sorted(given)


def test_a_prompt_longer_than_a_command_line(desk: Desk, bundle: Path) -> None:
    said = desk("run", bundle, "'" * 60_000)
    assert said.returncode == 2 and "give the prompt on standard input" in said.stderr, said.stderr
    assert "has more than 16000 tokens" in desk("run", bundle, "-", typed="'" * 200_000).stderr


def test_streams_codes_and_statistics_come_through(desk: Desk, bundle: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    piped = desk("run", bundle, "--max-tokens", 4, "--json", "--stats", stats, typed="hello\n")
    assert piped.returncode == 0 and json.loads(piped.stdout) == json.loads(stats.read_text())
    assert [path.name for path in on_board(desk, bundle).glob(".*.json")] == []
    wrong = desk("run", bundle, "hello", "--map", "target=npu")
    assert wrong.returncode == 1 and "'npu'" in wrong.stderr and not wrong.stdout
    usage = desk("run", bundle, "hello", "--draft-length", "-1")
    assert usage.returncode == 2, usage.stderr


def test_measurements_come_back(desk: Desk, bundle: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "p.txt"
    prompts.write_text("ä prompt\n")
    desk.environment.update(desk.stand_in(STAND_IN))
    for page, names in (("profile", ("profile", "acceptance")), ("plan", ("plan",))):
        said = desk(page, bundle, *(("--prompts", prompts, "--budget", 1) if page == "profile" else ()))
        assert said.returncode == 0, said.stderr
        for name in names:
            document = json.loads((bundle / f"{name}.json").read_text())
            assert document["made"] == name and document["words"][0] == page
    profile = json.loads((bundle / "profile.json").read_text())
    assert profile["words"][1:3] == ["--budget=1.0", "--prompts=/dev/stdin"] and profile["read"] == "ä prompt\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_running(desk: Desk, bundle: Path, number: signal.Signals) -> None:
    (desk.cache / "slow").touch()
    words = desk.words("run", bundle, "hello", "--max-tokens", 3000, "--json")
    with subprocess.Popen(words, env=desk.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        there = desk.process()
        time.sleep(1.0)
        assert Path(f"/proc/{there}").exists()
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
    assert gone(there)


def test_a_terminal_is_one_on_the_board(desk: Desk, bundle: Path) -> None:
    (desk.cache / "slow").touch()
    terminal, end = pty.openpty()
    words = desk.words("run", bundle, "hello", "--max-tokens", 3000)
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


def test_boards_that_cannot(desk: Desk, bundle: Path) -> None:
    cases = {
        "has no command": {"PACELINE_BOARD_COMMAND": "no-paceline"},
        "paceline 9.9, this is paceline": desk.stand_in("print('paceline 9.9')"),
    }
    for sentence, variables in cases.items():
        changed = Desk(folder=desk.folder, address=desk.address, environment={**desk.environment, **variables})
        said = changed("run", bundle, "hello")
        assert said.returncode == 1 and sentence in said.stderr and "Traceback" not in said.stderr, said.stderr
    assert not (on_board(desk, bundle) / "bundle.json").exists()


def test_no_room(desk: Desk, bundle: Path) -> None:
    (desk.cache / "bin").mkdir()
    (df := desk.cache / "bin" / "df").write_text("#!/bin/sh\necho /dev/x 10000 9000 1000 90% /\n")
    df.chmod(0o755)
    said = desk("run", bundle, "hello")
    assert said.returncode == 1 and "6.0 MB are missing, 1.0 MB are free" in said.stderr, said.stderr
    assert not (on_board(desk, bundle) / "bundle.json").exists()


def test_ways_not_to_reach_a_board(desk: Desk, bundle: Path) -> None:
    files = desk.folder.parent
    known = (files / "known").read_text()

    def refused() -> str:
        said = desk("run", bundle, "hello")
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
    assert "nothing listens at this port" in nobody("run", bundle, "hello").stderr
    alone = Desk(folder=desk.folder, address=desk.address, environment={**desk.environment, "PATH": "/nowhere"})
    assert "there is no ssh here" in alone("run", bundle, "hello").stderr
    (files / "bin" / "ssh").write_text("")
    alone.environment["PATH"] = str(files / "bin")
    assert "cannot be started: Exec format error" in alone("run", bundle, "hello").stderr


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


def test_files_of_the_desk_stay(desk: Desk, bundle: Path, tmp_path: Path) -> None:
    said = desk("plan", bundle, "--acceptance", tmp_path / "x.json")
    assert said.returncode == 2 and "--acceptance names a file of this machine" in said.stderr
    pack = tmp_path / "x.tar.zst"
    pack.write_bytes(b"x")
    said = desk("run", pack, "hello")
    assert said.returncode == 2 and "unpack --other-soc" in said.stderr

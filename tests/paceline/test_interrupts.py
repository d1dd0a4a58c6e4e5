"""Commands end within a second of Ctrl-C, SIGTERM or the end of their reader, and keep what they have printed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from paceline.documents import write_json
from paceline.partition import TokenIds, read_bundle

MakeBundle = Callable[..., Path]
TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}a:"
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
# from the signal to the end of the process
SECOND = 1.0
# Passes of the device's programs are counted: with BEGUN, that file is made in the thirtieth.
COUNTED = """
import hashlib, os
from paceline import cli
from paceline.runtime.{module} import {program} as Program
honest, passes = Program.step, []
def step(self, *arguments, **options):
    passes.append(1)
    if len(passes) == 30 and "BEGUN" in os.environ:
        open(os.environ["BEGUN"], "x").close()
    if len(passes) > 3 and "STUCK" in os.environ:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000)
    return honest(self, *arguments, **options)
Program.step = step
"""
# Passes of 20 ms; of 5 s in C where nothing interrupts them, from the fourth on, with STUCK.
PROGRAM = f"""{COUNTED.format(module="null_device", program="NullProgram")}
from paceline.runtime import NullDevice, load_model
load_model.open_device = lambda unit, **rest: NullDevice(unit=unit, agreement=0.8, seconds=0.02)
cli.main()
"""
COMPILED = f"{COUNTED.format(module='iree_program', program='IreeProgram')}\ncli.main()"


@contextmanager
def command(*arguments: object, program: str = PROGRAM, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command with pipes on its three streams; killed at the end if it is still there."""
    parts = [sys.executable, "-c", program, *map(str, arguments)]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(parts, env={**os.environ, **variables}, bufsize=0, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def first_bytes(process: subprocess.Popen[bytes], count: int = 1) -> bytes:
    assert process.stdout
    return b"".join(process.stdout.read(1) for _ in range(count))


def end(process: subprocess.Popen[bytes], number: int) -> tuple[float, str, str]:
    """Seconds that it takes to end after a signal, and what it has printed since."""
    process.send_signal(number)
    start = time.monotonic()
    out, err = process.communicate(timeout=20)
    return time.monotonic() - start, out.decode(), err.decode()


def wait_for(begun: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the file is there that is made in the midst of the work."""
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)


def endless(null_bundle: MakeBundle) -> Path:
    return null_bundle(tokens=TokenIds(bos=0), template=TEMPLATE, context=4000)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The file that says that a command is in the midst of its work."""
    return tmp_path / "begun"


@BOTH
def test_run(null_bundle: MakeBundle, tmp_path: Path, number: signal.Signals) -> None:
    stats = tmp_path / "stats.json"
    with command("run", endless(null_bundle), "hello", "--max-tokens", 3000, "--stats", stats) as process:
        begun = first_bytes(process, 3).decode()
        seconds, rest, said = end(process, number)
        assert process.returncode == 128 + number
        assert seconds < SECOND
        report = json.loads(stats.read_text())
        assert report["text"] + "\n" == begun + rest
        assert report["stats"]["stop_reason"] == "abandoned"
        assert said.endswith("interrupted\n") and "Traceback" not in said


@BOTH
def test_a_json_document_is_printed_as_far_as_the_text_came(
    null_bundle: MakeBundle, begun: Path, number: signal.Signals
) -> None:
    with command("run", endless(null_bundle), "hello", "--max-tokens", 3000, "--json", BEGUN=str(begun)) as process:
        wait_for(begun, process)
        seconds, out, said = end(process, number)
        assert process.returncode == 128 + number, said
        assert seconds < SECOND
        assert 0 < len(json.loads(out)["ids"]) < 3000


@BOTH
def test_a_pass_that_takes_longer(null_bundle: MakeBundle, number: signal.Signals) -> None:
    with command("run", endless(null_bundle), "hello", "--max-tokens", 3000, STUCK="1") as process:
        first_bytes(process, 3)
        time.sleep(0.3)
        seconds, out, said = end(process, number)
        assert (process.returncode, out, said) == (128 + number, "", "interrupted\n")
        assert 0.5 < seconds < SECOND


def test_sigterm_ends_a_conversation_and_ctrl_c_an_answer(null_bundle: MakeBundle, begun: Path) -> None:
    words = ("run", endless(null_bundle), "--chat", "--json", "--max-tokens", 3000)
    with command(*words, BEGUN=str(begun)) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"hello\n")
        wait_for(begun, process)
        process.send_signal(signal.SIGINT)
        first = json.loads(process.stdout.readline())
        assert first["stats"]["stop_reason"] == "abandoned"
        process.stdin.write(b"again\n")
        time.sleep(0.5)
        seconds, out, said = end(process, signal.SIGTERM)
        assert process.returncode == 128 + signal.SIGTERM, said
        assert seconds < SECOND
        assert 0 < len(json.loads(out)["ids"]) < 3000


@BOTH
def test_a_conversation_that_waits_for_a_line(null_bundle: MakeBundle, number: signal.Signals) -> None:
    with command("run", endless(null_bundle), "--chat", "--max-tokens", 2) as process:
        assert process.stdin
        process.stdin.write(b"hello\n")
        first_bytes(process, 1)
        time.sleep(0.5)
        seconds, _, said = end(process, number)
        assert process.returncode == 128 + number
        assert seconds < SECOND
        assert said.endswith("interrupted\n")


@pytest.mark.parametrize("options", [(), ("--json",), ("--chat", "--json")])
def test_a_reader_that_goes_away(null_bundle: MakeBundle, begun: Path, options: tuple[str, ...]) -> None:
    words = ("run", endless(null_bundle), *(() if "--chat" in options else ("hello",)), "--max-tokens", 3000, *options)
    with command(*words, BEGUN=str(begun)) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"hello\n")
        wait_for(begun, process)
        process.stdout.close()
        start = time.monotonic()
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - start < SECOND
        assert process.stderr.read() == b""


@BOTH
def test_bench(null_bundle: MakeBundle, tmp_path: Path, begun: Path, number: signal.Signals) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("hello\nworld\n")
    words = ("bench", endless(null_bundle), "--prompts", prompts, "--max-tokens", 3000)
    with command(*words, BEGUN=str(begun)) as process:
        wait_for(begun, process)
        seconds, out, said = end(process, number)
        assert (process.returncode, out, said) == (128 + number, "", "interrupted\n")
        assert seconds < SECOND


def without_gpu(folder: Path) -> None:
    """Leave the GPU's programs out of a manifest: while they are loaded, a software driver compiles for seconds."""
    bundle = read_bundle(folder)
    models = tuple(replace(model, programs={"cpu": model.programs["cpu"]}) for model in bundle.models)
    write_json(folder / "bundle.json", replace(bundle, models=models))


@pytest.mark.cpu
@BOTH
@pytest.mark.parametrize("page", ["profile", "validate", "acceptance"])
def test_pages_that_measure(tiny_bundle: Path, tmp_path: Path, begun: Path, page: str, number: signal.Signals) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    without_gpu(folder)
    before = sorted(file.name for file in folder.iterdir())
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"hello {number}\n" for number in range(500)))  # of which thirty passes take a few
    options = ["--budget", 100] if page == "profile" else ["--prompts", prompts]
    with command(page, folder, "--tokens", 60, *options, program=COMPILED, BEGUN=str(begun)) as process:
        wait_for(begun, process)
        seconds, out, said = end(process, number)
        assert (process.returncode, out, said) == (128 + number, "", "interrupted\n")
        assert seconds < SECOND
    assert sorted(file.name for file in folder.iterdir()) == before


@BOTH
@pytest.mark.parametrize("module", ["typer", "paceline.commands.run"])
def test_before_there_is_a_page(number: signal.Signals, module: str) -> None:
    program = f"""
import os, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            os.kill(os.getpid(), {number.value})
sys.meta_path.insert(0, Finder())
from paceline.__main__ import main
main()
"""
    with command("--version", program=program) as process:
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out, said) == (128 + number, b"", b"")


def test_minding_signals_takes_no_time_to_import() -> None:
    code = "import sys; before = {*sys.modules}; import paceline.interrupts; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"paceline", "paceline.interrupts", "select", "signal", "enum", "contextlib", "operator", "functools"}
    assert set(done.stdout.split()) <= allowed | {"_signal", "_operator", "_functools", "collections", "types", "re"}


@BOTH
def test_where_c_keeps_the_lock_the_system_ends_the_process(number: signal.Signals) -> None:
    program = """
from paceline.interrupts import begin, ended_in_time, left_to_the_system, raised
begin()
with raised(), ended_in_time():
    with left_to_the_system():
        pass
    with left_to_the_system():
        print("x", flush=True)
        sum(range(10**11))
"""
    with command(program=program) as process:
        first_bytes(process)
        time.sleep(0.2)
        seconds, out, said = end(process, number)
        assert (process.returncode, out, said) == (-number, "\n", "")
        assert seconds < SECOND


@pytest.mark.vulkan
@BOTH
def test_while_a_gpus_driver_compiles(tiny_bundle: Path, number: signal.Signals) -> None:
    program = "import sys; from paceline.runtime import vulkan; from paceline import cli, interrupts\n" + (
        "import contextlib\n"
        "system = vulkan.left_to_the_system\n"
        "@contextlib.contextmanager\n"
        "def loading():\n"
        "    with system():\n"
        "        print('x', flush=True)\n"
        "        yield\n"
        "vulkan.left_to_the_system = loading\n"
        "cli.main()"
    )
    with command("run", tiny_bundle, "hello", "--map", "target=gpu", program=program) as process:
        if not first_bytes(process):
            pytest.skip("no Vulkan driver")
        time.sleep(0.2)
        seconds, _, said = end(process, number)
        assert (process.returncode, said) == (-number, "")
        assert seconds < SECOND

"""Two processes on one bundle: neither sees a file of the other's half written, and texts stay the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.partition import TokenIds

# Writes plans for both mappings in turn, and a profile, until its standard input ends.
WRITER = """
import select, sys
from pathlib import Path
from msgspec.structs import replace
from paceline.costmodel import Profile
from paceline.documents import write_json
from paceline.partition import Mapping, choose, read_bundle
from paceline.runtime.machine import this_machine
folder = Path(sys.argv[1])
bundle = read_bundle(folder)
plan = choose(bundle, profile=None, alpha=0.9)
profile = Profile(bundle=bundle.digest, machine=this_machine(), context=bundle.context, measurements=())
written = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    drafter = "cpu" if written % 2 else None
    made = replace(plan, mapping=Mapping(target="cpu", drafter=drafter), draft_length=3 if drafter else 0)
    write_json(folder / "plan.json", made)
    write_json(folder / "profile.json", profile)
    written += 1
print(written)
"""
# Loads the bundle and generates, again and again; prints the texts that it got and the lengths that it drafted.
READER = """
import sys
from pathlib import Path
from paceline.costmodel import read_profile
from paceline.runtime import NullDevice, load
texts, lengths = set(), set()
for _ in range(150):
    with load(sys.argv[1], device=NullDevice()) as model:
        texts.add(model.generate("hello", max_new_tokens=9).finish().text)
        lengths.add(model.setting.draft_length)
        read_profile(Path(sys.argv[1]), bundle=model.bundle.digest)
print(len(texts), sorted(lengths))
"""


def test_one_plans_while_others_run(null_bundle: Callable[..., Path]) -> None:
    folder = null_bundle(tokens=TokenIds(bos=0))
    python = [sys.executable, "-c"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*python, WRITER, str(folder)], **pipes) as writer:
        while not (folder / "profile.json").exists():
            assert writer.poll() is None
        readers = [
            subprocess.Popen([*python, READER, str(folder)], **pipes, stderr=subprocess.STDOUT) for _ in range(2)
        ]
        said = [reader.communicate()[0] for reader in readers]
        written = int(writer.communicate("end")[0])
    assert said == ["1 [0, 3]\n"] * 2
    assert written > 10
    assert not [file.name for file in folder.iterdir() if file.name.startswith(".")]


@pytest.mark.cpu
def test_one_profiles_while_another_runs(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    paceline = [sys.executable, "-m", "paceline"]
    run = [*paceline, "run", str(folder), "hello", "--map", "target=cpu,drafter=cpu", "--max-tokens", "60", "--json"]

    def ids() -> list[int]:
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        found: list[int] = json.loads(done.stdout)["ids"]
        return found

    alone = ids()
    profile = [*paceline, "profile", str(folder), "--unit", "cpu", "--budget", "5", "--tokens", "16"]
    with subprocess.Popen(profile, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as profiling:
        beside = [ids() for _ in range(3)]
        _, said = profiling.communicate()
    assert profiling.returncode == 0, said
    assert beside == [alone] * 3
    # what the other wrote meanwhile is whole and of use
    subprocess.run([*paceline, "plan", str(folder)], capture_output=True, check=True)
    assert ids() == alone

"""The doctor's report: what is there, which driver will be used, and a command for everything that is missing."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from paceline import health
from paceline.cli import guarded
from paceline.commands import doctor
from paceline.errors import DeviceUnavailable
from paceline.runtime import vulkan_driver
from paceline.runtime.vulkan_driver import Driver
from paceline.runtime.vulkan_probe import VulkanDevice

SWIFTSHADER = Driver(name="SwiftShader", icd=Path("/cache/swiftshader.json"), software=True)
LLVMPIPE = Driver(name="lvp", icd=Path("/usr/lvp.json"), software=True, problem="llvmpipe is too slow")
DEVICE = VulkanDevice(
    name="A device", api="1.3.0", supported=True, missing="", subgroup=(4, 4), storage_bits=32, memory=2**31
)
INSTALLED = {"iree-base-runtime": "3.13.0", "iree-base-compiler": "3.13.0", "torch": "2.13.0", "numpy": "2", "x": "1"}


def run(*arguments: str) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    app.command("doctor")(guarded(doctor.page))
    return CliRunner().invoke(app, arguments)


def report() -> dict[str, Any]:
    result = run("--json")
    return {"exit_code": result.exit_code, **json.loads(result.stdout)}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A complete machine with SwiftShader; each test takes something away."""
    monkeypatch.setenv("PACELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(health, "version_of", lambda name: INSTALLED.get(name, ""))
    monkeypatch.setattr(health, "_cpu_device", lambda: True)
    monkeypatch.setattr("paceline.runtime.vulkan_probe.probe", lambda icd, loader: DEVICE)
    drivers(monkeypatch, SWIFTSHADER, LLVMPIPE)


def drivers(monkeypatch: pytest.MonkeyPatch, *found: Driver) -> None:
    usable = next((driver for driver in found if not driver.problem), None)
    monkeypatch.setattr(vulkan_driver, "find_drivers", lambda: found)
    monkeypatch.setattr(vulkan_driver, "select_driver", lambda: usable)


def test_a_complete_machine_misses_nothing() -> None:
    found = report()
    assert found["exit_code"] == 0
    assert found["cpu_ready"] and found["gpu_ready"] and found["compile_ready"]
    assert [entry for entry in found["missing"] if "room on the disk" not in entry["what"]] == []
    assert found["cores"] >= 1 and found["memory_bytes"] > 0 and found["cache_free_bytes"] > 0


def test_bundles_in_the_cache_are_counted_and_cleared(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert (report()["cached_bundles"], report()["cached_bundle_bytes"]) == (0, 0)
    for place in ("packs/0a", "packs/.0a-left", "sent/0b"):
        (folder := cache / place / "more").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(500_000))
    (cache / "packs" / ".lock").touch()
    (cache / "swiftshader").mkdir()
    assert (report()["cached_bundles"], report()["cached_bundle_bytes"]) == (3, 1_500_000)
    assert "3 bundles of 1.5 MB in it" in run().stdout.replace("\n", " ")
    with (cache / "sent" / "0b" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = run("--clear-bundles", "--json")
    assert (
        said.stderr
        == f"removed 2 bundles of 1.0 MB from the cache\nnot removed: somebody writes into {cache}/sent/0b\n"
    )
    assert json.loads(said.stdout)["cached_bundles"] == 1
    assert run("--clear-bundles").stderr == "removed 1 bundle of 0.5 MB from the cache\n"
    assert {path.name for path in cache.rglob("*")} == {"packs", ".lock", "sent", "swiftshader"}


def test_it_says_which_driver_will_be_used_and_why_others_are_not() -> None:
    used, other = report()["drivers"]
    assert (used["driver"], used["used"], used["device"], used["storage_bits"]) == ("SwiftShader", True, "A device", 32)
    assert not other["used"] and other["problem"] == "llvmpipe is too slow"
    text = run().stdout
    assert "WILL BE USED" in text and "GPU mappings use SwiftShader: A device, Vulkan 1.3.0" in text


def test_no_driver_names_the_command_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    drivers(monkeypatch, LLVMPIPE)
    found = report()
    assert found["exit_code"] == 0 and found["cpu_ready"] and not found["gpu_ready"]
    assert "paceline doctor --install-swiftshader" in [entry["command"] for entry in found["missing"]]
    assert "GPU mappings are rejected" in run().stdout


def test_a_driver_that_breaks_is_shown_with_its_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(icd: Path, loader: Path | None) -> VulkanDevice:
        raise DeviceUnavailable("the Vulkan driver x crashed (signal 11)")

    monkeypatch.setattr("paceline.runtime.vulkan_probe.probe", broken)
    found = report()
    assert found["drivers"][0]["problem"] == "the Vulkan driver x crashed (signal 11)"
    assert not found["gpu_ready"]


def test_a_device_that_lacks_vulkan_1_3_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    old = dataclasses.replace(DEVICE, api="1.1.0", supported=False, missing="synchronization2")
    monkeypatch.setattr("paceline.runtime.vulkan_probe.probe", lambda icd, loader: old)
    found = report()
    assert "synchronization2" in found["drivers"][0]["problem"] and not found["gpu_ready"]


def test_without_the_runtime_nothing_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: version for name, version in INSTALLED.items() if name != "iree-base-runtime"}
    monkeypatch.setattr(health, "version_of", lambda name: without.get(name, ""))
    found = report()
    assert found["exit_code"] == 1 and not found["cpu_ready"]
    assert "iree-base-runtime==" in found["missing"][0]["command"]


def test_a_board_without_the_compiler_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    board = {name: version for name, version in INSTALLED.items() if name not in ("torch", "iree-base-compiler")}
    monkeypatch.setattr(health, "version_of", lambda name: board.get(name, ""))
    found = report()
    assert found["exit_code"] == 0 and not found["compile_ready"]
    (missing,) = [entry for entry in found["missing"] if "compiled" in entry["what"]]
    assert missing["command"].startswith("pip install") and "torch" in missing["command"]


def test_compiler_and_runtime_of_different_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = {**INSTALLED, "iree-base-compiler": "3.9.0"}
    monkeypatch.setattr(health, "version_of", lambda name: mixed.get(name, ""))
    found = report()
    assert not found["compile_ready"]
    assert any("different releases" in entry["what"] for entry in found["missing"])


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_free_bytes", lambda folder: 10**8)
    assert any("room on the disk: 0.1 GB" in entry["what"] for entry in report()["missing"])


def test_a_cache_that_is_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "file").touch()
    for cache in (file, file / "cache"):
        monkeypatch.setenv("PACELINE_CACHE", str(cache))
        (missing,) = [entry for entry in report()["missing"] if "a cache that can be written" in entry["what"]]
        assert str(cache) in missing["what"] and missing["command"] == "export PACELINE_CACHE=FOLDER"


def test_installing_comes_first_and_its_failure_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(report: object) -> Driver:
        raise DeviceUnavailable("no network here")

    monkeypatch.setattr(vulkan_driver, "install_swiftshader", refused)
    result = run("--install-swiftshader", "--json")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == "error: no network here\n"


def test_installing_reports_the_driver_it_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def installed(report: object) -> Driver:
        calls.append(report)
        return SWIFTSHADER

    monkeypatch.setattr(vulkan_driver, "install_swiftshader", installed)
    assert run("--install-swiftshader").exit_code == 0
    assert len(calls) == 1


def test_torch_is_looked_up_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = "torch" in sys.modules
    assert isinstance(health.version_of("torch"), str)
    assert ("torch" in sys.modules) == before
    assert health.version_of("no-such-package-at-all") == ""


def test_requirements_are_those_of_the_package() -> None:
    assert any(line.startswith("iree-base-runtime==") for line in health.requirements())
    assert any(line.startswith("torch") for line in health.requirements("compile"))
    assert not any(line.startswith("torch") for line in health.requirements())


@pytest.mark.cpu
def test_this_machine_can_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = health.examine()
    assert found.cpu_ready and found.packages["iree-base-runtime"]

"""Which Vulkan driver is found and chosen, on made-up machines and with the one that is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import DeviceUnavailable
from paceline.runtime import swiftshader, vulkan_driver, vulkan_probe
from paceline.runtime.vulkan_driver import Driver, find_drivers, prepare, select_driver
from paceline.runtime.vulkan_probe import VulkanDevice, parse_device, probe

DUMP = """name: Example GPU
api: 1.3.0
feature_tier[vulkan-1.3]: supported
features: timelineSemaphore=yes storageBuffer8BitAccess=no storageBuffer16BitAccess=yes shaderInt8=no
subgroup: size=64 operations=0x000000bf minSubgroupSize=32 maxSubgroupSize=128 requiredSubgroupSizeStages=0x31
queue_families: 1
  [0] count=1 flags=graphics|compute
memory_heaps: 2
  [0] size=1073741824 flags=0x00000001
  [1] size=4294967296 flags=0x00000000
"""


class Machine:
    """A made-up machine: folders for drivers, a cache, and a Vulkan loader that is there or not."""

    def __init__(self, root: Path) -> None:
        self.system, self.cache, self.nodes = root / "icd.d", root / "cache", root / "dev"
        self.swiftshader = self.cache / "swiftshader"

    def driver(self, name: str, *, folder: Path | None = None, library: bool = True, **more: str) -> Path:
        place = folder or self.system
        place.mkdir(parents=True, exist_ok=True)
        if library:
            (place / "libdriver.so").touch()
        (place / name).write_text(json.dumps({"ICD": {"library_path": "./libdriver.so", **more}}))
        return place / name

    def installed_swiftshader(self) -> Path:
        icd = self.driver(swiftshader.ICD, folder=self.swiftshader)
        (self.swiftshader / vulkan_driver.LOADER).touch()
        return icd

    def gpu(self) -> None:
        self.nodes.mkdir()
        (self.nodes / "renderD128").touch()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PACELINE_CACHE", str(made.cache))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in vulkan_driver.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vulkan_driver, "_SYSTEM_FOLDERS", (str(made.system),))
    monkeypatch.setattr(vulkan_driver, "_BROWSER_FOLDERS", (str(tmp_path / "browser"),))
    monkeypatch.setattr(vulkan_driver, "_GPU_NODES", (str(made.nodes / "renderD*"),))
    monkeypatch.setattr(vulkan_driver, "_system_has_loader", lambda: True)
    vulkan_driver._first_that_works.cache_clear()
    return made


def answers(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let only the drivers of these ICD files offer a device."""

    def fake(icd: Path, loader: Path | None) -> VulkanDevice:
        if icd.name not in names:
            raise DeviceUnavailable("no device")
        return parse_device(DUMP)

    monkeypatch.setattr(vulkan_driver, "probe", fake)


def test_a_bare_machine_has_no_driver(machine: Machine) -> None:
    assert find_drivers() == ()
    assert select_driver() is None


def test_a_gpu_comes_before_swiftshader_and_llvmpipe_comes_last(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.driver("lvp_icd.x86_64.json")
    machine.installed_swiftshader()
    machine.driver("radeon_icd.x86_64.json")
    machine.gpu()
    answers(monkeypatch, "radeon_icd.x86_64.json")
    assert [driver.name for driver in find_drivers()] == ["radeon_icd.x86_64", "SwiftShader", "lvp_icd.x86_64"]
    chosen = select_driver()
    assert chosen is not None and chosen.name == "radeon_icd.x86_64" and not chosen.software


def test_a_gpu_driver_without_its_gpu_gives_way_to_swiftshader(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.driver("radeon_icd.x86_64.json")
    machine.installed_swiftshader()
    machine.gpu()
    answers(monkeypatch)
    chosen = select_driver()
    assert chosen is not None and chosen.name == "SwiftShader"


def test_without_any_gpu_node_no_gpu_driver_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.driver("radeon_icd.x86_64.json")

    def never(icd: Path, loader: Path | None) -> VulkanDevice:
        raise AssertionError("asked")

    monkeypatch.setattr(vulkan_driver, "probe", never)
    assert select_driver() is None
    assert "no GPU is visible" in find_drivers()[0].problem


def test_llvmpipe_is_named_but_never_chosen_unless_told_to(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    icd = machine.driver("lvp_icd.x86_64.json")
    assert "too slow" in find_drivers()[0].problem
    assert select_driver() is None
    monkeypatch.setenv("VK_DRIVER_FILES", str(icd))
    chosen = select_driver()
    assert chosen is not None and chosen.chosen and chosen.software


@pytest.mark.parametrize("variable", vulkan_driver.CHOSEN_BY)
def test_the_environment_wins(machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    machine.installed_swiftshader()
    mine = machine.driver("mine.json", folder=machine.cache / "mine")
    monkeypatch.setenv(variable, os.pathsep.join([str(mine), "/nowhere/other.json"]))
    first, second = find_drivers()
    assert first.icd == mine and first.chosen and not first.problem
    assert second.problem == "/nowhere/other.json does not exist"
    assert select_driver() == first


def test_swiftshader_of_a_browser_and_of_the_user_are_found(machine: Machine, tmp_path: Path) -> None:
    machine.driver(swiftshader.ICD, folder=tmp_path / "browser")
    machine.driver("own_swiftshader.json", folder=tmp_path / "data" / "vulkan" / "icd.d")
    assert len(find_drivers()) == 2
    assert all(driver.software and not driver.problem for driver in find_drivers())


def test_a_folder_that_is_closed_to_this_user_is_passed_over(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "data" / "vulkan" / "icd.d"
    closed.mkdir(parents=True)
    (closed / "mine.json").write_text("{}")
    assert len(find_drivers()) == 1
    # Permissions do not bind the administrator, as whom tests may run.
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed and access(path, mode))
    assert find_drivers() == ()


def test_the_same_driver_through_a_link_counts_once(machine: Machine) -> None:
    icd = machine.installed_swiftshader()
    machine.system.mkdir()
    (machine.system / "link.json").symlink_to(icd)
    assert len(find_drivers()) == 1


def test_the_loader_beside_the_driver_is_used(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.installed_swiftshader()
    assert find_drivers()[0].loader == machine.swiftshader


def test_a_machine_without_a_loader_borrows_the_one_of_swiftshader(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vulkan_driver, "_system_has_loader", lambda: False)
    machine.driver("radeon_icd.x86_64.json")
    machine.gpu()
    assert "libvulkan.so.1 is missing" in find_drivers()[0].problem
    machine.installed_swiftshader()
    loaders = {driver.name: driver.loader for driver in find_drivers()}
    assert loaders["radeon_icd.x86_64"] == machine.swiftshader


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as a driver description"),
        ('{"ICD": {}}', "cannot be read as a driver description"),
        ('{"ICD": {"library_path": "./gone.so"}}', "does not exist"),
        ('{"ICD": {"library_path": "libx.so", "library_arch": "32"}}', "32-bit"),
    ],
)
def test_a_broken_description_is_a_problem_of_that_driver_only(machine: Machine, content: str, words: str) -> None:
    machine.installed_swiftshader()
    machine.system.mkdir()
    (machine.system / "broken.json").write_text(content)
    good, broken = find_drivers()
    assert good.name == "SwiftShader" and not good.problem
    assert words in broken.problem


def test_preparing_names_the_driver_in_the_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vulkan_driver.CHOSEN_BY:
        monkeypatch.setenv(name, "before")
    prepare(Driver(name="x", icd=Path("/some/icd.json")))
    assert {os.environ[name] for name in vulkan_driver.CHOSEN_BY} == {"/some/icd.json"}


def test_a_description_of_a_device_is_read() -> None:
    device = parse_device(DUMP)
    assert device == VulkanDevice(
        name="Example GPU",
        api="1.3.0",
        supported=True,
        missing="",
        subgroup=(32, 128),
        storage_bits=16,
        memory=4294967296,
    )


def test_what_a_device_lacks_is_kept() -> None:
    device = parse_device(DUMP.replace("]: supported", "]: missing synchronization2"))
    assert not device.supported and device.missing == "missing synchronization2"
    assert parse_device("").subgroup == (0, 0)


@pytest.mark.cpu
def test_a_driver_that_cannot_be_loaded_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"none\.json cannot be used"):
        probe(tmp_path / "none.json", tmp_path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", r"crashed \(signal 11\)"),
        ("import sys; sys.exit('no good')", "cannot be used: no good"),
        ("import sys; sys.exit(3)", "cannot be used: exit code 3"),
        ("import time; time.sleep(60)", "did not answer"),
    ],
)
def test_a_driver_that_dies_or_hangs_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    real = subprocess.run

    def instead(command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", script], **options)

    monkeypatch.setattr(subprocess, "run", instead)
    monkeypatch.setattr(vulkan_probe, "_TIMEOUT", 1.5)
    with pytest.raises(DeviceUnavailable, match=words):
        probe(tmp_path / "driver.json", None)


@pytest.mark.vulkan
def test_the_driver_that_is_here_offers_a_device_that_iree_accepts() -> None:
    driver = select_driver()
    if driver is None:
        pytest.skip("no Vulkan driver; run 'paceline doctor --install-swiftshader'")
    device = probe(driver.icd, driver.loader)
    assert device.supported and device.api.startswith("1.")
    assert 0 < device.subgroup[0] <= device.subgroup[1]
    assert device.storage_bits in (8, 16, 32) and device.memory > 0

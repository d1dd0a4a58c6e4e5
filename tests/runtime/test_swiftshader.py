"""Unpacking SwiftShader with an apt that is made up: without root, without network, and with all that can fail."""

from __future__ import annotations

import io
import platform
import stat
import struct
import tarfile
from pathlib import Path

import pytest

from paceline.errors import DeviceUnavailable, OutputError
from paceline.runtime import swiftshader
from paceline.runtime.vulkan_driver import install_swiftshader

ELF = b"\x7fELF" + bytes(14) + struct.pack("<H", swiftshader._MACHINES[platform.machine()]) + bytes(64)
OTHER_ELF = b"\x7fELF" + bytes(14) + struct.pack("<H", 2) + bytes(64)
ICD = b'{"ICD": {"library_path": "./libvk_swiftshader.so", "api_version": "1.0.5"}}'
# apt-get: 'download' needs lists, which are there from the start (LISTS=1) or after 'update' into a folder of ours.
APT = """#!/bin/sh
echo "$@" >> "$FAKE/log"
case "$*" in
  *" update") [ -z "$OFFLINE" ] || { echo "W: old" >&2; echo "E: Failed to fetch: no route" >&2; exit 100; } ;;
  *)
    case "$*" in *Dir::State::lists=*) private=1 ;; esac
    [ -n "$LISTS$private" ] || { echo "E: Unable to locate package chromium-common" >&2; exit 100; }
    [ -z "$COMPLAINT" ] || { echo "E: $COMPLAINT" >&2; exit 100; }
    cp "$FAKE/package.tar" chromium-common_1_amd64.deb ;;
esac
"""
DPKG_DEB = """#!/bin/sh
cat "$2"
"""


class FakeApt:
    """An apt-get and a dpkg-deb in a folder of their own; the package is a plain tar."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.cache, self._patch = root / "apt", root / "cache", monkeypatch
        self.root.mkdir()
        self.script("apt-get", APT)
        self.script("dpkg-deb", DPKG_DEB)
        self.package({"libvk_swiftshader.so": ELF, "libvulkan.so.1": ELF, swiftshader.ICD: ICD, "resources.pak": b"x"})
        self.environment(FAKE=str(self.root), PATH=f"{self.root}:/usr/bin:/bin", PACELINE_CACHE=str(self.cache))
        self.environment(LISTS="1", OFFLINE="", COMPLAINT="")

    def environment(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(name, value)

    def script(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)
        (self.root / name).chmod(stat.S_IRWXU)

    def package(self, files: dict[str, bytes]) -> None:
        with tarfile.open(self.root / "package.tar", "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"./usr/lib/chromium/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    @property
    def calls(self) -> list[str]:
        log = self.root / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def left(self) -> set[str]:
        return {entry.name for entry in self.cache.iterdir()} if self.cache.exists() else set()


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    return FakeApt(tmp_path, monkeypatch)


def test_three_files_are_kept_and_nothing_else(apt: FakeApt) -> None:
    seen: list[tuple[str, int, int]] = []
    driver = install_swiftshader(lambda *step: seen.append(step))
    assert driver.name == "SwiftShader" and driver.software and not driver.problem
    assert driver.loader == driver.icd.parent == swiftshader.folder()
    assert {file.name for file in driver.icd.parent.iterdir()} == set(swiftshader.FILES)
    assert apt.left == {"swiftshader"}
    assert seen[0] == ("SwiftShader", 0, 3) and seen[-1] == ("SwiftShader", 3, 3)


def test_every_folder_that_apt_writes_is_ours(apt: FakeApt) -> None:
    apt.environment(LISTS="")
    install_swiftshader()
    for call in apt.calls:
        assert f"Dir::Cache={apt.cache}" in call and "APT::Sandbox::User=" in call
    update = next(call for call in apt.calls if call.endswith(" update"))
    assert f"Dir::State::lists={apt.cache}" in update


def test_lists_are_fetched_only_when_there_are_none(apt: FakeApt) -> None:
    install_swiftshader()
    assert not any(call.endswith(" update") for call in apt.calls)


def test_a_second_call_does_nothing(apt: FakeApt) -> None:
    first = install_swiftshader()
    calls = apt.calls
    assert install_swiftshader() == first
    assert apt.calls == calls


def test_a_damaged_installation_is_replaced(apt: FakeApt) -> None:
    driver = install_swiftshader()
    (driver.icd.parent / "libvk_swiftshader.so").unlink()
    assert not install_swiftshader().problem


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_system_without_apt_is_told_what_to_do(apt: FakeApt, tool: str) -> None:
    (apt.root / tool).unlink()
    apt.environment(PATH=str(apt.root))
    with pytest.raises(DeviceUnavailable, match=rf"{tool} was not found.*libvk_swiftshader\.so"):
        install_swiftshader()


def test_no_network_is_a_sentence(apt: FakeApt) -> None:
    apt.environment(LISTS="", OFFLINE="1")
    with pytest.raises(DeviceUnavailable, match="cannot be downloaded: Failed to fetch: no route; check the network"):
        install_swiftshader()
    assert "swiftshader" not in apt.left


def test_a_system_whose_archive_lacks_the_package(apt: FakeApt) -> None:
    apt.environment(COMPLAINT="Unable to locate package chromium-common")
    with pytest.raises(DeviceUnavailable, match="no package chromium-common"):
        install_swiftshader()


def test_a_full_disk_while_downloading(apt: FakeApt) -> None:
    apt.environment(COMPLAINT="You don't have enough free space in /x/archives/.")
    with pytest.raises(OutputError, match="the disk is full"):
        install_swiftshader()


def test_an_interrupted_download_is_taken_up_again(apt: FakeApt) -> None:
    apt.environment(COMPLAINT="Connection reset")
    with pytest.raises(DeviceUnavailable):
        install_swiftshader()
    assert apt.left == {"swiftshader-download"}
    apt.environment(COMPLAINT="")
    assert not install_swiftshader().problem
    assert apt.left == {"swiftshader"}


def test_a_driver_for_another_processor_is_refused(apt: FakeApt) -> None:
    apt.package({"libvk_swiftshader.so": OTHER_ELF, "libvulkan.so.1": ELF, swiftshader.ICD: ICD})
    with pytest.raises(DeviceUnavailable, match="another processor"):
        install_swiftshader()
    assert "swiftshader" not in apt.left


def test_a_package_without_the_driver_or_cut_short(apt: FakeApt) -> None:
    apt.package({"resources.pak": b"x"})
    with pytest.raises(DeviceUnavailable, match=r"damaged or has no .*libvk_swiftshader\.so"):
        install_swiftshader()
    (apt.root / "package.tar").write_bytes(b"not a package at all")
    with pytest.raises(DeviceUnavailable, match="damaged"):
        install_swiftshader()
    assert "swiftshader" not in apt.left


def test_a_cache_that_cannot_be_written(apt: FakeApt, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    apt.environment(PACELINE_CACHE=str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="cannot write"):
        install_swiftshader()

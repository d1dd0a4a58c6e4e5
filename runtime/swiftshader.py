"""SwiftShader, Vulkan on the CPU, out of Debian's package ``chromium-common`` and into the user's cache, without root.

Only three files of the package are kept: the driver, its description, and the Vulkan loader that comes with it.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from paceline.console import Report, quiet
from paceline.errors import DeviceUnavailable, OutputError
from paceline.files import cache_folder, new_folder, writing

PACKAGE = "chromium-common"
ICD = "vk_swiftshader_icd.json"
FILES = ("libvk_swiftshader.so", ICD, "libvulkan.so.1")

_STEPS = 3
_MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40, "riscv64": 243}
_FULL = ("No space left", "enough free space")
_UNKNOWN = ("Unable to locate package", "no installation candidate", "Can't find a source")


def folder() -> Path:
    """Where SwiftShader lies once it is installed."""
    return cache_folder("swiftshader")


def install(report: Report = quiet) -> Path:
    """Download and unpack SwiftShader; an interrupted download is taken up again by the next call.

    Raises:
        DeviceUnavailable: no apt, no network, or no package for this machine.
        OutputError: the cache cannot be written, or the disk is full.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DeviceUnavailable(f"{tool} was not found, SwiftShader comes from Debian's {PACKAGE}; {_by_hand()}")
    work = folder().with_name("swiftshader-download")
    with writing(work):
        for name in ("lists/partial", "archives/partial", "packages"):
            (work / name).mkdir(parents=True, exist_ok=True)
    report("SwiftShader", 0, _STEPS)
    archive = _download(work, report)
    report("SwiftShader", 2, _STEPS)
    with new_folder(folder(), replace=True) as scratch:
        _unpack(archive, scratch)
    shutil.rmtree(work, ignore_errors=True)
    report("SwiftShader", _STEPS, _STEPS)
    return folder()


def _download(work: Path, report: Report) -> Path:
    # The machine's own package lists first; they may be absent (containers) or older than the archive.
    own_lists = ["-o", f"Dir::State::lists={work / 'lists'}"]
    refused = _apt(work, "download", PACKAGE)
    if refused:
        refused = _apt(work, *own_lists, "-o", "APT::Update::Error-Mode=any", "update")
        report("SwiftShader", 1, _STEPS)
        if not refused:
            refused = _apt(work, *own_lists, "download", PACKAGE)
    if refused:
        raise _failure(refused)
    archives = sorted((work / "packages").glob(f"{PACKAGE}_*.deb"), key=lambda path: path.stat().st_mtime)
    if not archives:
        raise DeviceUnavailable(f"apt-get download {PACKAGE} left no package behind; {_by_hand()}")
    return archives[-1]


def _apt(work: Path, *arguments: str) -> str:
    """Run apt-get with folders of our own; return its complaint, or nothing when all went well."""
    options = {
        "Dir::Cache": work,
        "Dir::Cache::archives": work / "archives",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
        "Acquire::Retries": "3",
    }
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    command = ["apt-get", "--quiet", *flags, *arguments]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=work / "packages", env=environment, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return "\n".join(errors) or f"E: apt-get ended with exit code {done.returncode}"


def _failure(complaint: str) -> DeviceUnavailable | OutputError:
    first = complaint.splitlines()[0].removeprefix("E:").strip()
    if any(word in complaint for word in _FULL):
        return OutputError(f"the disk is full: SwiftShader was not downloaded to {cache_folder()}; free some room")
    if any(word in complaint for word in _UNKNOWN):
        return DeviceUnavailable(f"this system's apt has no package {PACKAGE} (Debian's has): {first}; {_by_hand()}")
    return DeviceUnavailable(f"SwiftShader cannot be downloaded: {first}; check the network and run it again")


def _by_hand() -> str:
    return f"install your GPU's Vulkan driver, or put {', '.join(FILES)} into {folder()}"


def _unpack(archive: Path, destination: Path) -> None:
    """Copy the three files out of a .deb; the rest of the package is never written."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        found = _copy_members(process.stdout, destination)
    if missing := sorted(set(FILES) - found):
        archive.unlink(missing_ok=True)
        raise DeviceUnavailable(f"{archive.name} is damaged or has no {', '.join(missing)}; run it again")
    _check_machine(destination / FILES[0])


def _copy_members(stream: IO[bytes], destination: Path) -> set[str]:
    found = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as package:
            for member in package:
                name = Path(member.name).name
                if name in FILES and member.isfile() and (source := package.extractfile(member)):
                    with (destination / name).open("wb") as file:
                        shutil.copyfileobj(source, file)
                    found.add(name)
    except tarfile.TarError:
        return set()
    return found


def _check_machine(library: Path) -> None:
    expected = _MACHINES.get(platform.machine())
    with library.open("rb") as file:
        header = file.read(20)
    found = struct.unpack_from("<H", header, 18)[0] if header[:4] == b"\x7fELF" and len(header) == 20 else None
    if expected is not None and found != expected:
        raise DeviceUnavailable(
            f"{PACKAGE} holds a driver for another processor (ELF machine {found}), "
            f"this is {platform.machine()} (ELF machine {expected}); {_by_hand()}"
        )

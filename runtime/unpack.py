"""A pack becomes a bundle's folder again, whole or not at all, after everything about it was judged."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from paceline.console import Report, quiet
from paceline.errors import DeviceUnavailable, OutputError, UsageError
from paceline.files import new_folder, real_place, write_bytes
from paceline.partition import Bundle
from paceline.partition.bundle import MANIFEST
from paceline.runtime.pack_format import SUFFIX, PackManifest
from paceline.runtime.pack_stream import PackReader, open_pack
from paceline.targets.host import Cpu, detect_cpu

Judge = Callable[[Bundle], None]


def check_machine(bundle: Bundle, *, machine: str | None = None, cpu: Cpu | None = None) -> None:
    """Refuse a bundle for another SoC than this: another architecture, or instructions that the CPU lacks.

    Raises:
        DeviceUnavailable: says which.
    """
    from paceline.runtime.iree_program import check_features
    from paceline.runtime.local_task import check_architecture

    for unit in bundle.soc.units:
        if unit.kind == "cpu":
            check_architecture(unit, machine or platform.machine())
            for model in bundle.models:
                check_features(model.features.get(unit.name, ()), cpu or detect_cpu())


def unpack(
    path: Path,
    folder: Path | None = None,
    *,
    replace: bool = False,
    judge: Judge = check_machine,
    report: Report = quiet,
) -> tuple[Path, PackManifest]:
    """Unpack ``path`` into ``folder``, by default one of its name in the working directory; return both.

    ``judge`` refuses bundles before anything is written.

    Raises:
        BundleError: no pack, of another schema, or a damaged one.
        DeviceUnavailable: it is for another SoC than this machine.
        OutputError: the folder is taken, cannot be written, or the disk is full.
        UsageError: no folder is given and the name suggests none.
    """
    folder = folder or Path(_stem(path))
    _check_target(folder, replace=replace)
    with open_pack(path) as pack:
        try:
            judge(pack.bundle)
        except DeviceUnavailable as error:
            raise DeviceUnavailable(f"{path} is for {pack.bundle.soc.name}: {error}") from error
        write_members(pack, folder, replace=replace, report=report)
        return folder, pack.manifest


def write_members(pack: PackReader, folder: Path, *, replace: bool = False, report: Report = quiet) -> None:
    """Write the files of an opened pack into a new folder.

    Raises:
        BundleError: the pack is damaged.
        OutputError: the folder is taken, cannot be written, or the disk is full.
    """
    check_room(folder, pack.manifest.total)
    # a link to a bundle stays a link
    with new_folder(real_place(folder), replace=replace) as scratch:
        write_bytes(scratch / MANIFEST, pack.text)
        done = len(pack.text)
        for name in list(pack.manifest.files)[1:]:
            with (scratch / name).open("xb") as file:
                for chunk in pack.chunks(name):
                    file.write(chunk)
                    report("unpacking", done := done + len(chunk), pack.manifest.total)
        pack.finish()


def check_room(folder: Path, needed: int) -> None:
    """Refuse what will not fit, before it fills the disk.

    Raises:
        OutputError: says how much is needed and how much is free.
    """
    existing = next(place for place in folder.absolute().parents if place.is_dir())
    if (free := shutil.disk_usage(existing).free) < needed:
        what = f"{folder} needs {needed / 1e6:.1f} MB, and its disk has {free / 1e6:.1f} MB free"
        raise OutputError(f"{what}; free some room and run it again")


def _stem(path: Path) -> str:
    if not path.name.endswith(SUFFIX) or path.name == SUFFIX:
        raise UsageError(f"{path} is not called NAME{SUFFIX}, which would name the folder; name it with -o")
    return path.name.removesuffix(SUFFIX)


def _check_target(folder: Path, *, replace: bool) -> None:
    """Replacing is for bundles: nobody's other files go."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise OutputError(f"{folder} exists and is no bundle; choose another output")
    if not replace:
        raise OutputError(f"{folder} exists already; replace it with --force, or choose another output")

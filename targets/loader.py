"""SoC files: read, checked, found by name.

A SoC is ``<name>.toml`` beside this module or any other TOML file with the keys of ``Soc``; ``host`` has no file,
it is detected.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import msgspec

from paceline.errors import UnknownSoc, UsageError
from paceline.targets.host import HOST, detect_host
from paceline.targets.soc import SCHEMA, Figure, ProcessingUnit, Soc

_MALI = "mali-(g77|g57|g78|g710|g510|g310|g715|g615|g720|g725|g1)|valhall[1-4]?|arm5gen"
_ADRENO = r"adreno(-\d{3}l?)?"
_DESKTOP = r"(rdna|cdna|gfx|rtx|rx|sm_|w)\d[0-9a-z]*|a100|ampere|turing|volta|pascal"
_OTHER = "vp_android_baseline_2022|videocore_vii|llvmpipe"
_VULKAN_TARGETS = re.compile("|".join((_MALI, _ADRENO, _DESKTOP, _OTHER)))


def known_socs() -> tuple[str, ...]:
    """Names that ``load_soc`` takes, sorted, ``host`` last."""
    names = (entry.name for entry in files("paceline.targets").iterdir())
    return (*sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")), HOST)


def load_soc(name: str, *, gpu: str = "") -> Soc:
    """The SoC of that name, or the one in the TOML file at that path; ``gpu`` as in ``detect_host``.

    Raises:
        UnknownSoc: neither a known name nor a file that ends in ``.toml``.
        UsageError: the file is no SoC; names the file and the key.
    """
    if name == HOST:
        return detect_host(gpu=gpu)
    if name in known_socs():
        return _parse(f"{name}.toml", (files("paceline.targets") / f"{name}.toml").read_bytes())
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise UnknownSoc(name, known_socs())
    try:
        return _parse(name, path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error


def _parse(file: str, content: bytes) -> Soc:
    try:
        table = tomllib.loads(content.decode())
        soc = msgspec.convert(table, Soc)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{file} is not a SoC: {error}; 'paceline targets show imx95' has every key") from error
    if problem := next(_problems(soc), None):
        raise UsageError(f"{file}: {problem}")
    return soc


def _problems(soc: Soc) -> Iterator[str]:
    if soc.schema != SCHEMA:
        yield f"schema is {soc.schema}, expected {SCHEMA}"
    if not soc.name:
        yield "name is empty, expected the SoC's name"
    names = [unit.name for unit in soc.units]
    if sorted(names) not in (["cpu"], ["cpu", "gpu"]):
        yield f"units are named {names}, expected one 'cpu' and at most one 'gpu'"
    yield from _figure_problems("memory", soc.memory)
    for unit in soc.units:
        yield from _unit_problems(unit)


def _unit_problems(unit: ProcessingUnit) -> Iterator[str]:
    key = f"units.{unit.name}"
    if unit.kind != unit.name:
        yield f"{key}.kind is {unit.kind!r}, expected {unit.name!r}"
    if unit.cores < 1:
        yield f"{key}.cores is {unit.cores}, expected 1 or more"
    if unit.storage_bits not in (8, 16, 32):
        yield f"{key}.storage_bits is {unit.storage_bits}, expected 8, 16 or 32"
    if unit.subgroup < 0:
        yield f"{key}.subgroup is {unit.subgroup}, expected a size, or 0 where none is pinned"
    if "f32" not in unit.peak:
        yield f"{key}.peak.f32 is missing; every unit needs it"
    yield from _cpu_problems(unit) if unit.kind == "cpu" else _gpu_problems(unit)
    figures = {f"peak.{dtype}": figure for dtype, figure in unit.peak.items()}
    figures |= {"bandwidth": unit.bandwidth, "memory": unit.memory, "launch": unit.launch}
    for name, figure in figures.items():
        yield from _figure_problems(f"{key}.{name}", figure)


def _cpu_problems(unit: ProcessingUnit) -> Iterator[str]:
    if not unit.cpu:
        yield "units.cpu.cpu is missing, expected an LLVM CPU name (such as cortex-a76) or 'host'"
    if not unit.triple and unit.cpu != "host":
        yield f"units.cpu.triple is missing; cpu {unit.cpu!r} needs one, such as aarch64-linux-gnu"
    yield from _cluster_problems(unit.clusters)
    if unit.vulkan_target:
        yield f"units.cpu.vulkan_target is {unit.vulkan_target!r}; only a gpu has one"
    if unit.limits is not None:
        yield "units.cpu has limits; only a gpu has them"


def _cluster_problems(clusters: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    seen: set[int] = set()
    for name, cores in clusters.items():
        if not name.isidentifier():
            yield f"units.cpu.clusters has {name!r}, expected a name such as big, which '--pin' takes"
        if not cores or min(cores) < 0 or len(set(cores)) != len(cores):
            yield f"units.cpu.clusters.{name} is {list(cores)}, expected the numbers of its cores, each once"
        if shared := seen & set(cores):
            yield f"units.cpu.clusters.{name} has core {min(shared)}, which another cluster has too"
        seen |= set(cores)


def _gpu_problems(unit: ProcessingUnit) -> Iterator[str]:
    if not _VULKAN_TARGETS.fullmatch(unit.vulkan_target):
        yield (
            f"units.gpu.vulkan_target is {unit.vulkan_target!r}, which IREE does not know; "
            "take one such as mali-g710, adreno-750, videocore_vii or vp_android_baseline_2022"
        )
    if unit.triple or unit.cpu or unit.cpu_features:
        yield "units.gpu has a triple, cpu or cpu_features; only a cpu has them"
    if unit.clusters:
        yield "units.gpu has clusters; only a cpu has them"


def _figure_problems(key: str, figure: Figure) -> Iterator[str]:
    if not 0 < figure.value < float("inf"):
        yield f"{key}.value is {figure.value:g}, expected a positive number in SI units"
    if not figure.source.strip():
        yield f"{key}.source is empty; every figure says where it comes from"

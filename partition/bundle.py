"""A bundle: what was compiled for one SoC, on disk and as a value.

bundle.json                         this value: versions, SoC, models, checksum of every file
<role>.<precision>.irpa             weights of traced programs, shared by their units
<role>.<precision>.packed.irpa      weights of kernel programs, shared by theirs
<role>.<precision>.<unit>.vmfb      one program a unit; exports step_<width> for each width
tokenizer.json, chat_template.jinja
profile.json, acceptance.json, plan.json    written later, not under checksum
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from paceline.checksums import FileEntry, check_files
from paceline.costmodel import CacheKind, ModelSpec, Role
from paceline.costmodel.model_spec import Positive
from paceline.documents import parse_json, read_bytes
from paceline.errors import BundleError, OutputError
from paceline.files import check_place, real_place
from paceline.targets import GpuNeeds, Soc

SCHEMA = 2  # programs take a span of two numbers since 2
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
MANIFEST = "bundle.json"
# What is compiled unless said otherwise: tokens a call, and tokens that caches hold. Attention of traced programs reads
# all of the caches at every call, used or not.
WIDTHS = (1, 2, 4, 8, 16, 64)
CONTEXT = 512


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program that could not be compiled: the sentence to show, and the command that repeats it."""

    role: Role
    precision: str
    unit: str
    reason: str
    command: str = ""


class BundledModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of a bundle: ``programs`` maps a unit's name to its .vmfb, ``weights`` to the .irpa that it reads.

    ``kernels`` maps it to the instruction set of its kernels; programs of other units were traced. ``features`` maps it
    to what a CPU must have to run the program, as compilers spell it; ``needs`` to what a GPU's driver must, which
    was held against the limits of the SoC; ``caches`` to what it keeps keys and values in where that is not f32.
    ``same_as_target`` marks a drafter that is the target itself at another precision.
    """

    role: Role
    spec: ModelSpec
    precision: str
    programs: dict[str, str]
    weights: dict[str, str]
    kernels: dict[str, str] = {}
    features: dict[str, tuple[str, ...]] = {}
    needs: dict[str, GpuNeeds] = {}
    caches: dict[str, CacheKind] = {}
    same_as_target: bool = False

    def kept_on(self, unit: str) -> CacheKind:
        """What the program of a unit keeps keys and values in."""
        return self.caches.get(unit, "f32")


class TokenIds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Special ids of the tokenizer: which token starts a text (if any), and which ones end it, the usual one first."""

    bos: TokenId | None = None
    add_bos: bool = False
    eos: tuple[TokenId, ...] = ()


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a bundle but its bytes.

    ``context`` is the capacity of the caches in tokens, ``widths`` the tokens per call that every program exports,
    ascending, 1 first. ``versions`` names what made it (paceline, iree, torch).
    """

    schema: int = SCHEMA
    name: str
    soc: Soc
    context: Positive
    widths: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)]
    models: tuple[BundledModel, ...]
    tokens: TokenIds
    versions: dict[str, str]
    failures: tuple[Failure, ...] = ()
    files: dict[str, FileEntry]

    @property
    def target(self) -> BundledModel:
        return next(model for model in self.models if model.role == "target")

    @property
    def drafter(self) -> BundledModel | None:
        return next((model for model in self.models if model.role == "drafter"), None)

    @property
    def weights(self) -> frozenset[str]:
        """Names of the files that hold weights."""
        return frozenset(name for model in self.models for name in model.weights.values())

    @property
    def digest(self) -> str:
        """Identity of programs and weights; a profile or plan of another digest does not apply."""
        lines = sorted(f"{name} {entry.sha256}" for name, entry in self.files.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_bundle(folder: Path, *, checksums: bool = False) -> Bundle:
    """Read and check a bundle: its manifest, every byte of programs and texts, presence and size of weights.

    ``checksums`` reads every byte of the weights too, which takes seconds for a large model.

    Raises:
        BundleError: no bundle there, another schema, or a file that is missing, cut or changed; names the file.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}; make one with 'paceline compile'")
    bundle = parse_bundle(read_bytes(folder / MANIFEST, error=BundleError), where=str(folder / MANIFEST))
    check_files(
        folder / MANIFEST,
        bundle.files,
        every_byte=lambda name: checksums or name not in bundle.weights,
        error=BundleError,
        remedy="compile the bundle again or copy it anew",
    )
    return bundle


def parse_bundle(data: bytes, *, where: str) -> Bundle:
    """Read the bytes of a bundle.json, which errors call ``where``.

    Raises:
        BundleError: another schema, or no manifest of a bundle.
    """
    bundle = parse_json(data, Bundle, where=where, error=BundleError, schema=SCHEMA, remedy="compile it again")
    if sorted(model.role for model in bundle.models) not in (["target"], ["drafter", "target"]):
        raise BundleError(f"{where} names no target or too many models; compile it again")
    if bundle.widths[0] != 1 or list(bundle.widths) != sorted(set(bundle.widths)):
        found = ", ".join(map(str, bundle.widths))
        raise BundleError(f"{where} has the widths {found}, expected ascending ones from 1 on; compile it again")
    for name in (name for model in bundle.models for name in (*model.weights.values(), *model.programs.values())):
        if name not in bundle.files:
            raise BundleError(f"{where} uses {name!r} without a checksum for it; compile it again")
    return bundle


def check_output(path: Path, folder: Path, bundle: Bundle) -> Path:
    """Return ``path`` if it can be written, and is none of the files that make the bundle in ``folder``.

    Raises:
        OutputError: neither.
    """
    if real_place(path) in {(folder / name).resolve() for name in (MANIFEST, *bundle.files)}:
        raise OutputError(f"{path} is a part of the bundle; choose another output")
    return check_place(path)

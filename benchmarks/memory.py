"""What a loaded bundle occupies, beside what its weights and caches must occupy.

.venv/bin/python benchmarks/memory.py bundles/qwen --map target=cpu,drafter=cpu --draft-length 4

Weights are mapped from the archive: pages of it that were read count as file pages, which the kernel can drop at any
time. Anonymous memory is what it cannot: caches, results, and any second copy of the weights. ``anonymous`` is what
loading and generating added to that of the interpreter with its libraries; the ratio is to weights on disk + caches.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from paceline.commands.generating import open_model
from paceline.console import print_json
from paceline.costmodel import cache_bytes
from paceline.runtime import Model

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes of this process: anonymous pages (swapped ones too), file pages, and the peak of both so far."""

    anonymous: int
    file: int
    peak: int


class Occupied(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a bundle in use, and the ratios of what is resident to ``weights`` on disk + ``caches``.

    ``interpreter`` is the anonymous memory before loading, ``loaded`` and ``anonymous`` what loading and then
    generating added to it. ``dirty`` is memory of this process alone that was written to.
    """

    bundle: str
    mapping: str
    weights: int
    caches: int
    interpreter: int
    loaded: int
    anonymous: int
    file: int
    dirty: int
    peak: int
    anonymous_ratio: float
    resident_ratio: float


def resident() -> Resident:
    """What this process occupies now."""
    status = _sizes(Path("/proc/self/status"))
    return Resident(status["RssAnon"] + status["VmSwap"], status["RssFile"] + status["RssShmem"], status["VmHWM"])


def measure(folder: Path, *, mapping: str | None, draft_length: int | None, prompt: str, tokens: int) -> Occupied:
    """Load a bundle, generate ``tokens`` tokens, and see what that took."""
    importlib.import_module("paceline.runtime.iree_program")  # IREE itself is no part of a bundle
    before = resident()
    with open_model(folder, mapping=mapping, draft_length=draft_length) as model:
        loaded = resident()
        model.generate(prompt, max_new_tokens=tokens, ignore_eos=True).finish()
        after, dirty = resident(), _sizes(Path("/proc/self/smaps_rollup"))["Private_Dirty"]
        weights, caches = _needed(folder, model)
        anonymous = after.anonymous - before.anonymous
        return Occupied(
            bundle=model.bundle.name,
            mapping=str(model.setting.mapping),
            weights=weights,
            caches=caches,
            interpreter=before.anonymous,
            loaded=loaded.anonymous - before.anonymous,
            anonymous=anonymous,
            file=after.file,
            dirty=dirty,
            peak=after.peak,
            anonymous_ratio=anonymous / (weights + caches),
            resident_ratio=(after.anonymous + after.file) / (weights + caches),
        )


def _needed(folder: Path, model: Model) -> tuple[int, int]:
    """Bytes of weights on disk and of caches of the models that were loaded."""
    used = [entry for entry in model.bundle.models if entry.role in model.setting.places]
    weights = {entry.weights[model.setting.places[entry.role]] for entry in used}
    size = sum((folder / name).stat().st_size for name in weights)
    kept = [(entry.spec, entry.kept_on(model.setting.places[entry.role])) for entry in used]
    return size, sum(cache_bytes(spec, model.bundle.context, kind) for spec, kind in kept)


def _sizes(path: Path) -> dict[str, int]:
    """The ``key: n kB`` lines of a file of the kernel's, in bytes."""
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0].rstrip(":"): int(pair[1]) * 1024 for pair in pairs if pair[-1] == "kB"}


def _show(found: Occupied) -> None:
    print(f"{found.bundle}, {found.mapping}")
    for name in ("weights", "caches", "interpreter", "loaded", "anonymous", "file", "dirty", "peak"):
        print(f"{name:12} {getattr(found, name) / _MIB:9.1f} MiB")
    print(f"anonymous / (weights + caches)  {found.anonymous_ratio:.2f}")
    print(f"resident  / (weights + caches)  {found.resident_ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--map", help="where the models run; default: what the plan says")
    parser.add_argument("--draft-length", type=int)
    parser.add_argument("--prompt", default="Write a function that sorts a list of words by their length.")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(
        options.bundle,
        mapping=options.map,
        draft_length=options.draft_length,
        prompt=options.prompt,
        tokens=options.tokens,
    )
    if options.json:
        print_json(found)
    else:
        _show(found)


if __name__ == "__main__":
    main()

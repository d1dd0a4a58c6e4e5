"""``paceline compile``: model packages become a bundle for a SoC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.options import DraftVocabulary, SocName
from paceline.errors import UsageError

if TYPE_CHECKING:
    from paceline.partition import Bundle
    from paceline.targets import GpuNeeds, ProcessingUnit

EPILOG = """\
Examples:
  $ paceline compile --soc x86-swiftshader --target packages/smollm2 --drafter packages/smollm2@int8 -o bundles/smollm2
  $ paceline compile --soc imx95 --target packages/qwen-1.5b@int4 --drafter packages/qwen-0.5b@int8 -o bundles/qwen
  $ paceline compile --soc host --target packages/smollm2 -o bundles/plain --json | jq .models[0].programs.cpu
  "target.f32.cpu.vmfb"
"""
_MODEL = "A model package, DIR or DIR@PRECISION (f32, f16, int8, int4)."


def page(
    soc: SocName,
    target: Annotated[str, typer.Option(metavar="DIR", help=_MODEL + " f32 unless said.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="The new folder.")],
    drafter: Annotated[str, typer.Option(metavar="DIR", help=_MODEL + " int8 unless said.")] = "",
    draft_vocabulary: DraftVocabulary = None,
    context: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of prompt and answer together; default 512 or the model's.")
    ] = None,
    widths: Annotated[str, typer.Option(help="Tokens per call that programs are made for.")] = "1,2,4,8,16,64",
    unit: Annotated[list[str] | None, typer.Option(help="Only this unit (cpu, gpu); may be repeated.")] = None,
    dump: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write the IR of each phase there.")] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="Compilers at once; default one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    no_kernels: Annotated[
        bool, typer.Option("--no-kernels", help="Trace programs for CPUs as well: slower, for comparison.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's manifest as JSON.")] = False,
) -> None:
    """Compile a target, and a drafter if there is one, for every processing unit of a SoC.

    What did not change since an earlier call is taken from the cache (~/.cache/paceline/compile, or
    $PACELINE_CACHE/compile). A unit that cannot run a model is reported and left out; the rest is kept.
    """
    from paceline.compile import build
    from paceline.runtime.vulkan_driver import select_driver
    from paceline.targets import load_soc
    from paceline.targets.host import HOST

    driver = select_driver() if soc == HOST else None
    target_folder, target_precision = _model(target, "f32")
    drafter_folder, drafter_precision = _model(drafter, "int8")
    with console.progress() as progress:
        bundle = build(
            soc=load_soc(soc, gpu=driver.name if driver else ""),
            target=target_folder,
            target_precision=target_precision,
            drafter=drafter_folder if drafter else None,
            drafter_precision=drafter_precision,
            draft_vocabulary=draft_vocabulary,
            output=output,
            context=context,
            widths=_numbers(widths),
            units=tuple(unit) if unit else None,
            dump=dump,
            jobs=jobs,
            replace=force,
            kernels=not no_kernels,
            progress=progress,
        )
    console.print_json(bundle) if as_json else _show(bundle, output)
    if not no_kernels:
        _note_traced(bundle)


def _model(text: str, precision: str) -> tuple[Path, str]:
    """Folder and precision of ``DIR`` or ``DIR@PRECISION``; an existing folder may have an @ in its name."""
    folder, at, chosen = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), precision
    return Path(folder), chosen


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"--widths {text!r} is no list of numbers; write for example 1,2,4,8") from None


def _note_traced(bundle: Bundle) -> None:
    """Say which CPU programs are slower than they might be."""
    for unit in (unit.name for unit in bundle.soc.units if unit.kind == "cpu"):
        for model in bundle.models:
            if unit in model.programs and unit not in model.kernels:
                console.note(f"  {model.role} on {unit} is traced, which is slower: no kernels for its shape or CPU")


def _show(bundle: Bundle, output: Path) -> None:
    widths = ", ".join(map(str, bundle.widths))
    print(f"{output}: {bundle.name} for {bundle.soc.name}, context {bundle.context}, widths {widths}")
    for model in bundle.models:
        for name in dict.fromkeys(model.weights.values()):
            units = (unit for unit, weights in model.weights.items() if weights == name)
            where = ", ".join(f"{unit} ({model.kernels.get(unit, 'traced')})" for unit in units)
            size = f"{bundle.files[name].bytes / 1e6:.1f} MB of weights"
            print(f"  {model.role} {model.spec.name} {model.precision}: {where}; {size}")
        if model.spec.draft_vocabulary and model.kernels:
            where = ", ".join(model.kernels)
            print(f"    drafts among {model.spec.draft_vocabulary} of {model.spec.vocabulary} ids on {where}")
        for unit, needs in model.needs.items():
            print(f"    {unit}: {_checked(needs, bundle.soc.unit(unit))}")
    for failure in bundle.failures:
        console.note(f"  {failure.role} {failure.precision} not on {failure.unit}: {failure.reason}")
        if failure.command:
            console.note(f"    repeat it with: {failure.command}")


def _checked(needs: GpuNeeds, unit: ProcessingUnit | None) -> str:
    """How much of a driver's limits a program uses."""
    limits = unit.limits if unit else None
    if limits is None:
        return f"{needs.shaders} shaders, not checked: the SoC file has no limits"
    parts = (
        f"workgroups of up to {needs.invocations} (of {limits.invocations.value})",
        f"{needs.shared_memory} bytes shared (of {limits.shared_memory.value})",
        f"buffers of {needs.buffer_range / 1e6:.1f} MB (of {limits.buffer_range.value / 1e6:.1f})",
    )
    return f"{needs.shaders} shaders within the limits of {unit.description if unit else 'it'}: {', '.join(parts)}"

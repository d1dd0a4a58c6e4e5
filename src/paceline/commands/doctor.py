"""``paceline doctor``: what devices and drivers are here, what is missing, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from paceline import console
from paceline.commands.options import AsJson

if TYPE_CHECKING:
    from paceline.health import Gpu, Health

EPILOG = """\
Example:
  $ paceline doctor --install-swiftshader
  ...
  GPU mappings use SwiftShader: SwiftShader Device (Subzero), Vulkan 1.3.0
"""


def page(
    install_swiftshader: Annotated[
        bool,
        typer.Option("--install-swiftshader", help="Put SwiftShader (Vulkan on the CPU) into the cache, without root."),
    ] = False,
    clear_bundles: Annotated[
        bool,
        typer.Option("--clear-bundles", help="Remove bundles from the cache: unpacked ones, and those sent over ssh."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what this machine can do, what is missing, and the command that gets it.

    The exit code is 0 when models can decode on the CPU, 1 when they cannot.
    """
    from paceline.health import examine

    if install_swiftshader:
        from paceline.runtime import vulkan_driver

        with console.progress() as report:
            vulkan_driver.install_swiftshader(report)
    if clear_bundles:
        _clear_bundles()
    health = examine()
    if as_json:
        console.print_json(health)
    else:
        _show(health)
    if not health.cpu_ready:
        raise typer.Exit(1)


def _clear_bundles() -> None:
    from paceline.runtime.bundle_cache import remove_cached_bundles

    gone, busy = remove_cached_bundles()
    console.note(f"removed {_counted(len(gone), sum(gone.values()))} from the cache")
    for folder in busy:
        console.note(f"not removed: somebody writes into {folder}")


def _counted(number: int, size: int) -> str:
    return f"{number} bundle{'' if number == 1 else 's'} of {size / 1e6:.1f} MB"


def _show(health: Health) -> None:
    versions = [f"{name} {version or 'not installed'}" for name, version in health.packages.items()]
    rows = [
        ("paceline", f"{health.paceline}, Python {health.python}, {health.system}"),
        ("packages", "\n".join(versions)),
        ("CPU", f"{health.cpu}, {health.cores} cores"),
        ("CPU features", " ".join(health.features) or "none that matter"),
        ("memory", f"{health.memory_bytes / 1e9:.1f} GB"),
        ("cache", _cache(health)),
        *((f"Vulkan: {gpu.driver}", _describe(gpu)) for gpu in health.drivers),
    ]
    console.print_table("This machine", ("what", "found"), rows)
    for missing in health.missing:
        print(f"missing: {missing.what}\n  get it: {missing.command}")
    print("decoding on the CPU works" if health.cpu_ready else "decoding on the CPU does not work")
    used = next((gpu for gpu in health.drivers if gpu.used), None)
    print(f"GPU mappings use {used.driver}: {used.device}, Vulkan {used.api}" if used else "GPU mappings are rejected")


def _cache(health: Health) -> str:
    found = f"{health.cache}, {health.cache_free_bytes / 1e9:.1f} GB free"
    if not health.cached_bundles:
        return found
    return f"{found}\n{_counted(health.cached_bundles, health.cached_bundle_bytes)} in it; remove: --clear-bundles"


def _describe(gpu: Gpu) -> str:
    if gpu.problem:
        return f"not used: {gpu.problem}"
    limits = f"Vulkan {gpu.api}, subgroup {gpu.subgroup}, storage of {gpu.storage_bits} bits and wider"
    place = "on the CPU" if gpu.software else "on a GPU"
    return f"{'WILL BE USED' if gpu.used else 'not used'}: {gpu.device} ({place}; {limits}), {gpu.icd}"

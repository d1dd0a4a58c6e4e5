"""Everything paceline raises on purpose.

PacelineError                 exit code 1
├── UsageError                exit code 2: the command line or an argument is off
│   ├── UnknownSoc            no SoC file of that name
│   └── UnknownModel          no model of that name
├── CheckpointError           a checkpoint that cannot be imported
│   └── UnknownArchitecture   a model family that paceline does not have
├── PackageError              a model package that is no package, or is damaged
├── BundleError               a bundle that is no bundle, or is damaged
├── PairError                 drafter and target do not fit together
├── CompileFailed             a compiler refused; keeps tool, flags, first diagnostic, command
├── DeviceUnavailable         a device or driver that is not here
│   └── DeviceLost            one that was lost, or ran out of memory, in the middle of a run
├── BoardError                a board that cannot be reached, or fails
├── ProfileError              a profile that is missing, or from another machine or bundle
├── PlanError                 nothing feasible, or a plan that does not fit the bundle
├── PromptError               a prompt that cannot be run (empty, longer than the context)
└── OutputError               a place that cannot be written, or a full disk

Each message is one sentence or two: what was found, what was expected, what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence


class PacelineError(Exception):
    """Base of all; ``exit_code`` is what the CLI returns."""

    exit_code = 1


class UsageError(PacelineError):
    """An argument that cannot mean anything."""

    exit_code = 2


class UnknownSoc(UsageError):
    """A SoC name without a file."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown SoC {name!r}; known: {', '.join(known)} (or the path of a TOML file)")


class UnknownModel(UsageError):
    """A model name that paceline has no shape of."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"unknown model {name!r}; known: {', '.join(known)} "
            "(or a folder that 'paceline import' made, a config.json, or a .gguf file)"
        )


class CheckpointError(PacelineError):
    """A checkpoint that cannot be imported."""


class UnknownArchitecture(CheckpointError):
    """A model family that has no row in the table of families."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown architecture {name!r}; paceline knows {', '.join(known)}")


class PackageError(PacelineError):
    """A model package that is missing, damaged or of another version."""


class BundleError(PacelineError):
    """A bundle that is missing, damaged or of another version."""


class PairError(PacelineError):
    """A drafter and a target that cannot work together."""


class CompileFailed(PacelineError):
    """A compiler refused.

    Attributes:
        tool: the program that failed.
        diagnostic: its first error line, or its exit code where it printed none.
        command: the argument list that repeats the failure; empty where nothing was started.
    """

    def __init__(self, *, tool: str, diagnostic: str, command: Sequence[str]) -> None:
        self.tool, self.diagnostic, self.command = tool, diagnostic, tuple(command)
        repeat = f"\nrepeat it with: {shlex.join(self.command)}" if command else ""
        super().__init__(f"{tool} failed: {diagnostic}{repeat}")


class DeviceUnavailable(PacelineError):
    """A processing unit or driver that this machine does not have."""


class DeviceLost(DeviceUnavailable):
    """A device that was lost, or ran out of memory, in the middle of a run."""


class BoardError(PacelineError):
    """A board that cannot be reached, lacks something, or fails to do its part."""


class ProfileError(PacelineError):
    """A profile that is missing, or that speaks of another machine or bundle."""


class PlanError(PacelineError):
    """No feasible plan, or a plan that does not fit the bundle."""


class PromptError(PacelineError):
    """A prompt that cannot be run."""


class OutputError(PacelineError):
    """A place that cannot be written."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, but for what goes on after Ctrl-C."""

"""paceline: compile a drafter and a target for an edge SoC, plan, and decode losslessly.

Example:
    >>> import paceline
    >>> model = paceline.load("bundles/smollm2")
    >>> generation = model.generate("The capital of France is", max_new_tokens=16)
    >>> for token in generation:
    ...     print(token.text, end="", flush=True)
    >>> generation.stats.tokens_per_second
"""

from __future__ import annotations

# No import that takes long: the command cannot mind signals before this is done.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from paceline.runtime import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(bundle: str | Path, **options: Any) -> Model:
    """Load a bundle for generation; the options are those of ``paceline.runtime.load``.

    Raises:
        BundleError: the folder is no bundle, or a file of it is missing, cut or changed.
        DeviceUnavailable: the plan, or ``mapping``, names a device that is not here.
    """
    from paceline.runtime import load as load_bundle

    return load_bundle(bundle, **options)

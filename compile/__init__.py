"""From a checkpoint to a model package, and from packages to a bundle.

Example:
    >>> from paceline.compile import import_model, open_weights, read_package
    >>> package = import_model("smollm2-135m.gguf", Path("packages/smollm2"))
    >>> open_weights(Path("packages/smollm2"), package).read("layers.0.q.weight").shape
    (576, 576)
    >>> build(soc=load_soc("host"), target=Path("packages/smollm2"), output=Path("bundles/smollm2")).widths
    (1, 2, 4, 8, 16, 64)
"""

from paceline.compile.build import build
from paceline.compile.import_model import import_model
from paceline.compile.package import Package, Weights, open_weights, read_package

__all__ = ["Package", "Weights", "build", "import_model", "open_weights", "read_package"]

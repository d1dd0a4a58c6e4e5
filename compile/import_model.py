"""From what a user names (a file, a folder, a hub id) to a model package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from paceline.checksums import describe
from paceline.compile.checkpoint import Checkpoint, Progress
from paceline.compile.gguf_checkpoint import open_gguf_checkpoint
from paceline.compile.gguf_file import MAGIC
from paceline.compile.hf_checkpoint import open_hf_checkpoint
from paceline.compile.package import CHAT_TEMPLATE, MANIFEST, TOKENIZER, Package
from paceline.console import quiet
from paceline.documents import write_json
from paceline.errors import CheckpointError
from paceline.files import check_free, new_folder, write_bytes

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def import_model(source: str, output: Path, *, revision: str | None = None, progress: Progress = quiet) -> Package:
    """Import a .gguf file, a Hugging Face or ONNX folder, an .onnx file or a hub id into the new folder ``output``.

    ``revision`` is a branch, tag or commit of the hub. Tensors are copied as they are and never all in memory.

    Raises:
        CheckpointError: what was named is no checkpoint, damaged, incomplete, or of a kind that paceline cannot run.
        OutputError: ``output`` is taken or cannot be written, or the disk is full.
    """
    check_free(output)  # before a download of hours
    checkpoint = _open(source, revision, progress)
    with new_folder(output) as folder:
        checkpoint.write(folder, progress)
        write_bytes(folder / TOKENIZER, checkpoint.tokenizer.encode())
        if checkpoint.chat_template is not None:
            write_bytes(folder / CHAT_TEMPLATE, checkpoint.chat_template.encode())
        package = _describe(checkpoint, source, folder, progress)
        write_json(folder / MANIFEST, package)
    return package


def _describe(checkpoint: Checkpoint, source: str, folder: Path, progress: Progress) -> Package:
    files = {}
    paths = sorted(folder.iterdir())
    for index, path in enumerate(paths):
        progress(f"checksum of {path.name}", index, len(paths))
        files[path.name] = describe(path)
    progress("checksum", len(paths), len(paths))
    return Package(spec=checkpoint.spec, source=source, format=checkpoint.format, tokens=checkpoint.tokens, files=files)


def _open(source: str, revision: str | None, progress: Progress) -> Checkpoint:
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if _HUB_ID.fullmatch(source):
        from paceline.compile.hub import download  # imports the hub's client, which only this needs

        return open_hf_checkpoint(download(source, revision=revision, progress=progress), name=source.split("/")[-1])
    raise CheckpointError(
        f"{source} is neither a file or folder nor a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct"
    )


def _open_folder(path: Path) -> Checkpoint:
    if (path / MANIFEST).is_file():
        raise CheckpointError(f"{path} is a model package already; give it to 'paceline compile'")
    if any(path.glob("*.safetensors")):
        return open_hf_checkpoint(path, name=path.resolve().name)
    graphs = [graph for graph in (path / "model.onnx", path / "onnx" / "model.onnx") if graph.is_file()]
    if graphs:
        return _open_onnx(graphs[0])
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        return open_gguf_checkpoint(ggufs[0])
    raise CheckpointError(
        f"{path} holds no model.safetensors, no model.onnx and {len(ggufs)} .gguf files; name one checkpoint"
    )


def _open_file(path: Path) -> Checkpoint:
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        with path.open("rb") as file:
            opener = open_gguf_checkpoint if file.read(len(MAGIC)) == MAGIC else None
    if opener is None:
        raise CheckpointError(f"{path} is neither a .gguf nor an .onnx file; give a folder for safetensors")
    return opener(path)


def _open_onnx(path: Path) -> Checkpoint:
    from paceline.compile.onnx_checkpoint import open_onnx_checkpoint  # imports onnx, which only this needs

    return open_onnx_checkpoint(path)


_OPENERS: dict[str, Callable[[Path], Checkpoint]] = {".gguf": open_gguf_checkpoint, ".onnx": _open_onnx}

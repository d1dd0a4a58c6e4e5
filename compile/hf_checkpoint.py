"""A Hugging Face folder as a checkpoint: config.json, safetensors, tokenizer.json."""

from __future__ import annotations

from pathlib import Path

from paceline.compile.checkpoint import Checkpoint, Progress, WriteWeights, check_tensors, place
from paceline.compile.families import family_of_config
from paceline.compile.family import Family, check_spec
from paceline.compile.hf_tokenizer import HfTokenizer, read_tokenizer
from paceline.compile.safetensors_weights import SafetensorsWeights, open_all
from paceline.compile.settings import read_settings
from paceline.costmodel import ModelSpec
from paceline.errors import CheckpointError

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


def open_hf_checkpoint(folder: Path, *, name: str) -> Checkpoint:
    """Understand and check a folder; reads settings and headers, no weights.

    Raises:
        CheckpointError: a file that is missing, damaged or cut, or settings that paceline cannot compute.
        UnknownArchitecture: of a family that paceline does not have.
    """
    family, spec = read_spec(folder, name)
    tokenizer = read_tokenizer(folder, spec)
    files = _weight_files(folder)
    check_tensors(SafetensorsWeights(open_all(files), family, spec, where=str(folder)), spec, str(folder))

    def write(output: Path, progress: Progress) -> None:
        place(files, output, progress)

    return describe_hf(spec, tokenizer, write)


def describe_hf(spec: ModelSpec, tokenizer: HfTokenizer, write: WriteWeights) -> Checkpoint:
    """A checkpoint whose weights ``write`` puts down as safetensors."""
    return Checkpoint(
        spec=spec,
        format="safetensors",
        tokenizer=tokenizer.text,
        chat_template=tokenizer.chat_template,
        tokens=tokenizer.tokens,
        write=write,
    )


def read_spec(folder: Path, name: str) -> tuple[Family, ModelSpec]:
    """Family and ModelSpec of a folder's config.json; raises what ``read_config`` does."""
    return read_config(folder / "config.json", name)


def read_config(path: Path, name: str) -> tuple[Family, ModelSpec]:
    """Family and ModelSpec of a config.json; no weights are needed.

    Raises:
        CheckpointError: it is missing or damaged, or has settings that paceline cannot compute.
        UnknownArchitecture: of a family that paceline does not have.
    """
    settings = read_settings(path)
    if "quantization_config" in settings:
        raise settings.unfit("quantization_config", "unquantised weights; take the original checkpoint or a GGUF")
    family = family_of_config(settings.text("model_type"))
    text = settings.section("text_config") if "text_config" in settings else settings
    spec = family.from_config(text, name)
    check_spec(spec, str(path.parent))
    return family, spec


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / _INDEX).is_file():
        names = {str(name) for name in read_settings(folder / _INDEX).section("weight_map").values.values()}
        files = tuple(folder / name for name in sorted(names))
    elif (folder / _SINGLE).is_file():
        files = (folder / _SINGLE,)
    else:
        files = tuple(sorted(folder.glob("*.safetensors")))
    missing = next((file for file in files if not file.is_file() or file.parent != folder), None)
    if missing is not None or not files:
        raise CheckpointError(f"{missing or folder / _SINGLE} is missing; download the checkpoint again")
    return files

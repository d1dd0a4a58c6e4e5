"""Write a GGUF again with every matrix in one type, so that a peer runs at the precision that is compared.

    .venv/bin/python benchmarks/requantise.py model.gguf model-q8_0.gguf Q8_0

Embedding and head are converted too, which makes the fastest file of that type. With ``--keep-head`` they stay as they
are in the source, where llama.cpp's own quantisation leaves more bits to them. A Q4_K_M is compared as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

import gguf
import numpy as np

HEAD = ("token_embd.weight", "output.weight")


def rewrite(source: Path, output: Path, kind: gguf.GGMLQuantizationType, *, keep: Collection[str] = ()) -> None:
    """Copy metadata, norms and the tensors of ``keep``, and store each other matrix as ``kind``, one at a time."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(output, reader.fields["general.architecture"].contents(), use_temp_file=True)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=element)
    for tensor in reader.tensors:
        if tensor.name in keep:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("type", choices=["F32", "F16", "Q8_0", "Q4_0"])
    parser.add_argument("--keep-head", action="store_true", help="leave embedding and head in the source's types")
    options = parser.parse_args()
    keep = HEAD if options.keep_head else ()
    rewrite(options.source, options.output, gguf.GGMLQuantizationType[options.type], keep=keep)


if __name__ == "__main__":
    main()

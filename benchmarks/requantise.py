"""Write a GGUF again with every matrix in one type, so that a peer runs at the precision that is compared.

.venv/bin/python benchmarks/requantise.py model.gguf model-q8_0.gguf Q8_0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np


def rewrite(source: Path, output: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Copy metadata and norms, and store each matrix as ``kind``, one tensor in memory at a time."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(output, reader.fields["general.architecture"].contents(), use_temp_file=True)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=element)
    for tensor in reader.tensors:
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
    options = parser.parse_args()
    rewrite(options.source, options.output, gguf.GGMLQuantizationType[options.type])


if __name__ == "__main__":
    main()

"""A weights file of PyTorch's world, whichever its format: name -> float32 array."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.checkpoints import torch_file
from pipeline.errors import UserError

TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # a zip, or a pickle that begins with a number of ten bytes
SAFE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
SAFE |= {"I8": "|i1", "U8": "|u1", "BOOL": "|b1"}
Tensors = dict[str, np.ndarray]


def is_one(path: Path) -> bool:
    """Whether the first bytes are those of a file that `read` knows."""
    with open(path, "rb") as file:
        return _reader(file.read(9)) is not None


def read(path: Path) -> Tensors:
    """Every tensor of floating point, as float32. UserError where the file is damaged or is of another format."""
    data = path.read_bytes()
    reader = _reader(data[:9])
    if reader is None:
        raise UserError(f"{path}: expected a file of safetensors or of torch.save, and its first bytes say it is none")
    try:
        tensors = reader(data)
    except ImportError as error:
        raise UserError(f"{path}: reading it needs a package: pip install {error.name}") from None
    except Exception as error:  # whatever a damaged or planted file leads to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a dictionary of tensors, as safetensors or torch.save(model.state_dict(), …) "
            f"write it: {reason}. Download it again, or save it so"
        ) from None
    found = {name: _single(values) for name, values in tensors.items() if values.dtype.kind == "f"}
    if not found:
        kinds = ", ".join(sorted({str(values.dtype) for values in tensors.values()})) or "none"
        raise UserError(
            f"{path} has {len(tensors)} tensors of type {kinds}; expected float32, float16, bfloat16 or float64: "
            f"it may be a quantised copy, take the original"
        )
    return found


def _reader(start: bytes) -> Callable[[bytes], Tensors] | None:
    if start.startswith(TORCH):
        return torch_file.read
    return _read_safe if start[8:9] == b"{" else None


def _read_safe(data: bytes) -> Tensors:
    from safetensors import deserialize

    return {name: _values(info["dtype"], info["data"]).reshape(info["shape"]) for name, info in deserialize(data)}


def _values(dtype: str, data: bytes) -> np.ndarray:
    if dtype not in SAFE:
        raise ValueError(f"it has values of type {dtype}, expected one of {', '.join(SAFE)}")
    values = np.frombuffer(data, SAFE[dtype])
    return (values.astype("<u4") << 16).view("<f4") if dtype == "BF16" else values  # the upper half of a float32


def _single(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # told as infinite where the values are used
        return values.astype(np.float32)

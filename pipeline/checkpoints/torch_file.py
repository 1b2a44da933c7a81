"""PyTorch's checkpoint files, of the old format and of the new one (a zip), as arrays and without PyTorch.

The formats are those of torch.save: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import io
import math
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.checkpoints.unpickler import Storage, Tensor, load

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
WRAPPED = ("state_dict", "model")  # training scripts put the dictionary under one of these


def read(data: bytes) -> dict[str, np.ndarray]:
    """Name -> array of every tensor of a state dictionary; bfloat16 as float32. Raises where the file is no such."""
    objects, buffers = _read_zip(data) if data[:2] == b"PK" else _read_old(io.BytesIO(data))
    for key in WRAPPED:
        if isinstance(objects, dict) and isinstance(objects.get(key), dict):
            objects = objects[key]
    named = dict(objects) if isinstance(objects, dict) else {}
    found = {name: value for name, value in named.items() if type(value) is Tensor and isinstance(name, str)}
    if not found:
        raise ValueError("it holds no dictionary of tensors")
    return {name: _array(tensor, buffers) for name, tensor in found.items()}


def _read_old(file: io.BytesIO) -> tuple[Any, dict[Storage, bytes]]:
    if load(file) != MAGIC or load(file) != PROTOCOL:
        raise ValueError("it does not begin as torch.save begins a file")
    if load(file).get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    objects = load(file)
    known = {storage.key: storage for storage in _storages(objects)}
    buffers = {}
    for key in load(file):
        length = int.from_bytes(file.read(8), "little")
        if key not in known or known[key].length != length:
            raise ValueError(f"it has a storage of {length} values that its tensors do not tell of")
        buffers[known[key]] = file.read(length * _width(known[key]))
    return objects, buffers


def _read_zip(data: bytes) -> tuple[Any, dict[Storage, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("it is compressed, which torch.save never does")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise ValueError("it was written on a big-endian machine")
        objects = load(io.BytesIO(archive.read(members["data.pkl"])))
        return objects, {storage: archive.read(members[f"data/{storage.key}"]) for storage in _storages(objects)}


def _storages(objects: Any) -> Iterable[Storage]:
    """Of all tensors in a dictionary and in those within it."""
    values = list(objects.values()) if isinstance(objects, dict) else []
    inner = [more for value in values if isinstance(value, dict) for more in value.values()]
    return {value.storage for value in (*values, *inner) if type(value) is Tensor}


def _width(storage: Storage) -> int:
    return 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize


def _array(tensor: Tensor, buffers: dict[Storage, bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a tensor's offset, shape and strides are no numbers of values")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count and (last >= storage.length or count > storage.length):
        raise ValueError(f"a tensor reaches beyond its storage of {storage.length} values")
    if len(buffers[storage]) != storage.length * _width(storage):
        raise ValueError("it is cut short")
    half = storage.dtype == "bfloat16"  # the upper half of a float32
    values = np.frombuffer(buffers[storage], "<u2" if half else storage.dtype)
    if half:
        values = (values.astype("<u4") << 16).view("<f4")
    steps = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy() if count else np.empty(shape)

"""An unpickler that knows dictionaries of tensors and refuses everything else: nothing of the file is ever run.

`find_class` hands out no class and no function of another module but the ordered dictionary. The instructions are
looked through first, because the standard library's unpickler obeys some that need no class: a memo entry number 2^31
fills 32 GB, and a key of tuples within tuples takes for ever to hash.
"""

import io
import pickle
import pickletools
from collections import OrderedDict
from typing import Any, NamedTuple

ALLOWED = {"PROTO", "GLOBAL", "BINPERSID", "REDUCE", "BUILD", "MARK", "STOP", "NONE", "NEWTRUE", "NEWFALSE"}
ALLOWED |= {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "LONG1"}
ALLOWED |= {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
ALLOWED |= {"BINUNICODE", "BININT", "BININT1", "BININT2", "BINFLOAT"}
MOST_SHARED = 24  # uses of tuples once more: each can double what the next takes to hash
DTYPES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16"}
DTYPES |= {"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1"}
DTYPES |= {"ByteStorage": "|u1", "BoolStorage": "|b1"}


class Storage(NamedTuple):
    """A run of values that stands elsewhere in the file."""

    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count values. Nothing of it has been checked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: Tensor(*arguments[:4])  # made anew: the file may set its attributes
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        raise ValueError(f"it asks for {f'{module}.{name}'[:80]!r}, which no dictionary of tensors needs")

    def persistent_load(self, reference: Any) -> Storage:
        kind, dtype, key, _, length, *view = reference
        right = kind == "storage" and dtype in DTYPES.values() and type(key) is str and type(length) is int
        if not right or length < 0 or any(view):
            raise ValueError("it refers to something that is no storage of a known type")
        return Storage(key, dtype, length)


def load(file: io.BytesIO) -> Any:
    """What the next pickle in the file stands for: numbers, strings, containers, Tensors. Raises where it is none."""
    start, tuples, shared, last = file.tell(), set(), 0, ""
    for opcode, argument, position in pickletools.genops(file):
        name = opcode.name
        if name not in ALLOWED:
            raise ValueError(f"it has the instruction {name}, which no dictionary of tensors needs")
        if name.endswith("BINPUT"):
            if argument > position:  # entries are numbered as they come
                raise ValueError(f"it numbers an object {argument}")
            tuples.add(argument) if last.startswith("TUPLE") else tuples.discard(argument)
        shared += name.endswith("BINGET") and argument in tuples
        if shared > MOST_SHARED:
            raise ValueError("it is more than a dictionary of tensors")
        last = name
    file.seek(start)
    return _Unpickler(file).load()

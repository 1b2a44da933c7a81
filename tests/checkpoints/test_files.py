"""Weights files: read as they were written; damaged and planted ones are refused and never run."""

import builtins
import io
import json
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.checkpoints import files, torch_file, unpickler
from pipeline.errors import UserError

SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Named:
    """Pickled as a reference to a module's name, which need not exist."""

    def __init__(self, module: str, name: str):
        self.name = (module, name)


class Called:
    """Pickled as a call of `function`, a Named or a callable of this process."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Stored:
    """Pickled as a persistent reference."""

    def __init__(self, *reference):
        self.reference = reference


class Writer(pickle._Pickler):
    """Writes what torch.save writes, and what it never would."""

    def __init__(self, file):
        super().__init__(file, protocol=2)

    def persistent_id(self, value):
        return value.reference if isinstance(value, Stored) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Named):
            self.write(b"c" + "\n".join(value.name).encode() + b"\n")
        elif isinstance(value, Called):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value) -> bytes:
    file = io.BytesIO()
    Writer(file).dump(value)
    return file.getvalue()


REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def tensor(key="0", kind="FloatStorage", length=6, offset=0, shape=(2, 3), strides=(3, 1)):
    stored = Stored("storage", Named("torch", kind), key, "cpu", length)
    return Called(REBUILD, stored, offset, shape, strides, False, Called(OrderedDict))


VALUES = {"0": np.arange(6, dtype="<f4").tobytes()}
GOOD = {"a.weight": tensor()}


def old(objects, values=VALUES, lengths=(6,)) -> bytes:
    start = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled(SYSTEM), pickled(objects), pickled(list(values))]
    stored = [struct.pack("<q", length) + data for length, data in zip(lengths, values.values(), strict=True)]
    return b"".join([*start, *stored])


def new(objects, values=VALUES, how=zipfile.ZIP_STORED, order="little") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr("archive/data.pkl", pickled(objects))
        archive.writestr("archive/byteorder", order)
        for key, data in values.items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


def refused(path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        files.read(path)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    assert str(path) in text
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pth"


@pytest.mark.parametrize("written", [old, new])
@pytest.mark.parametrize("objects", [GOOD, {"state_dict": GOOD, "epoch": 3}, {"model": {**GOOD, "steps": 2.5}}])
def test_both_formats_are_read(path, written, objects):
    path.write_bytes(written(objects))
    found = files.read(path)
    assert list(found) == ["a.weight"]
    np.testing.assert_array_equal(found["a.weight"], [[0, 1, 2], [3, 4, 5]])


def test_views_and_types_are_read():
    objects = OrderedDict(
        turned=tensor(shape=(3, 2), strides=(1, 3)),
        part=tensor(offset=1, shape=(2,), strides=(2,)),
        parameter=Called(Named("torch._utils", "_rebuild_parameter"), tensor(), True, OrderedDict()),
        half=tensor("1", "HalfStorage", 2, shape=(2,), strides=(1,)),
        brain=tensor("2", "BFloat16Storage", 2, shape=(2,), strides=(1,)),
        steps=tensor("3", "LongStorage", 1, shape=(), strides=()),
        none=tensor(shape=(0, 3), strides=(3, 1)),
    )
    values = VALUES | {
        "1": np.array([1.5, -2], "<f2").tobytes(),
        "2": (np.array([1.5, -2], "<f4").view("<u4") >> 16).astype("<u2").tobytes(),
        "3": struct.pack("<q", 7),
    }
    for data in (old(objects, values, (6, 2, 2, 1)), new(objects, values)):
        found = torch_file.read(data)
        np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
        np.testing.assert_array_equal(found["part"], [1, 3])
        assert found["parameter"].shape == (2, 3)
        assert found["half"].tolist() == found["brain"].tolist() == [1.5, -2]
        assert found["brain"].dtype == np.float32
        assert found["steps"] == 7
        assert found["none"].shape == (0, 3)


ATTACKS = {
    "system": Called(Named("posix", "system"), "touch {}"),
    "os": Called(Named("os", "system"), "touch {}"),
    "eval": Called(builtins.eval, "open('{}', 'w')"),
    "old eval": Called(Named("__builtin__", "eval"), "open('{}', 'w')"),
    "subprocess": Called(Named("subprocess", "check_call"), ["touch", "{}"]),
    "file": Called(Named("io", "open"), "{}", "w"),
    "getattr": Called(Called(Named("builtins", "getattr"), Named("os", "system")), "touch {}"),
    "path": Called(Named("collections", "OrderedDict.fromkeys"), "{}"),
    "dotted": Called(Named("torch._utils", "_rebuild_tensor_v2.__globals__"), "{}"),
    "torch": Called(Named("torch", "load"), "{}"),
    "import": Called(Named("torch.hub", "load"), "{}"),
    "apply": Called(Named("functools", "partial"), Named("os", "system"), "touch {}"),
    "nested": {"state_dict": {"a": {"b": [Called(Named("os", "system"), "touch {}")]}}},
    "in a tensor": Called(REBUILD, Called(Named("os", "system"), "touch {}"), 0, (1,), (1,)),
    "as a hook": Called(REBUILD, Stored("storage", Named("torch", "FloatStorage"), "0", "cpu", 6), 0, (1,), (1,), False,
                        Called(Named("os", "system"), "touch {}")),
    "as a reference": Stored("storage", Called(Named("os", "system"), "touch {}"), "0", "cpu", 6),
}  # fmt: skip


def placed(value, name: str):
    """The attack with the file that it would make."""
    if isinstance(value, Called):
        return Called(placed(value.function, name), *(placed(item, name) for item in value.arguments))
    if isinstance(value, Stored):
        return Stored(*(placed(item, name) for item in value.reference))
    if isinstance(value, dict):
        return {key: placed(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(placed(item, name) for item in value)
    return value.replace("{}", name) if isinstance(value, str) else value


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("written", [old, new])
def test_planted_code_is_refused_and_never_run(path, written, attack):
    target = path.with_name("made")
    planted = placed(ATTACKS[attack], str(target))
    assert "which no dictionary of tensors needs" in refused(path, written({**GOOD, "b.weight": planted}))
    assert not target.exists()


def test_the_planted_code_would_run_elsewhere(path):
    """An attack that does nothing where it is not refused would prove nothing."""
    target = path.with_name("made")
    pickle.loads(pickled(placed(ATTACKS["os"], str(target))))
    assert target.exists()


@pytest.mark.parametrize(
    "instructions",
    [
        b"\x80\x02i" + b"os\nsystem\n.",  # INST
        b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"\x80\x02]" + b"".join(b"(lq" + bytes([i]) for i in range(9)) + b".",
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02Q.",  # a persistent reference to nothing
        b"\x80\x02}q\x00" + b"".join(b"h%c" % i + b"h%c\x86q%c" % (i, i + 1) for i in range(200)) + b"K\x00s.",
        b"",
    ],
)
def test_unknown_instructions_are_refused_at_once(instructions):
    with pytest.raises(Exception, match=r"."):
        unpickler.load(io.BytesIO(instructions))


def test_attributes_that_a_file_sets_do_not_outlive_it():
    state = b"}X\x01\x00\x00\x00aK\x01s"
    for name in (b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict", b"torch\nFloatStorage"):
        try:
            unpickler.load(io.BytesIO(b"\x80\x02c" + name + b"\n" + state + b"b."))
        except (AttributeError, TypeError):
            continue
    assert torch_file.read(new(GOOD))["a.weight"].shape == (2, 3)
    assert not hasattr(OrderedDict, "a")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (tensor(shape=(2, 4)), "reaches beyond its storage of 6 values"),
        (tensor(offset=1), "reaches beyond"),
        (tensor(shape=(2, 3), strides=(3, 2)), "reaches beyond"),
        (tensor(shape=(10**9, 10**9), strides=(0, 0)), "reaches beyond"),
        (tensor(shape=(2**62,), strides=(0,)), "reaches beyond"),
        (tensor(shape=(1,), strides=(2**70,)), "."),
        (tensor(offset=-1), "no numbers of values"),
        (tensor(strides=(3, -1)), "no numbers of values"),
        (tensor(shape=(2, 3), strides=(1,)), "no numbers of values"),
        (tensor(shape=(True,), strides=(1,)), "no numbers of values"),
        (tensor(shape=(2.0,), strides=(1,)), "no numbers of values"),
        (tensor(shape="23", strides="31"), "no numbers of values"),
        (tensor(length=2**62), "."),
        (tensor(length=-6), "no storage of a known type"),
        (tensor(length=7), "."),
        (tensor(key="9"), "."),
        (tensor(key=0), "no storage of a known type"),
        (tensor(key="../../data.pkl"), "."),
        (tensor(kind="ComplexFloatStorage"), "asks for 'torch.ComplexFloatStorage'"),
        (tensor(kind="QInt8Storage"), "asks for 'torch.QInt8Storage'"),
        (tensor(kind="DoubleStorage"), "cut short|storage"),
        (Called(REBUILD), "."),
        (Called(REBUILD, 1, 2, 3, 4), "."),
        (Stored(), "."),
        (Stored(1, 2, 3), "."),
        (Stored("module", Named("torch", "FloatStorage"), "0", "cpu", 6), "no storage"),
        (Stored("storage", Named("torch", "FloatStorage"), "0", "cpu", 6, ("1", 0, 6)), "no storage"),
        (Stored("storage", "float", "0", "cpu", 6), "no storage of a known type"),
    ],
)  # fmt: skip
def test_wrong_tensors_are_refused(path, changed, message):
    for written in (old, new):
        text = refused(path, written({"a.weight": changed}))
        assert message == "." or any(part in text for part in message.split("|"))


@pytest.mark.parametrize("objects", [{}, [], 3, "text", None, {"a": 1}, {1: tensor()}, {"model": {}}, {"model": [1]}])
def test_what_holds_no_tensors_is_refused(path, objects):
    assert "holds no dictionary of tensors" in refused(path, new(objects))


def test_other_zips_and_byte_orders_are_refused(path):
    assert "compressed" in refused(path, new(GOOD, how=zipfile.ZIP_DEFLATED))
    assert "big-endian" in refused(path, new(GOOD, order="big"))
    swapped = old(GOOD).replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    if swapped != old(GOOD):
        assert "big-endian" in refused(path, swapped)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "cannot be read" in refused(path, path.read_bytes())


@pytest.mark.parametrize("written", [old, new])
def test_a_file_cut_anywhere_is_refused(path, written):
    data = written(GOOD)
    for length in range(len(data)):
        refused(path, data[:length])


def test_text_and_hdf5_are_no_such_files(path):
    assert "first bytes say it is none" in refused(path, b"\x89HDF\r\n\x1a\n" + b"0" * 90)
    assert "first bytes say it is none" in refused(path, b"version https://git-lfs.github.com/spec/v1\n")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.sampled_from([old(GOOD), new(GOOD)]),
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4
    ),
)
def test_altered_files_are_read_or_refused_but_never_run(tmp_path, written, changes):
    data = written
    for place, put, taken in changes:
        place %= len(data) + 1
        data = data[:place] + put + data[place + taken :]
    path = tmp_path / "altered.pth"
    path.write_bytes(data)
    try:
        found = files.read(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert all(values.dtype == np.float32 and values.size <= 6 for values in found.values())


INSTRUCTIONS = [struct.pack("B", code) for code in range(256)] + [b"cos\nsystem\n", b"X\x01\x00\x00\x00a", b"(", b"t"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(INSTRUCTIONS), max_size=30))
def test_any_string_of_instructions_makes_plain_values_or_an_error(instructions):
    class Strict(unpickler._Unpickler):
        def find_class(self, module, name):
            found = super().find_class(module, name)
            assert module.startswith("torch") or found is OrderedDict
            return found

    try:
        made = unpickler.load(io.BytesIO(b"\x80\x02" + b"".join(instructions) + b"."))
    except Exception:
        return
    plain = (int, float, str, tuple, list, dict, type(None), unpickler.Storage, unpickler.Tensor)
    assert isinstance(made, plain) or made is OrderedDict


def safe(**tensors: tuple[str, np.ndarray]) -> bytes:
    """A file of safetensors: the length of the header, the header, the values."""
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        where = [len(data), len(data) + values.nbytes]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": where}
        data += values.tobytes()
    told = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(told)) + told + data


needs_safetensors = pytest.mark.skipif(not find_spec("safetensors"), reason="safetensors is not installed")


@needs_safetensors
def test_safetensors_are_read_in_every_precision(path):
    brain = (np.array([1.5, -2], "<f4").view("<u4") >> 16).astype("<u2")
    two = np.array([1.5, -2])
    path.write_bytes(
        safe(
            a=("F32", two.astype("f4")),
            b=("F16", two.astype("f2")),
            c=("BF16", brain),
            d=("F64", two),
            i=("I64", np.arange(2)),
        )
    )
    found = files.read(path)
    assert sorted(found) == ["a", "b", "c", "d"]
    assert all(values.dtype == np.float32 and values.tolist() == [1.5, -2] for values in found.values())


@needs_safetensors
def test_unreadable_types_in_safetensors_are_told(path):
    assert "type F8_E4M3, expected one of F64, F32" in refused(path, safe(a=("F8_E4M3", np.ones(3, "u1"))))


@needs_safetensors
def test_a_quantised_copy_is_told(path):
    said = "has 2 tensors of type int8, uint8; expected float32"
    assert said in refused(path, safe(a=("I8", np.ones(3, "i1")), b=("U8", np.ones(3, "u1"))))
    assert "has 0 tensors of type none" in refused(path, safe())


@needs_safetensors
def test_a_cut_or_altered_safetensors_is_refused(path):
    data = safe(a=("F32", np.ones((3, 2), "f4")))
    for length in range(len(data)):
        refused(path, data[:length])
    assert "cannot be read" in refused(path, data.replace(b"[3,2]", b"[3,9]"))
    assert "cannot be read" in refused(path, struct.pack("<Q", 2**62) + data[8:])


def test_the_package_that_reads_a_file_is_named_where_it_is_missing(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install safetensors" in refused(path, safe(a=("F32", np.ones(3, "f4"))))

"""Files of torch.save, written here opcode by opcode: what is read, and what is not run."""

import io
import os
import pickle
import struct
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv.pretrained import read_state_dict

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
NUMBERS = np.arange(24, dtype=np.float32)


def data(value):
    """What pushes a plain value, without the first and the last opcode of a pickle."""
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(*view, kind="FloatStorage", key="0", count=24):
    values = (key, "cpu", count, *view)
    return b"(" + data("storage") + named("torch", kind) + b"".join(data(v) for v in values) + b"tQ"


HOOKS = named("collections", "OrderedDict") + b")R"


def tensor(stored, offset=0, shape=(24,), strides=(1,), *, function="_rebuild_tensor_v2"):
    view = stored + data(offset) + data(shape) + data(strides)
    more = data(False) + HOOKS if function == "_rebuild_tensor_v2" else b""
    return named("torch._utils", function) + b"(" + view + more + b"tR"


def mapping(**values):
    items = b"".join(data(name) + value for name, value in values.items())
    return named("collections", "OrderedDict") + b")R(" + items + b"u"


def whole(content):
    return b"\x80\x02" + content + b"."


def write_zip(path, program, numbers=NUMBERS, order=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", order)
        archive.writestr("archive/data/0", numbers.tobytes())
    return path


def write_legacy(path, program, numbers=NUMBERS):
    pickles = [whole(data(value)) for value in (MAGIC, 1001, {"little_endian": True})]
    pickles += [program, whole(data(["0"]))]
    path.write_bytes(b"".join(pickles) + struct.pack("<q", numbers.size) + numbers.tobytes())
    return path


WRITERS = [write_zip, write_legacy]
GOOD = whole(mapping(a=tensor(storage())))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (24,), (1,)),
        (0, (2, 3, 4), (12, 4, 1)),
        (3, (5, 4), (1, 5)),
        (1, (2, 3), (11, 5)),
        (7, (3, 2), (0, 1)),
        (23, (), ()),
        (24, (0, 3), (3, 1)),
    ],
)
def test_views_of_a_storage(tmp_path, write, offset, shape, strides):
    view = tensor(storage(), offset, shape, strides)
    read = read_state_dict(write(tmp_path / "file", whole(mapping(a=view, b=tensor(storage())))))
    expected = np.zeros(shape, np.float32)
    for index in np.ndindex(shape):
        expected[index] = NUMBERS[offset + sum(i * s for i, s in zip(index, strides, strict=True))]
    np.testing.assert_array_equal(read["a"], expected, strict=True)
    np.testing.assert_array_equal(read["b"], NUMBERS, strict=True)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_kind(tmp_path, write, kind):
    numbers = np.array([0, 1, 3, 100], jnp.dtype(KINDS[kind]))
    view = tensor(storage(kind=kind, count=4), 0, (4,))
    read = read_state_dict(write(tmp_path / "file", whole(mapping(a=view)), numbers))["a"]
    np.testing.assert_array_equal(read, numbers, strict=True)


@pytest.mark.parametrize("nested", ["state_dict", "model", "state_dict_ema"])
def test_the_state_dict_of_a_checkpoint(tmp_path, nested):
    settings = named("argparse", "Namespace") + b")\x81" + data({"lr": 0.1}) + b"b"
    inside = mapping(a=tensor(storage(), 2, (3,)))
    content = mapping(best=tensor(storage()), epoch=data(7), args=settings, **{nested: inside})
    read = read_state_dict(write_zip(tmp_path / "file", whole(content)))
    assert read.keys() == {"a"}
    np.testing.assert_array_equal(read["a"], [2, 3, 4])


def test_averaged_weights_come_first(tmp_path):
    first, last = (mapping(a=tensor(storage(), at, (1,))) for at in (4, 9))
    content = mapping(model=first, state_dict=first, state_dict_ema=last)
    read = read_state_dict(write_zip(tmp_path / "file", whole(content)))
    np.testing.assert_array_equal(read["a"], [9])


def test_files_of_the_first_versions(tmp_path):
    # Strings of Python 2, tensors without hooks, storages that could have been parts of others.
    key = b"U\x01a"
    view = tensor(storage(None), 1, (2,), function="_rebuild_tensor")
    read = read_state_dict(write_legacy(tmp_path / "file", b"\x80\x02}" + key + view + b"s."))
    np.testing.assert_array_equal(read["a"], [1, 2])


def test_parameters_and_attributes_of_a_dict(tmp_path):
    parameter = named("torch._utils", "_rebuild_parameter") + b"("
    parameter += tensor(storage(), 5, (1,)) + data(True) + HOOKS + b"tR"
    content = mapping(a=parameter) + data({"_metadata": {"": {"version": 1}}}) + b"b"
    read = read_state_dict(write_zip(tmp_path / "file", whole(content)))
    np.testing.assert_array_equal(read["a"], [5])


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    evil = pickle.dumps(Evil(f"touch {trace}"), protocol)
    pickle.loads(evil)
    assert trace.exists()
    trace.unlink()
    good = write_legacy(tmp_path / "good", GOOD).read_bytes()
    # In place of each of the pickles that a file begins with, and of its last one.
    ends, stream = [0], io.BytesIO(good)
    for _ in range(3):
        pickle.load(stream)
        ends.append(stream.tell())
    ends += [ends[-1] + len(GOOD)]
    files = [write_zip(tmp_path / "zip", evil)]
    for number, start in enumerate(ends):
        files.append(tmp_path / f"legacy{number}")
        files[-1].write_bytes(good[:start] + evil)
    for file in files:
        with pytest.raises(ValueError, match=f"'{file}' cannot be read .it asks for .*system"):
            read_state_dict(file)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor_v2.__init__.__globals__"),
        ("torch", "load"),
        ("jaxcv.pretrained._torch_files", "_read_zip"),
        ("torchvision.models.resnet", "ResNet"),
    ],
)
def test_other_names_are_refused(tmp_path, module, name):
    for ask in (
        named(module, name),
        data(module) + data(name) + b"\x93",
        b"(i" + f"{module}\n{name}\n".encode(),
    ):
        file = write_zip(tmp_path / "file", b"\x80\x04" + ask + b")R.")
        with pytest.raises(ValueError, match=f"it asks for {module}.{name}, which is not run"):
            read_state_dict(file)


@pytest.mark.parametrize(
    "known",
    [
        ("argparse", "Namespace"),
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "FloatStorage"),
    ],
)
@pytest.mark.parametrize("state", [{"__init__": 1}, (None, {"__init__": 1, "array": 2})])
def test_attributes_are_not_set(tmp_path, known, state):
    from jaxcv.pretrained import _torch_files

    target = _torch_files._KNOWN[known]
    before = dict(vars(target)) if isinstance(target, type) else target
    file = write_zip(tmp_path / "file", whole(named(*known) + data(state) + b"b"))
    with pytest.raises(ValueError, match="cannot be read"):
        read_state_dict(file)
    assert (dict(vars(target)) if isinstance(target, type) else target) == before


def test_attributes_of_a_tensor_are_not_set(tmp_path):
    for state in ({"offset": 3}, (None, {"offset": 3})):
        view = tensor(storage(), 0, (1,)) + data(state) + b"b"
        read = read_state_dict(write_zip(tmp_path / "file", whole(mapping(a=view))))
        np.testing.assert_array_equal(read["a"], [0])


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "content",
    [
        data([1, 2]),
        mapping(a=data(1)),
        data("eval") + b")R",
        tensor(storage()) + b")R",
        data("storage") + b"Q",
        mapping(a=tensor(storage(count=23))),
        mapping(a=tensor(storage(kind="DoubleStorage"))),
        mapping(a=tensor(storage(("1", 0, 3)))),
        mapping(a=tensor(storage(), -1)),
        mapping(a=tensor(storage(), 1)),
        mapping(a=tensor(storage(), 0, (25,))),
        mapping(a=tensor(storage(), 0, (2, 3), (12, 6))),
        mapping(a=tensor(storage(), 23, (2,), (-1,))),
        mapping(a=tensor(storage(), 0, (-1,))),
        mapping(a=tensor(storage(), 0, (2,), (1, 1))),
        mapping(a=tensor(storage(), 0, (2.0,))),
        mapping(a=tensor(storage(), 0, (2**62, 2**62), (0, 0))),
        mapping(a=tensor(data("float32"))),
    ],
)
def test_broken_files_are_named(tmp_path, write, content):
    path = write(tmp_path / "file", whole(content))
    with pytest.raises(ValueError, match=f"'{path}' cannot be read"):
        read_state_dict(path)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "file"
    other = pickle.dumps({"a": 1}) * 4
    for content in (b"", b"PK", b"text", b"\x80", other):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"'{path}' cannot be read"):
            read_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.txt", "")
    with pytest.raises(ValueError, match=r"no data\.pkl"):
        read_state_dict(path)
    with pytest.raises(ValueError, match="not little-endian"):
        read_state_dict(write_zip(path, GOOD, order=b"big"))


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_anywhere_is_named(tmp_path, write):
    path = write(tmp_path / "file", GOOD)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            read_state_dict(path)


@pytest.mark.parametrize("write", WRITERS)
def test_a_damaged_byte_does_no_more_than_a_wrong_number(tmp_path, write):
    path = write(tmp_path / "file", GOOD)
    content = path.read_bytes()
    for place in range(len(content)):
        for byte in (0xFF, content[place] ^ 1, ord("r")):
            path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
            try:
                read_state_dict(path)
            except ValueError as error:
                assert str(path) in str(error)

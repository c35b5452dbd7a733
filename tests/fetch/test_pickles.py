"""Pickles: NumPy's arrays and plain containers come through, and nothing else does."""

import builtins
import collections
import errno
import io
import os
import pickle

import numpy as np
import pytest

from supervised_reptile.fetch import pickles
from supervised_reptile.system.errors import UnsoundError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
IMAGES = np.arange(2 * 84 * 84 * 3).astype(np.uint8).reshape(2, 84, 84, 3)


def load(content):
    return pickles.load(io.BytesIO(content))


@pytest.fixture(params=["numpy.core", "numpy._core"])
def numpy_names(request, monkeypatch):
    """The names that NumPy 1 and NumPy 2 write."""
    for function, module in (
        (np._core.multiarray._reconstruct, "multiarray"),
        (np._core.multiarray.scalar, "multiarray"),
        (np._core.numeric._frombuffer, "numeric"),
    ):
        monkeypatch.setattr(function, "__module__", f"{request.param}.{module}")
    return request.param


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_plain_containers_and_numbers_come_through(protocol, numpy_names):
    content = {"a": [1, 2.5, True, None, "text"], "b": (1, (2,)), "c": {1, 2}, "d": [np.int64(7)]}
    content["ordered"] = collections.OrderedDict([("z", [1]), ("a", [2])])
    written = pickle.dumps(content | {"image_data": IMAGES}, protocol)
    assert numpy_names.encode() + b"." in written
    found = load(written)
    images = found.pop("image_data")
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)
    for other in (np.asfortranarray(IMAGES), np.arange(3, dtype=">i4")):
        np.testing.assert_array_equal(load(pickle.dumps(other, protocol)), other)
    assert found == content and list(found["ordered"]) == ["z", "a"]


def test_what_python_2_wrote_comes_through():
    """Written by hand after its opcodes: text that is bytes, and names of its modules."""
    content = (
        b"\x80\x02}q\x00(U\nimage_dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\n"
        b"ndarray\nq\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02K\x03\x86q\x08cnumpy\n"
        b"dtype\nq\tU\x02u1q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01|q\rNNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tq\x0eb\x89U\x06\x00\x01\x02\x80\xfe\xffq\x0ftq\x10b"
        b"U\nclass_dictq\x11}q\x12U\x03n01q\x13c__builtin__\nset\nq\x14]q\x15K\x00a\x85q\x16Rsu."
    )
    found = load(content)
    assert found["image_data"].tolist() == [[0, 1, 2], [128, 254, 255]]
    assert found["class_dict"] == {"n01": {0}}


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


MALICIOUS = {
    "os.system": Calls(os.system, "touch executed"),
    "eval": Calls(eval, "open('executed', 'w')"),
    "open": Calls(open, "executed", "w"),
    "getattr": Calls(getattr, "a", "format"),
    "getattr chain": Calls(map, Calls(getattr, Calls(builtins.__import__, "os"), "system"), ["x"]),
    "numpy's loader": Calls(np.load, "executed"),
    "numpy's array": Calls(np.array, [1]),
    "object array": np.array([os.system], object),
    "structured array": np.zeros(2, [("a", "u1"), ("b", "O")]),
    "text array": np.array(["a"]),
    "masked array": np.ma.array([1]),
    "instance of a class": pytest.Item,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trick", MALICIOUS)
def test_everything_else_is_refused(trick, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(MALICIOUS[trick], protocol)
    with pytest.raises(UnsoundError, match="not a pickle of NumPy arrays and plain containers"):
        load(content)
    assert list(tmp_path.iterdir()) == []


def array(
    dtype=b"X\x02\x00\x00\x00u1",
    state=b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
    shape=b"K\x03\x85",
    data=b"C\x03abc",
):
    """An array of three bytes in protocol 3, with parts of one's own."""
    start = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    kind = b"cnumpy\ndtype\n%bK\x00K\x01\x87R%bb" % (dtype, state)
    return b"%b(K\x01%b%b\x89%btb." % (start, shape, kind, data)


def test_the_array_of_the_next_test_is_sound():
    assert load(array()).tolist() == [97, 98, 99]


def filled_twice():
    """The state of the array once more, which would free what views of the first still see."""
    start, state = array()[:-2].split(b"R(K\x01", 1)
    state = b"(K\x01" + state
    return start + b"R" + state + b"b" + state + b"b."


CRAFTED = {
    "an array that is filled twice": filled_twice(),
    "object dtype": array(dtype=b"X\x01\x00\x00\x00O"),
    "dtype that becomes a structure": array(
        state=b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00aK\x00K\x08\x86s"
        b"K\x08K\x01K\x00t"
    ),
    "dtype with an unknown order": array(state=b"(K\x03X\x01\x00\x00\x00OI3\nNNNK\x00K\x00K\x00t"),
    "dtype without a state": array(state=b"N"),
    "fewer bytes than the shape": array(shape=b"K\x04\x85"),
    "objects instead of bytes": array(data=b"]K\x01a"),
    "buffer of another dtype": b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(C\x08abcdefgh"
    b"X\x01\x00\x00\x00OK\x01\x85X\x01\x00\x00\x00CtR.",
    "scalar of an object": b"\x80\x04cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n"
    b"X\x02\x00\x00\x00O8K\x00K\x01\x87RK\x05\x86R.",
    "ndarray called": b"\x80\x04cnumpy\nndarray\nK\x03\x85R.",
    "attributes of what may be called": b"\x80\x04cnumpy\ndtype\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "attribute of a name": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__class__\x93.",
    "another codec": b"\x80\x04c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "persistent object": b"\x80\x04K\x01Q.",
    "extension code": b"\x80\x04\x82\x01.",
    "nothing": b"",
    "cut short": pickle.dumps({"image_data": IMAGES})[:-2000],
}


@pytest.mark.parametrize("trick", CRAFTED)
def test_crafted_pickles_are_refused(trick):
    with pytest.raises(UnsoundError, match="not a pickle of NumPy arrays and plain containers"):
        load(CRAFTED[trick])


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_the_file_is_not_blamed_for_the_machine(lack, monkeypatch):
    class Broken(io.BytesIO):
        def readline(self, *size):
            raise lack

        read = readinto = readline

    with pytest.raises(type(lack)):
        pickles.load(Broken(array()))

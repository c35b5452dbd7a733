"""Reading pickles from the internet, which may run any code, without running any.

Only the names below can be called, and none of them is NumPy's own: what a pickle says of an array
is checked before NumPy sees it.
"""

import pickle
import re
from collections.abc import Iterable
from typing import IO, Any, ClassVar, NoReturn

import numpy as np

from supervised_reptile.system.errors import UnsoundError


def load(file: IO[bytes]) -> Any:
    """The arrays and plain containers in a pickle. Raises UnsoundError for anything else."""
    try:
        # Python 2 wrote bytes of arrays as text.
        return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # A made-up pickle can fail in any way.
        raise UnsoundError(f"not a pickle of NumPy arrays and plain containers ({error})") from None


class _DType:
    """Stands for numpy.dtype until its state has come: numbers and truth values only."""

    def __init__(self, name: object) -> None:
        if not (isinstance(name, str) and re.fullmatch("[iu][1248]|f[248]|b1", name)):
            raise pickle.UnpicklingError(f"data type {name!r}")
        self._name = name
        self._order: Any = "="

    def __setstate__(self, state: Any) -> None:
        _version, order, *rest = state
        if order not in ("<", ">", "|", "=") or any(rest[:3]):
            raise pickle.UnpicklingError(f"data type with state {state!r}")
        self._order = order

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self._name).newbyteorder(self._order)


class _Array(np.ndarray):
    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, in_fortran_order, data = state
        super().__setstate__((1, shape, _checked(dtype), in_fortran_order, data))


def _checked(dtype: object) -> np.dtype:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("an array without a data type")
    return dtype.numpy


class _Unpickler(pickle.Unpickler):
    # From module and name to the method below that stands for it. Bound methods have no attributes
    # that a pickle could set.
    NAMES: ClassVar = {
        ("numpy", "ndarray"): "_ndarray",
        ("numpy", "dtype"): "_dtype",
        ("numpy.core.multiarray", "_reconstruct"): "_reconstruct",
        ("numpy._core.multiarray", "_reconstruct"): "_reconstruct",
        ("numpy.core.multiarray", "scalar"): "_scalar",
        ("numpy._core.multiarray", "scalar"): "_scalar",
        ("numpy.core.numeric", "_frombuffer"): "_frombuffer",
        ("numpy._core.numeric", "_frombuffer"): "_frombuffer",
        ("_codecs", "encode"): "_encode",
        ("builtins", "set"): "_set",
        ("__builtin__", "set"): "_set",
        ("builtins", "list"): "_list",
        ("__builtin__", "list"): "_list",
        ("collections", "OrderedDict"): "_ordered_dict",
        ("collections", "defaultdict"): "_default_dict",
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call; raises UnpicklingError for all else."""
        if (module, name) not in self.NAMES:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return getattr(self, self.NAMES[module, name])

    def _ndarray(self) -> NoReturn:
        raise pickle.UnpicklingError("numpy.ndarray is only ever an argument")

    def _dtype(self, name: object, align: object = False, copy: object = True) -> _DType:
        return _DType(name)

    def _reconstruct(self, kind: object, shape: object, dtype: object) -> _Array:
        return np.ndarray.__new__(_Array, (0,), np.uint8)

    def _scalar(self, dtype: object, data: str | bytes) -> Any:
        data = data.encode("latin1") if isinstance(data, str) else data
        (value,) = np.frombuffer(data, _checked(dtype))
        return value

    def _frombuffer(self, data: Any, dtype: object, shape: Any, order: Any) -> np.ndarray:
        return np.frombuffer(data, _checked(dtype)).reshape(shape, order=order)

    def _encode(self, text: str, encoding: object) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"text in {encoding!r}")
        return text.encode("latin1")

    def _set(self, items: Iterable = ()) -> set:
        return set(items)

    def _list(self, items: Iterable = ()) -> list:
        return list(items)

    def _ordered_dict(self, items: Any = ()) -> dict:
        return dict(items)

    def _default_dict(self, factory: object = None) -> dict:
        return {}

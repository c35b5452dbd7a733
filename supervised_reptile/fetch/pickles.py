"""Pickles of miniImageNet's images, which could run any code, read without running any.

Only the names below can be called, and none of them is NumPy's own: what a pickle says of an array
is checked before NumPy sees it.
"""

import collections
import io
import pickle
import re
from collections.abc import Iterator
from typing import IO, Any, ClassVar, NoReturn

import numpy as np
from PIL import Image

from supervised_reptile.system.errors import UnsoundError, is_exhausted

SHAPE = (84, 84, 3)


def read_images(file: IO[bytes]) -> Iterator[tuple[str, str, bytes]]:
    """The class, the file name, and the content as a PNG file of each image in a pickle.

    It holds a dictionary with image_data and class_dict (Ren et al.), or with data, labels and
    catname2label (Gidaris and Komodakis). Raises UnsoundError for any other.
    """
    content = load(file)
    try:
        if "class_dict" in content:
            images, classes = content["image_data"], content["class_dict"]
        else:
            images, labels = content["data"], np.asarray(content["labels"])
            names = content["catname2label"].items()
            classes = {name: np.flatnonzero(labels == label) for name, label in names}
        indices = {str(name): np.asarray(members).tolist() for name, members in classes.items()}
        numbers = sorted(number for members in indices.values() for number in members)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnsoundError(
            f"neither image_data with class_dict nor data with labels and catname2label ({error!r})"
        ) from None
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8):
        raise UnsoundError("its images are no array of uint8")
    if images.shape[1:] != SHAPE:
        raise UnsoundError(f"its images have the shape {images.shape}, not n×84×84×3")
    if numbers != list(range(len(images))):
        raise UnsoundError("its classes do not have each image once")
    for name, members in indices.items():
        for number, index in enumerate(members):
            png = io.BytesIO()  # without loss; little compressed, which is much faster
            Image.fromarray(images[index]).save(png, "PNG", compress_level=1)
            yield name, f"{name}_{number:03}.png", png.getvalue()


def load(file: IO[bytes]) -> Any:
    """The arrays and plain containers in a pickle. Raises UnsoundError for anything else."""
    try:
        # Python 2 wrote bytes of arrays as text.
        return _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # A made-up pickle can fail in any way.
        if isinstance(error, OSError) or is_exhausted(error):
            raise
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
        if self.shape != (0,):  # views of what it held would point to freed memory
            raise pickle.UnpicklingError("an array that is filled twice")
        _version, shape, dtype, in_fortran_order, data = state
        super().__setstate__((1, shape, _checked(dtype), in_fortran_order, data))


def _checked(dtype: object) -> np.dtype:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("an array without a data type")
    return dtype.numpy


class _Unpickler(pickle.Unpickler):
    # From module and name to what may be called: the name of a method below, since bound methods
    # have no attributes that a pickle could set, or a type that cannot be changed.
    NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): "_ndarray",
        ("numpy", "dtype"): "_dtype",
        ("numpy.core.multiarray", "_reconstruct"): "_reconstruct",
        ("numpy.core.multiarray", "scalar"): "_scalar",
        ("numpy.core.numeric", "_frombuffer"): "_frombuffer",
        ("_codecs", "encode"): "_encode",
        ("builtins", "set"): set,
        ("builtins", "list"): list,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("collections", "defaultdict"): collections.defaultdict,
    }

    def find_class(self, module: str, name: str) -> Any:
        """The function that a pickle asks for, if it may; raises UnpicklingError for all others."""
        # By the names of NumPy 1 and Python 3.
        known = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        found = self.NAMES.get((known, name))
        if not found:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return getattr(self, found) if isinstance(found, str) else found

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

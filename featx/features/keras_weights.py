"""Files of Keras weights, walked before Keras reads them.

HDF5 can point to other files, load plug-ins, claim more than it stores, and be damaged so that the library
crashes. Keras writes arrays in one piece each, under one name each, and nothing else is let through. A
stranger's file is walked by a child process: what is left to Keras then is to copy plain bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from featx.child import Child, ChildError
from featx.errors import StoreError, printable

if TYPE_CHECKING:
    from featx.child_process import Handler

_TARGET = "featx.features.keras_weights:serve"
_MAX_DEPTH = 64
_TIMEOUT_S = 30.0
_MAX_BYTES = 2**30


def checked_weights(path: Path) -> int:
    """Refuse a file of weights that holds anything but plain arrays, each where Keras would write it.

    A child process looks, which a file that crashes HDF5 ends in our place.

    Parameters
    ----------
    path : Path
        A file that nobody else writes to.

    Returns
    -------
    int
        Bytes of all arrays.

    Raises
    ------
    StoreError
        When it holds anything but plain arrays, or ends the process.

    Examples
    --------
    >>> import keras
    >>> path = getfixture("tmp_path") / "model.weights.h5"
    >>> keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(path)
    >>> checked_weights(path)
    12
    """
    with Child(_TARGET, {}, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES) as child:
        try:
            reply, _ = child.request({"path": str(path.absolute())})
        except ChildError as error:
            raise StoreError(f"reading its weights as HDF5 {error.reason}; refused") from error
    if "refused" in reply:
        raise StoreError(str(reply["refused"]))
    return int(reply["n_bytes"])


def serve(settings: dict[str, Any]) -> Handler:  # noqa: ARG001 - what every target is given
    """A `featx.child.Child`'s target: requests name a file of weights, replies its bytes."""

    def handle(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], Sequence[bytes]]:  # noqa: ARG001
        try:
            return {"n_bytes": _n_stored(Path(header["path"]))}, []
        except StoreError as error:
            return {"refused": str(error)}, []

    return handle


def _n_stored(path: Path) -> int:
    """Bytes of all arrays in a file that holds nothing else: what the child process finds."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return _check_group(file, 0, set())
    except StoreError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"its weights cannot be read ({printable(str(error))[:300]})") from error


def _check_group(group: h5py.Group, depth: int, visited: set[int]) -> int:
    address = h5py.h5o.get_info(group.id).addr
    if address in visited or depth > _MAX_DEPTH:
        raise StoreError(f"its weights hold {_shown(group)} under two names, or too deep; refused")
    visited.add(address)
    _check_attributes(group)
    n_bytes = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StoreError(f"its weights hold the link {printable(name[:100])}; refused")
        item = group[name]
        if isinstance(item, h5py.Group):
            n_bytes += _check_group(item, depth + 1, visited)
        elif isinstance(item, h5py.Dataset):
            n_bytes += _check_array(item)
        else:
            raise StoreError(f"its weights hold {_shown(item)}, which is no array; refused")
    return n_bytes


def _check_array(array: h5py.Dataset) -> int:
    if array.is_virtual or array.external:
        raise StoreError(f"its weights keep {_shown(array)} in another file; refused")
    creation = array.id.get_create_plist()
    if creation.get_nfilters() or creation.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise StoreError(f"its weights keep {_shown(array)} in pieces or through filters; refused")
    # Two bytes without a type is how Keras writes bfloat16.
    if array.dtype.kind not in "fiub" and (array.dtype.kind, array.dtype.itemsize) != ("V", 2):
        raise StoreError(f"its weights hold {_shown(array)} of the type {array.dtype}; refused")
    n_declared, n_stored = (array.size or 0) * array.dtype.itemsize, array.id.get_storage_size()
    if n_declared > n_stored:
        claims = f"claims {n_declared:,} bytes and stores {n_stored:,}"
        raise StoreError(f"{_shown(array)} among its weights {claims}; refused")
    _check_attributes(array)
    return int(n_stored)


def _check_attributes(item: h5py.Group | h5py.Dataset) -> None:
    for name in item.attrs:
        attribute = h5py.h5a.open(item.id, name.encode())
        if attribute.shape != () or h5py.check_string_dtype(attribute.dtype) is None:
            raise StoreError(f"its weights hold an odd attribute of {_shown(item)}; refused")


def _shown(item: Any) -> str:
    return printable(str(item.name)[:100])

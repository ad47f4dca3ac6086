"""A training run's state after an epoch, in one file that is complete or absent.

An uncompressed ``.npz`` archive: arrays, and ``state.json`` with the plain values, what the run is of, and
the SHA-256 over all arrays. Opening one runs no code. To change the layout, raise `FORMAT_VERSION`: a
checkpoint of another version is of no use, and is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.archives import check_members
from featx.digests import arrays_sha256
from featx.documents import parse_json
from featx.errors import StoreCorruptError, StoreError, StoreMismatchError, printable
from featx.files import StrPath, atomic_writer, path_kind, set_aside
from featx.reading import read_regular_file

FORMAT_VERSION = 1

_STATE = "state.json"
_MAX_BYTES = 16 * 2**30


@dataclass(frozen=True)
class Checkpoint:
    """Where a run's state is kept, and what the run is of.

    Parameters
    ----------
    path : path-like
    run : mapping of str to plain value
        All that decides what the run computes: a state of another run is refused.

    Examples
    --------
    >>> checkpoint = Checkpoint(getfixture("tmp_path") / "run.ckpt", {"epochs": 2})
    >>> checkpoint.load() is None
    True
    >>> checkpoint.save({"epoch": 1}, {"weights/0": np.zeros(3)})
    >>> state, arrays = checkpoint.load()
    >>> state, arrays["weights/0"]
    ({'epoch': 1}, array([0., 0., 0.]))
    """

    path: StrPath
    run: Mapping[str, Any]

    def save(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Replace what is there, in one step.

        Parameters
        ----------
        state : mapping of str to plain value
        arrays : mapping of str to ndarray

        Raises
        ------
        StoreError
            When it cannot be written; what stood there before is untouched.
        """
        # Not ascontiguousarray, which makes a number an array of one.
        whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        described = {
            "format_version": FORMAT_VERSION,
            "run": dict(self.run),
            "state": dict(state),
            "arrays_sha256": arrays_sha256(sorted(whole.items())),
        }
        with atomic_writer(self.path) as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_STATE, json.dumps(described))
            for name, array in whole.items():
                data = io.BytesIO()
                np.save(data, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", data.getvalue())

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The state that is there, or None.

        Returns
        -------
        (dict, dict of str to ndarray) or None
            A damaged file is set aside with a warning, and is none.

        Raises
        ------
        StoreMismatchError
            When it is of another run.
        StoreError
            When it cannot be read.
        """
        if path_kind(self.path) == "absent":
            return None
        try:
            described, arrays = _read(self.path)
        except StoreCorruptError as error:
            set_aside(Path(self.path), str(error))
            return None
        run = json.loads(json.dumps(dict(self.run)))
        found = described["run"]
        if differing := {name: (found.get(name), run[name]) for name in run if found.get(name) != run[name]}:
            message = f"the checkpoint {self.path} is of another run; remove it or choose another path"
            raise StoreMismatchError(message, differing)
        return described["state"], arrays


def _read(path: StrPath) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        data = read_regular_file(path, _MAX_BYTES)
    except OSError as error:
        raise StoreError(f"the checkpoint {path} cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_members(archive)
            # Nothing is compressed, so nothing can expand.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise StoreCorruptError("it is not one that featx wrote")
            described = parse_json(archive.read(_STATE))
            arrays = {
                name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
                if name != _STATE
            }
        is_whole = arrays_sha256(sorted(arrays.items())) == described["arrays_sha256"]
        is_ours = described["format_version"] == FORMAT_VERSION and all(
            isinstance(described[name], dict) for name in ("run", "state")
        )
    except StoreError as error:
        raise StoreCorruptError(f"{path} cannot be read as a checkpoint: {error}") from error
    except Exception as error:
        # zipfile, json and NumPy each have errors of their own for damaged bytes.
        reason = printable(str(error)[:300])
        raise StoreCorruptError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not (is_whole and is_ours):
        raise StoreCorruptError(f"{path} is damaged, or of another version of featx")
    return described, arrays

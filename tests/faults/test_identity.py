"""One thing at a time is changed that features depend on: nobody is ever served another's rows.

Every fault is a real one: another extractor at work on the same store, on a model with one weight moved to
the next float, on a decoder that changed a grey level. That every field of a spec is in the key and is named
where it differs is `tests/features/test_fingerprint.py`'s to say.
"""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featx import (
    ArraySource,
    BackboneSpec,
    FeatureExtractor,
    FeatureSet,
    FeatureStore,
    FeatxWarning,
    ModelFile,
    StoreError,
    StoreMismatchError,
    extract,
    register_backbone,
)
from featx.features.alignment import align_features
from featx.images import decoding
from featx.jobs import evaluate_model
from tests.conftest import make_images

N_IMAGES = 6
NAME = "identity"


def own(width=6, activation="relu", *, dtype="float32", seed=0):
    """A network of a user's own, the same weights for the same seed, for images of any size."""
    initial = [keras.initializers.GlorotUniform(seed + layer) for layer in range(2)]
    inputs = keras.Input((None, None, 3), dtype=dtype)
    features = keras.ops.cast(inputs, "float32")
    features = keras.layers.Conv2D(8, 3, kernel_initializer=initial[0], activation=activation, name="a")(
        features
    )
    return keras.Model(
        inputs, keras.layers.Conv2D(width, 3, kernel_initializer=initial[1], name="b")(features)
    )


def one_ulp_off():
    model = own()
    kernel, bias = model.get_layer("b").get_weights()
    kernel.flat[5] = np.nextafter(kernel.flat[5], np.float32(np.inf))
    model.get_layer("b").set_weights([kernel, bias])
    return model


def build(input_size, weights):  # noqa: ARG001 - the signature of BackboneSpec.build
    inputs = keras.Input((*input_size, 3))
    return keras.Model(inputs, keras.layers.Conv2D(6, 3)(inputs))


def registered(name=NAME, **options):
    spec = BackboneSpec(name, build, options.pop("preprocess", "unit"), (16, 16), 6, "random")
    register_backbone(spec)
    return FeatureExtractor(name, weights=None, batch_size=4, **options)


def extractor(backbone=None, **options):
    options = {"preprocessing": "unit", "input_size": (16, 16), "batch_size": 4, **options}
    return FeatureExtractor(own() if backbone is None else backbone, **options)


def as_array(dtype="float32"):
    """The same network of arrays, as they are."""
    model = own(dtype=dtype)
    fixed = keras.Input((20, 24, 3), dtype=dtype)
    return FeatureExtractor(keras.Model(fixed, model(fixed)), inputs="arrays", batch_size=4)


def with_resize_rule(monkeypatch):
    monkeypatch.setattr("featx.features.recipe.RESIZE_RULE", "nearest neighbours")
    return extractor()


def with_another_decoder(monkeypatch):
    """One grey level in one corner of whatever is decoded, as an upgrade of Pillow might have it."""

    original = decoding._decode

    def decode(*arguments, **options):
        image = original(*arguments, **options).copy()
        pixel = image.getpixel((0, 0))
        image.putpixel((0, 0), (pixel[0] ^ 1, *pixel[1:]) if isinstance(pixel, tuple) else pixel ^ 1)
        return image

    monkeypatch.setattr(decoding, "_decode", decode)
    monkeypatch.setattr("featx.features.recipe.pixels_sha256", decoding.pixels_sha256.__wrapped__)
    return extractor()


def with_another_format(_):
    """The next version of the spec."""
    made = extractor().fit()
    made.spec_ = dataclasses.replace(made.spec_, version=made.spec_.version + 1)
    return made


def plain(_):
    return extractor()


#: What there was, what there is, and the fields that say so.
CHANGES = {
    "one weight by one ulp": (plain, lambda _: extractor(one_ulp_off()), {"weights_sha256"}),
    "architecture": (plain, lambda _: extractor(own(activation="gelu")), {"architecture"}),
    "width": (
        plain,
        lambda _: extractor(own(width=7)),
        {"architecture", "weights_sha256", "feature_blocks"},
    ),
    "preprocessing": (plain, lambda _: extractor(preprocessing="tf"), {"preprocessing"}),
    "input size": (plain, lambda _: extractor(input_size=(16, 17)), {"input_size"}),
    "resize rule": (plain, with_resize_rule, {"resize_rule"}),
    "decoder": (plain, with_another_decoder, {"pixels_sha256"}),
    "tap": (plain, lambda _: extractor(taps=("a",)), {"taps", "feature_blocks"}),
    "pooling": (plain, lambda _: extractor(pooling="max"), {"pooling", "feature_blocks"}),
    "precision": (plain, lambda _: extractor(precision="bfloat16"), {"precision"}),
    "format": (plain, with_another_format, {"version"}),
    "own for a registered one": (
        plain,
        lambda _: registered(),
        {"backbone", "architecture", "weights", "weights_seed", "weights_sha256"},
    ),
    "name": (lambda _: registered(), lambda _: registered("identity too"), {"backbone"}),
    "seed of the weights": (
        lambda _: registered(),
        lambda _: registered(random_state=1),
        {"weights_seed", "weights_sha256"},
    ),
    "registered preprocessing": (
        lambda _: registered(),
        lambda _: registered(preprocess="tf"),
        {"preprocessing"},
    ),
    "arrays for images": (
        plain,
        lambda _: as_array(),
        {
            "inputs",
            "input_dtype",
            "input_size",
            "preprocessing",
            "architecture",
            "resize_rule",
            "pixels_sha256",
        },
    ),
    "type of an array": (
        lambda _: as_array(),
        lambda _: as_array("float16"),
        {"input_dtype", "architecture"},
    ),
}

#: Of these, each view has rows of its own under one key.
VIEW_CHANGES = {
    "number of views": ({"n_views": 2}, {"n_views": 4}, 2),
    "seed of the views": ({"n_views": 3}, {"n_views": 3, "random_state": 7}, 1),
    "kinds of views": ({"n_views": 3, "views": ("crop",)}, {"n_views": 3, "views": ("shift", "crop")}, 1),
}

#: What changes no feature, or none that anybody could tell.
NO_CHANGES = {
    "batch size": {"batch_size": 3},
    "engine": {"engine": "keras"},
    "a seed that nothing is drawn with": {"random_state": 9},
    "size, as a list": {"input_size": [16, 16]},
}


def images():
    return make_images(N_IMAGES)


def samples(of):
    return images() if of.inputs == "images" else images().astype("float32") / 256


def sampled(changes, *chosen, but=()):
    """All, of which the default run tries those that are chosen."""
    return [
        change if change in chosen else pytest.param(change, marks=pytest.mark.faults)
        for change in changes
        if change not in but
    ]


def same_bits(ledger, found, expected, what):
    if not np.array_equal(found, expected):
        ledger.lose(f"{what}: rows of another extraction, up to {np.abs(found - expected).max():.1e} off")


def named(ledger, error, fields, what):
    for field in fields:
        if field not in str(error) or field not in error.differences:
            ledger.lose(f"{what}: the message does not name {field}: {error}")


@pytest.mark.parametrize("change", sampled(CHANGES, "one weight by one ulp", "decoder", "resize rule"))
@pytest.mark.protocol("T7", "P7", "one field of an extraction's identity changed")
def test_a_store_serves_nobody_anothers_rows(change, ledger, tmp_path, monkeypatch):
    make_before, make_after, fields = CHANGES[change]
    before = make_before(monkeypatch)
    first = extract(samples(before), before, store=tmp_path / "store")
    after = make_after(monkeypatch)
    second = extract(samples(after), after, store=tmp_path / "store")
    ledger.inject()
    if second.report.n_cached or second.report.key == first.report.key:
        ledger.lose(f"{change}: {second.report.n_cached} rows reused under {second.report.key[:12]}")
    same_bits(ledger, second.X, extract(samples(after), after, store=None).X, change)
    if set(second.spec.differences(first.spec)) != fields:
        ledger.lose(f"{change}: {sorted(second.spec.differences(first.spec))} differ, not {sorted(fields)}")

    # The same once more by hand: a folder that says it is the other's, and a shard that lies in it.
    store = FeatureStore(tmp_path / "store")
    theirs, mine = (store.directory / each.spec.directory_name for each in (first, second))
    shutil.copy(theirs / "spec.json", mine / "spec.json")
    ledger.inject()
    with pytest.warns(FeatxWarning, match="of another extraction") as caught:
        store.open(second.spec)
    for field in fields:
        if f"{field}: found" not in str(caught[0].message):
            ledger.lose(f"{change}: the message does not name {field}: {caught[0].message}")
    if (mine / "spec.json").read_text() != second.spec.of_one_view().to_json():
        ledger.lose(f"{change}: the spec of another extraction stays")
    shutil.rmtree(mine)
    mine.mkdir()
    for shard in theirs.glob("*.h5"):
        shutil.copy(shard, mine)
    ledger.inject()
    with pytest.warns(FeatxWarning, match="another version or extraction; key: found"):
        again = extract(samples(after), after, store=tmp_path / "store")
    if again.report.n_cached:
        ledger.lose(f"{change}: a shard of another extraction was used")
    same_bits(ledger, again.X, second.X, change)


@pytest.mark.parametrize("change", sampled(VIEW_CHANGES, "number of views"))
@pytest.mark.protocol("T7", "P7", "another view asked for")
def test_a_store_serves_nobody_anothers_views(change, ledger, tmp_path):
    before, after, n_shared = VIEW_CHANGES[change]
    extract(images(), extractor(**before), store=tmp_path)
    found = extract(images(), extractor(**after), store=tmp_path)
    ledger.inject()
    n_expected = N_IMAGES * (after["n_views"] - n_shared)
    if found.report.n_rows_computed != n_expected:
        ledger.lose(f"{change}: {found.report.n_rows_computed} rows computed, not {n_expected}")
    same_bits(ledger, found.X, extract(images(), extractor(**after), store=None).X, change)


@pytest.mark.protocol("T7", "P7", "what makes views changed")
def test_views_that_are_made_another_way_are_others(ledger, tmp_path, monkeypatch):
    expected = extract(images(), extractor(n_views=3), store=tmp_path)
    ledger.inject()
    monkeypatch.setattr("featx.images.views.views_sha256", lambda *_: "f" * 64)
    found = extract(images(), extractor(n_views=3), store=tmp_path)
    if found.report.n_rows_computed != 2 * N_IMAGES:
        ledger.lose(f"{found.report.n_rows_computed} rows computed anew")
    assert found.X.shape == expected.X.shape


@pytest.mark.parametrize("same", sampled(NO_CHANGES, "batch size"))
@pytest.mark.protocol("T7", "P7", "something changed that no feature depends on")
def test_what_changes_no_feature_costs_nothing(same, ledger, tmp_path):
    extract(images(), extractor(), store=tmp_path)
    ledger.inject()
    found = extract(images(), extractor(**NO_CHANGES[same]), store=tmp_path)
    if found.report.n_cached != N_IMAGES:
        ledger.lose(f"{same}: {found.report.n_computed} images embedded anew")


@pytest.mark.parametrize("change", sampled(CHANGES, "decoder", but=("format",)))
@pytest.mark.protocol("T7", "P7", "a head given features of another extraction")
def test_a_model_refuses_features_of_another_extraction_by_name(change, ledger, monkeypatch):
    make_before, make_after, fields = CHANGES[change]
    specs = [make(monkeypatch).fit().spec_ for make in (make_before, make_after)]
    y = np.arange(N_IMAGES) % 2
    X = [
        np.random.default_rng(0).normal(size=(N_IMAGES, spec.n_features)).astype(np.float32) for spec in specs
    ]
    head = LogisticRegression().fit(X[0], y)
    model = ModelFile(head, class_names=["0", "1"], extraction_spec=specs[0].to_json())
    assert evaluate_model(model, FeatureSet(X[0], y, spec=specs[0])).evaluation.n_samples == N_IMAGES
    ledger.inject()
    try:
        evaluate_model(model, FeatureSet(X[1], y, spec=specs[1]))
        ledger.lose(f"{change}: evaluated on other features")
    except StoreMismatchError as error:
        named(ledger, error, fields, change)


@pytest.mark.parametrize(
    "change", sampled(["one weight by one ulp", "architecture", "resize rule", "decoder"], "decoder")
)
@pytest.mark.protocol("T7", "P7", "an extractor asked for another extraction's features")
def test_no_extractor_is_made_of_anothers_spec(change, ledger, monkeypatch):
    spec = extractor().fit().spec_
    other = CHANGES[change][1](monkeypatch)
    ledger.inject()
    try:
        FeatureExtractor.from_spec(spec, other.backbone)
        ledger.lose(f"{change}: an extractor of other features")
    except StoreMismatchError as error:
        named(ledger, error, CHANGES[change][2], change)


OTHER_FILES = {
    "labels": (lambda y, pixels: (1 - y, pixels), "labels differ"),
    "images": (lambda y, pixels: (y, pixels[::-1]), "images differ"),
    "one image by one grey level": (
        lambda y, pixels: (y, np.where(pixels == pixels[3, 0, 0], pixels ^ 1, pixels)),
        "images differ",
    ),
    "fewer samples": (lambda y, pixels: (y[:-1], pixels[:-1]), "without 1 sample of one"),
    "more samples": (lambda y, pixels: (np.r_[y, 0], np.r_[pixels, pixels[:1] ^ 1]), "that one lacks"),
}


@pytest.mark.parametrize("other", sampled(OTHER_FILES, "one image by one grey level"))
@pytest.mark.protocol("T7", "P7", "a feature file of other samples beside the first")
def test_a_feature_file_of_other_samples_is_refused_by_name(other, ledger, tmp_path):
    y, pixels = np.arange(N_IMAGES) % 2, images()
    change, message = OTHER_FILES[other]
    sets = {}
    for name, (labels, content) in {"one": (y, pixels), "two": change(y, pixels)}.items():
        source = ArraySource(content, labels)
        extract(source, extractor(), store=tmp_path / "store").save(tmp_path / name)
        sets[name] = FeatureSet.load(tmp_path / name)
    ledger.inject()
    try:
        align_features(sets)
        ledger.lose(f"{other}: aligned")
    except StoreError as error:
        if message not in str(error):
            ledger.lose(f"{other}: {error}")

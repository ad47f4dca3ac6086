"""ExtractionSpec: equal specs share a key, and nothing that changes a feature leaves it alone."""

import dataclasses
import hashlib
import json

import pytest

from featx import ExtractionSpec, FeatureExtractor, StoreError
from featx.features.fingerprint import column_ranges

OTHER_VALUES = {
    "backbone": "other",
    "architecture": "other, version 2",
    "weights": "random",
    "weights_seed": 7,
    "weights_sha256": "f" * 64,
    "preprocessing": "tf",
    "input_size": (224, 225),
    "resize_rule": "centre crop",
    "pixels_sha256": "f" * 64,
    "pooling": "max",
    "taps": ("block_3",),
    "feature_blocks": (("top:max", 1280),),
    "precision": "bfloat16",
    "inputs": "arrays",
    "input_dtype": "float32",
    "version": 1,
}

# What the views are is part of their rows' addresses.
VIEWS = {"n_views": 4, "views": ("flip",), "view_seed": 1}


@pytest.fixture(scope="module")
def spec():
    return FeatureExtractor("efficientnet_lite0").fit().spec_


def test_every_field_is_tried_below(spec):
    assert set(OTHER_VALUES) | set(VIEWS) == {field.name for field in dataclasses.fields(spec)}


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_a_change_in_any_field_changes_the_key_and_is_named(spec, field):
    other = dataclasses.replace(spec, **{field: OTHER_VALUES[field]})
    assert other.key != spec.key
    assert set(spec.differences(other)) == {field}
    assert spec.differences(other)[field][1] == OTHER_VALUES[field]


@pytest.mark.parametrize("field", VIEWS)
def test_views_are_named_and_leave_the_key_alone(spec, field):
    other = dataclasses.replace(spec, **{field: VIEWS[field]})
    assert other.key == spec.key
    assert set(spec.differences(other)) == {field}
    assert ExtractionSpec.from_json(other.to_json()) == other


def test_the_first_version_is_read_and_keeps_its_key(spec):
    fields = json.loads(spec.to_json())
    for name in ("views", "inputs", "input_dtype"):
        del fields[name]
    text = json.dumps({**fields, "version": 1}, sort_keys=True, separators=(",", ":"))
    old = ExtractionSpec.from_json(text)
    assert old.to_json() == text
    assert old.key == hashlib.sha256(text.encode()).hexdigest()
    assert set(old.differences(spec)) == {"version"}


def test_the_key_is_the_same_in_every_process(spec):
    assert spec.key == ExtractionSpec.from_json(spec.to_json()).key
    assert spec.to_json() == json.dumps(json.loads(spec.to_json()), sort_keys=True, separators=(",", ":"))


def test_a_backbone_named_like_a_path_stays_inside_the_store(spec):
    name = dataclasses.replace(spec, backbone="../../etc/a b\n").directory_name
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isprintable()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 1}', '{"version": 1, "nonsense": 2}'])
def test_text_that_is_no_spec_is_refused(text):
    with pytest.raises(StoreError, match="not an extraction spec"):
        ExtractionSpec.from_json(text)


def test_a_spec_of_another_version_says_so(spec):
    with pytest.raises(StoreError, match="version 99; expected version 2"):
        ExtractionSpec.from_json(dataclasses.replace(spec, version=99).to_json())


def test_column_ranges_follow_each_other():
    assert column_ranges((("a:avg", 2), ("a:max", 3))) == {"a:avg": (0, 2), "a:max": (2, 5)}

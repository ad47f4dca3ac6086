"""The standard checks: what they let through, what they refuse, and that the message helps."""

import json

import numpy as np
import pytest

from featx.checks import check_choice, check_n_jobs, check_positive, check_seed, explain, require, suggest
from featx.errors import HeadError, MissingPackageError, SourceError


def test_a_message_has_its_three_parts_on_one_line():
    assert explain("3 labels", "4", "align them") == "received 3 labels; expected 4; align them"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "did you mean ResNet50?"),
        ("RESNET50", "did you mean ResNet50?"),
        ("resnet_50", "did you mean ResNet50?"),
        ("xylophone", "choose from ResNet50, VGG16, VGG19"),
        ("", "choose from ResNet50, VGG16, VGG19"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(name, expected):
    assert suggest(name, ["VGG19", "ResNet50", "VGG16"]) == expected


def test_several_near_names_are_all_suggested():
    found = suggest("vgg", ["VGG19", "ResNet50", "VGG16"])
    assert found.startswith("did you mean ")
    assert "VGG16" in found
    assert "VGG19" in found
    assert "ResNet50" not in found


def test_suggestions_keep_their_spelling():
    assert suggest("Label", ["path", "LABEL"]) == "did you mean LABEL?"


def test_a_choice_is_let_through():
    check_choice("on_error", "skip", ("raise", "skip"), SourceError)


@pytest.mark.parametrize("value", ["SKIP", "", None, 1, ["skip"]])
def test_anything_but_a_choice_is_refused_with_the_choices(value):
    with pytest.raises(SourceError, match=r"received on_error=.*; expected one of 'raise', 'skip'; pass one"):
        check_choice("on_error", value, ("raise", "skip"), SourceError)


@pytest.mark.parametrize("value", [1, 32, np.int64(3), np.uint8(3)])
def test_a_positive_integer_is_let_through(value):
    check_positive("batch_size", value, SourceError)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, np.float32(2), "3", None, np.int64(0)])
def test_anything_but_a_positive_integer_is_refused(value):
    with pytest.raises(HeadError, match=r"batch_size=.*; expected a positive integer; pass 1 or more"):
        check_positive("batch_size", value, HeadError)


@pytest.mark.parametrize("value", [None, 0, 7, np.int64(7), 2**32 - 1])
def test_a_seed_is_let_through(value):
    check_seed("random_state", value, HeadError)


@pytest.mark.parametrize("value", [True, 1.5, "7", np.random.default_rng(0)])
def test_what_cannot_be_written_down_is_no_seed(value):
    with pytest.raises(HeadError, match=r"random_state=.*; expected an integer or None"):
        check_seed("random_state", value, HeadError)


@pytest.mark.parametrize("value", [-1, 2**32, np.int64(-7), 10**30])
def test_what_numpy_refuses_is_no_seed(value):
    with pytest.raises(HeadError, match=r"random_state=.*; expected .* from 0 to 4294967295; pass a seed"):
        check_seed("random_state", value, HeadError)


@pytest.mark.parametrize("value", [None, 1, 4, -1, -2, np.int64(3)])
def test_a_number_of_workers_is_let_through(value):
    check_n_jobs(value, HeadError)


@pytest.mark.parametrize("value", [0, np.int64(0), True, 1.5, "2"])
def test_no_workers_are_refused(value):
    with pytest.raises(HeadError, match=r"n_jobs=.*; expected an integer other than 0, or None; pass -1"):
        check_n_jobs(value, HeadError)


def test_require_gives_the_module():
    assert require("json", "demo") is json


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.inner"])
def test_a_missing_package_is_answered_with_the_command_that_installs_it(package):
    with pytest.raises(MissingPackageError, match=r'run: pip install "featx\[report\]"') as caught:
        require(package, "report")
    assert package in str(caught.value)


def test_a_package_that_is_there_but_broken_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "featx_broken_package.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        require("featx_broken_package", "demo")
    assert not isinstance(caught.value, MissingPackageError)


def test_a_missing_part_of_an_installed_package_is_not_a_missing_package():
    with pytest.raises(ModuleNotFoundError, match=r"json\.no_such_part") as caught:
        require("json.no_such_part", "demo")
    assert not isinstance(caught.value, MissingPackageError)

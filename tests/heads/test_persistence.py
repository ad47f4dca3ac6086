"""The model file: what goes in comes out bit for bit, and what somebody else put in is never run."""

import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from threading import Lock

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featx import (
    FeatxWarning,
    HeadError,
    HeadSpec,
    ModelFile,
    StoreCorruptError,
    StoreError,
    load_head,
    save_head,
)
from featx.files import sha256_hex
from featx.heads.image_marks import exclusion_marks
from featx.heads.persistence import FORMAT_VERSION
from featx.heads.search import HeadSearch
from featx.heads.spaces import resolve_heads
from tests.faults.malicious import Payload
from tests.faults.malicious_heads import (
    HOSTILE,
    PAYLOADS,
    digits,
    head_bytes,
    in_place_of_the_head,
    model_file,
    packed,
    small_head,
)

METHODS = ("predict", "predict_proba", "decision_function")
DIGEST = sha256_hex(b"an image")


@pytest.fixture
def path(tmp_path):
    """Where a small head is saved with everything that belongs to it."""
    target = tmp_path / "model.featx"
    save_head(
        small_head(),
        target,
        class_names=["cat", "dog"],
        extraction_spec='{"backbone": "tiny"}',
        metrics={"accuracy": np.float64(0.5), "counts": np.array([1, 2])},
        training_images=[DIGEST],
    )
    return target


def assert_same_answers(head, other, X):
    assert np.array_equal(head.classes_, other.classes_)
    for method in METHODS:
        assert hasattr(head, method) == hasattr(other, method)
        if hasattr(head, method):
            answers = getattr(head, method)(X), getattr(other, method)(X)
            assert answers[0].dtype == answers[1].dtype
            assert np.array_equal(*answers)


# ------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("calibrated", [False, True], ids=["plain", "calibrated"])
@pytest.mark.parametrize("n_classes", [2, 4], ids=["binary", "multi-class"])
@pytest.mark.parametrize("spec", resolve_heads("default"), ids=lambda spec: spec.name)
def test_every_default_head_answers_alike_after_loading(spec, n_classes, calibrated, tmp_path):
    X, y = digits(n_classes)
    head = clone(spec.estimator)
    if spec.name == "mlp":
        head.set_params(head__random_state=0, head__hidden_layer_sizes=(8,))
    if calibrated:
        head = CalibratedClassifierCV(head, cv=2, ensemble=False)
    save_head(head.fit(X, y), tmp_path / "m.featx")
    assert_same_answers(head, load_head(tmp_path / "m.featx"), X)


@pytest.mark.parametrize(
    "names", [["no", "yes"], np.array(["no", "yes"], object), [False, True], [-3, 8]], ids=str
)
def test_classes_of_any_kind_survive(names, tmp_path):
    X, y = digits(n_classes=2)
    head = LogisticRegression().fit(X, np.array(names)[y])
    save_head(head, tmp_path / "m.featx")
    loaded = load_head(tmp_path / "m.featx")
    assert loaded.classes_.dtype == head.classes_.dtype
    assert_same_answers(head, loaded, X)


def test_a_search_saves_its_best_head(tmp_path):
    X, y = digits(n_classes=3)
    svm = next(spec for spec in resolve_heads("linear_svm"))
    search = HeadSearch(HeadSpec("svm", svm.estimator, {"head__C": [1e-3, 1e-2]}), cv=3).fit(X, y)
    save_head(search, tmp_path / "m.featx")
    assert_same_answers(search.best_estimator_, load_head(tmp_path / "m.featx"), X)


def test_everything_that_belongs_to_a_head_survives(path):
    model = ModelFile.load(path)
    assert model.class_names == ["cat", "dog"]
    assert model.extraction_spec == '{"backbone": "tiny"}'
    assert model.metrics == {"accuracy": 0.5, "counts": [1, 2]}
    assert set(model.versions) == {"featx", "scikit-learn", "numpy", "skops"}


def test_the_specs_of_several_kinds_of_features_survive(tmp_path):
    save_head(small_head(), tmp_path / "m.featx", extraction_specs=["one", "two"])
    model = ModelFile.load(tmp_path / "m.featx")
    assert (model.extraction_spec, model.specs) == (None, ("one", "two"))
    assert ModelFile(small_head(), extraction_spec="one").specs == ("one",)
    assert ModelFile(small_head()).specs == ()


def test_a_file_of_version_1_is_read(path, tmp_path):
    with zipfile.ZipFile(path) as file:
        model, head = json.loads(file.read("model.json")), file.read("head.skops")
    del model["extraction_specs"]
    model["format_version"] = 1
    old = tmp_path / "old.featx"
    old.write_bytes(packed([("model.json", json.dumps(model)), ("head.skops", head)]))
    loaded = ModelFile.load(old)
    assert loaded.specs == (loaded.extraction_spec,) == (ModelFile.load(path).extraction_spec,)
    assert_same_answers(loaded.head, small_head(), digits(n_classes=2)[0][:, 20:24])


def test_a_file_of_version_2_is_read(path, tmp_path):
    with zipfile.ZipFile(path) as file:
        model, head = json.loads(file.read("model.json")), file.read("head.skops")
    del model["excluded_images"]
    model["format_version"] = 2
    old = tmp_path / "old.featx"
    old.write_bytes(packed([("model.json", json.dumps(model)), ("head.skops", head)]))
    loaded = ModelFile.load(old)
    assert loaded.excluded_images == []
    assert not loaded.was_excluded([DIGEST], ["a.png"]).any()


def test_excluded_images_survive_and_those_of_which_a_copy_was_tested_are_told_by_name(tmp_path):
    other = sha256_hex(b"another image")
    marks = exclusion_marks([DIGEST, other, ""], ["a.png", "b \udce9.png", "c.png"], tested={other})
    save_head(small_head(), tmp_path / "m.featx", excluded_images=marks)
    model = ModelFile.load(tmp_path / "m.featx")
    digests, names = [DIGEST, other, other, "", ""], ["moved.png", "b \\udce9.png", "e.png", "c.png", "a.png"]
    assert model.was_excluded(digests, names).tolist() == [True, True, False, True, False]
    assert model.was_excluded([], []).shape == (0,)


@pytest.mark.parametrize("n_classes", [2, 4], ids=["binary", "multi-class"])
def test_neighbours_with_weighted_votes_are_saved(n_classes, tmp_path):
    X, y = digits(n_classes)
    search = HeadSearch("knn", cv=3, class_weight="balanced").fit(X, y)
    save_head(search, tmp_path / "m.featx")
    assert_same_answers(search.best_estimator_, load_head(tmp_path / "m.featx"), X)


def test_a_head_alone_is_enough(tmp_path):
    save_head(small_head(), tmp_path / "m.featx")
    model = ModelFile.load(tmp_path / "m.featx")
    assert (model.class_names, model.extraction_spec, model.metrics) == ([], None, {})
    assert not model.was_trained_on([DIGEST]).any()


def test_a_saved_file_can_be_loaded_and_saved_again(path, tmp_path):
    model = ModelFile.load(path)
    model.save(tmp_path / "again.featx")
    again = ModelFile.load(tmp_path / "again.featx")
    assert (again.class_names, again.metrics) == (model.class_names, model.metrics)
    assert list(again.training_images) == list(model.training_images)


def test_the_file_holds_two_members_and_nothing_of_this_machine(path):
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["model.json", "head.skops"]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(file.read("model.json"))["format_version"] == FORMAT_VERSION


def test_a_link_to_a_model_is_followed(path, tmp_path):
    (tmp_path / "link.featx").symlink_to(path)
    assert ModelFile.load(tmp_path / "link.featx").class_names == ["cat", "dog"]


@pytest.mark.parametrize("is_saved", [False, True], ids=["in memory", "loaded"])
def test_was_trained_on_tells_training_images_from_others(is_saved, path):
    model = ModelFile.load(path) if is_saved else ModelFile(small_head(), training_images=[DIGEST])
    other = sha256_hex(b"another image")
    assert model.was_trained_on([other, DIGEST, other]).tolist() == [False, True, False]
    assert model.was_trained_on([]).shape == (0,)


# -------------------------------------------------------------------------------- what cannot be saved


class OwnHead(LogisticRegression):
    """A class that another machine does not have."""


def halve(X):
    """A function that another machine does not have."""
    return X / 2


def fit_small(head):
    X, y = digits(n_classes=2)
    return head.fit(X, y)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda: fit_small(OwnHead()), "OwnHead.*scikit-learn's own estimators"),
        (lambda: fit_small(make_pipeline(FunctionTransformer(halve), KNeighborsClassifier())), "halve"),
        (lambda: fit_small(HeadSearch("knn", refit=False, cv=2)), "HeadSearch"),
        (lambda: fit_small(KNeighborsClassifier(metric_params={"a": Lock()})), "_thread.lock"),
        (lambda: fit_small(KNeighborsClassifier(metric_params={(1, 2): 3})), "Classifier cannot be saved"),
    ],
    ids=["own class", "function", "search without refit", "lock", "tuple for a key"],
)
def test_a_head_that_could_not_be_loaded_is_not_saved(head, message, tmp_path):
    with pytest.raises(HeadError, match=message):
        save_head(head(), tmp_path / "m.featx")
    assert not list(tmp_path.iterdir())


def test_a_head_before_fit_is_not_saved(tmp_path):
    for head in (LogisticRegression(), HeadSearch()):
        with pytest.raises(NotFittedError):
            save_head(head, tmp_path / "m.featx")


def test_class_names_that_are_not_the_heads_are_refused(tmp_path):
    with pytest.raises(HeadError, match="3 class names for a head of 2 classes"):
        save_head(small_head(), tmp_path / "m.featx", class_names=["a", "b", "c"])


def test_a_refused_save_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(HeadError):
        save_head(fit_small(OwnHead()), path)
    assert path.read_bytes() == before


# ------------------------------------------------------------------------------ a save that goes wrong

SAVE = """
import os, resource, signal, sys
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from featx import StoreError, save_head
head = KNeighborsClassifier().fit(*load_digits(return_X_y=True))
{sabotage}
try:
    save_head(head, sys.argv[1])
except StoreError as error:
    sys.exit(f"StoreError: {{error}}")
"""

FULL_DISK = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
"""

KILLED = """
def kill(event, args):
    if event == "{event}" and ".featx-" in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""


def save_in_a_process(path, sabotage):
    command = [sys.executable, "-c", SAVE.format(sabotage=sabotage), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_the_old_file_and_no_other(path):
    before = path.read_bytes()
    run = save_in_a_process(path, FULL_DISK)
    assert run.returncode == 1
    assert f"StoreError: cannot write {path}: File too large" in run.stderr
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("event", ["open", "os.rename"])
def test_a_save_that_is_killed_leaves_the_old_file(event, path):
    before = path.read_bytes()
    assert save_in_a_process(path, KILLED.format(event=event)).returncode == -signal.SIGKILL
    assert path.read_bytes() == before


def test_a_save_that_nothing_stops_replaces_the_file(path):
    # Without this the tests above would pass for a process that never saves.
    assert save_in_a_process(path, "").returncode == 0
    assert isinstance(load_head(path), KNeighborsClassifier)


# ---------------------------------------------------------------------------------------- damaged files


def assert_the_same_or_refused(path, data, expected):
    path.write_bytes(data)
    try:
        model = ModelFile.load(path)
    except StoreError:
        return
    assert (model.class_names, model.extraction_spec, model.metrics) == (
        expected.class_names,
        expected.extraction_spec,
        expected.metrics,
    )
    assert_same_answers(model.head, expected.head, digits()[0][:, 20:24])


# Every byte, or one in some: what is read just after it was written is looked at twice, which takes its time.
each_step = pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])


@each_step
@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_anywhere_is_refused_or_harmless(mask, step, path):
    expected, data = ModelFile.load(path), path.read_bytes()
    for place in range(mask % step, len(data), step):
        damaged = bytearray(data)
        damaged[place] ^= mask
        assert_the_same_or_refused(path, damaged, expected)


def test_a_flipped_byte_in_what_is_kept_is_refused(path):
    data = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        starts = [info.header_offset + 30 + len(info.filename) for info in file.infolist()]
        places = [
            start + info.compress_size // 2 for start, info in zip(starts, file.infolist(), strict=True)
        ]
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with pytest.raises(StoreCorruptError, match="cannot be read as a model"):
            ModelFile.load(path)


@each_step
def test_a_truncated_file_is_refused_wherever_it_ends(step, path):
    data = path.read_bytes()
    for length in range(0, len(data), step):
        path.write_bytes(data[:length])
        with pytest.raises(StoreError, match="expected a model file"):
            ModelFile.load(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"m\.featx: no such file"):
        load_head(tmp_path / "m.featx")


def test_a_head_of_another_scikit_learn_is_loaded_with_a_warning(path):
    path.write_bytes(model_file(head_bytes(), versions={"scikit-learn": "1.2.3"}))
    with pytest.warns(FeatxWarning, match=r"written with scikit-learn 1\.2\.3"):
        assert_same_answers(load_head(path), small_head(), digits()[0][:, 20:24])


# -------------------------------------------------------------------------------------- malicious files
#
# The files below are what an attacker would send. One process loads them all while an audit hook watches
# for anything that a loader has no business to do.


# Loads every file of a folder and prints what came of each; forbidden events get a line of their own.
WATCH = """
import json, os, sys, tracemalloc
from pathlib import Path
from featx import FeatxError, ModelFile

folder, good = Path(sys.argv[1]), sys.argv[2]
# What is imported late is imported now.
ModelFile.load(good)
"\\n".encode("unicode_escape")
sys.path.insert(0, str(folder / "code"))
FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "pickle.", "exec", "import", "ctypes.", "code.")
watched = []

def watch(event, args):
    if event == "open":
        # A number is a file that is open already.
        if isinstance(args[0], (str, bytes)) and args[0] not in watched:
            trespasses.append(f"open {args[0]}")
    elif event.startswith(FORBIDDEN) and watched:
        trespasses.append(f"{event} {args[:1]}")

trespasses, found, peak_mib = [], {}, {}
sys.addaudithook(watch)
for path in sorted(folder.glob("*.featx")):
    watched[:] = [os.path.realpath(path)]
    tracemalloc.start()
    try:
        ModelFile.load(path)
        found[path.stem] = "loaded"
    except FeatxError as error:
        found[path.stem] = type(error).__name__ + ": " + str(error)
    except BaseException as error:
        found[path.stem] = "escaped: " + repr(error)
    watched.clear()
    peak_mib[path.stem] = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
print(json.dumps({"found": found, "trespasses": trespasses, "peak_mib": peak_mib}))
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What came of every hostile file, and all that was seen while they were loaded."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "code").mkdir()
    (folder / "code" / "canary.py").write_text("open('PWNED', 'w').close()\nCanary = list\n")
    for name, build in HOSTILE.items():
        (folder / f"{name}.featx").write_bytes(build())
    good = folder / "code" / "good.featx"
    save_head(small_head(), good)
    command = [sys.executable, "-c", WATCH, str(folder), str(good)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    result["canary"] = list(folder.rglob("PWNED"))
    return result


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name, watched):
    assert watched["found"][name].startswith(("StoreError: ", "StoreCorruptError: "))


@pytest.mark.parametrize("name", ["function", "partial", "object", "constructor", "type", "method"])
def test_the_error_names_what_a_head_asks_for(name, watched):
    payload = PAYLOADS["function" if name == "partial" else name]
    wanted = f"{payload['__module__']}.{payload['__class__']}"
    for place in ("for", "in"):
        message = watched["found"][f"{name} {place} a head"]
        assert wanted in message
        assert "refused" in message


def test_an_error_is_one_line_whatever_the_file_holds(watched):
    assert all(message.isprintable() for message in watched["found"].values())


def test_loading_hostile_files_runs_nothing_and_touches_no_other_file(watched):
    assert watched["canary"] == []
    assert watched["trespasses"] == []


def test_loading_hostile_files_takes_little_memory(watched):
    peaks = watched["peak_mib"]
    # NumPy counts what it asked the system for, and the system refused.
    del peaks["huge array"]
    assert max(peaks.values()) < 10


def test_the_payloads_would_run_if_they_were_trusted(tmp_path, monkeypatch):
    # Otherwise the tests above would pass for payloads that are merely broken.
    monkeypatch.chdir(tmp_path)
    head = head_bytes(in_place_of_the_head(PAYLOADS["constructor"]))
    skops.io.loads(head, trusted=["os.system"])
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / "PWNED").exists()


def test_the_untouched_head_of_these_files_loads(path):
    # Likewise for what was built around the payloads.
    path.write_bytes(model_file(head_bytes()))
    assert_same_answers(load_head(path), small_head(), digits()[0][:, 20:24])


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_file_is_refused_and_not_waited_for(make, tmp_path):
    make(tmp_path / "m.featx")
    with pytest.raises(StoreError, match="cannot be read as a model"):
        load_head(tmp_path / "m.featx")


def test_a_name_with_a_null_byte_is_refused(tmp_path):
    with pytest.raises(StoreError):
        load_head(f"{tmp_path}/m\0.featx")

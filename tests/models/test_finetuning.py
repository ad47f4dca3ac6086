"""FineTuner: trains what it says, keeps the better model, and goes on where it was killed."""

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from featx import (
    Augmentation,
    FeatureExtractor,
    FineTuner,
    ImageClassifier,
    attach_head,
    load_backbone,
    to_keras,
)
from featx.errors import (
    ConversionError,
    FeatxWarning,
    HeadError,
    SourceError,
    StoreCorruptError,
    StoreError,
    StoreMismatchError,
)
from featx.models.blocks import blocks_of, parts_of
from featx.models.checkpoints import Checkpoint
from tests.conftest import TINY, TINY_SIZE, make_images, write_class_folder

ROOT = Path(__file__).parents[2]
N_IMAGES = 24
pytestmark = [
    pytest.mark.backends,
    # The features are random, and a linear classifier on thumbnails does as well.
    pytest.mark.filterwarnings("ignore:negative transfer:featx.errors.FeatxWarning"),
]


def residual_network():
    """Two named blocks with batch normalisation and dropout, as the big ones have."""
    layers = keras.layers
    inputs = keras.Input((*TINY_SIZE, 3))
    features = layers.Conv2D(6, 3, strides=2, name="stem_conv")(inputs)
    for index in range(2):
        name = f"block_{index}"
        branch = layers.Conv2D(6, 3, padding="same", use_bias=False, name=f"{name}_conv")(features)
        branch = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(branch))
        branch = layers.Dropout(0.2, seed=index, name=f"{name}_dropout")(branch)
        features = layers.Add(name=name)([features, branch])
    return keras.Model(inputs, features, name="residual")


@pytest.fixture(scope="module")
def labelled():
    """Images, and labels that have little to do with them, so that there is much to be learnt."""
    rng = np.random.default_rng(0)
    images = make_images(N_IMAGES, size=TINY_SIZE)
    y = np.where(rng.random(N_IMAGES) < 0.5, "cat", "dog")
    return images, y


@pytest.fixture(scope="module")
def model(labelled):
    images, y = labelled
    keras.utils.set_random_seed(0)
    backbone = load_backbone(residual_network(), preprocessing="unit")
    head = LogisticRegression().fit(backbone.model.predict_on_batch(images), y)
    return attach_head(backbone, to_keras(head), head.classes_)


def weights_of(model):
    return [np.array(weight) for weight in model.get_weights()]


def assert_equal_weights(found, expected, **tolerance):
    for left, right in zip(weights_of(found), weights_of(expected), strict=True):
        np.testing.assert_allclose(left, right, **({"rtol": 0, "atol": 0} | tolerance))


def changed_layers(tuner):
    before, after = parts_of(tuner.model).network, parts_of(tuner.model_).network
    return [
        layer.name
        for layer, twin in zip(before.layers, after.layers, strict=True)
        if any(
            not np.array_equal(*pair) for pair in zip(layer.get_weights(), twin.get_weights(), strict=True)
        )
    ]


OPTIONS = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "guard": False, "patience": None}


class TestWhatTrains:
    @pytest.mark.parametrize("augmentation", [None, Augmentation("horizontal")])
    @pytest.mark.parametrize(
        ("unfreeze", "expected"),
        [
            ("none", set()),
            ("last:1", {"block_1_conv", "block_1_norm"}),
            ("last:2", {"block_0_conv", "block_0_norm", "block_1_conv", "block_1_norm"}),
            ("all", {"stem_conv", "block_0_conv", "block_0_norm", "block_1_conv", "block_1_norm"}),
        ],
    )
    def test_these_blocks_and_no_others(self, model, labelled, unfreeze, expected, augmentation):
        tuner = FineTuner(model, unfreeze, augmentation=augmentation, **OPTIONS).fit(*labelled)
        assert set(changed_layers(tuner)) == expected
        heads = [parts_of(each).head for each in (tuner.model, tuner.model_)]
        assert not np.array_equal(*(head.get_weights()[0] for head in heads))
        assert tuner.plan_.n_trainable == sum(
            int(np.prod(weight.shape)) for weight in tuner.model_.trainable_weights
        )
        assert tuner.plan_.n_params == tuner.model_.count_params()

    def test_the_model_that_was_given_stays_as_it_is(self, model, labelled):
        before = weights_of(model)
        FineTuner(model, "all", **OPTIONS).fit(*labelled)
        for left, right in zip(weights_of(model), before, strict=True):
            np.testing.assert_array_equal(left, right)

    def test_batch_norm_keeps_its_statistics_unless_asked(self, model, labelled):
        found = {}
        for mode in ("inference", "train"):
            tuner = FineTuner(model, "all", batch_norm=mode, **OPTIONS).fit(*labelled)
            norm = parts_of(tuner.model_).network.get_layer("block_1_norm")
            found[mode] = np.array(norm.moving_mean)
        before = np.array(parts_of(model).network.get_layer("block_1_norm").moving_mean)
        np.testing.assert_array_equal(found["inference"], before)
        assert np.abs(found["train"] - before).max() > 1e-3

    @pytest.mark.parametrize("unfreeze", ["none", "last:1", "last:2"])
    def test_cached_activations_change_nothing_but_the_time(self, model, labelled, unfreeze):
        cached, not_cached = (
            FineTuner(model, unfreeze, cache_activations=cache, **OPTIONS).fit(*labelled).model_
            for cache in (True, False)
        )
        assert_equal_weights(cached, not_cached, atol=1e-5)

    def test_blocks_nearer_to_the_image_learn_more_slowly(self, model, labelled):
        tuner = FineTuner(model, "all", block_decay=0.01, **{**OPTIONS, "epochs": 1}).fit(*labelled)
        steps = [
            np.abs(
                np.array(parts_of(each).network.get_layer(name).kernel)
                - np.array(parts_of(model).network.get_layer(name).kernel)
            ).max()
            for each in (tuner.model_,)
            for name in ("stem_conv", "block_0_conv", "block_1_conv")
        ]
        # Adam's first steps are as long as the learning rate, whatever the gradient.
        assert steps[0] < 0.05 * steps[1] < 0.05 * 0.05 * steps[2]

    def test_weights_stay_float32_when_the_network_computes_in_half(self, model, labelled):
        half, full = (
            FineTuner(model, "all", precision=precision, **OPTIONS).fit(*labelled)
            for precision in ("bfloat16", "float32")
        )
        assert {str(weight.dtype) for weight in half.model_.weights} == {"float32"}
        assert {layer.compute_dtype for layer in parts_of(half.model_).network.layers} == {"float32"}
        difference = np.abs(half.predict_proba(labelled[0]) - full.predict_proba(labelled[0])).max()
        assert 0 < difference < 0.1

    def test_what_is_no_weight_of_a_head_stays(self, labelled):
        images, y = labelled
        backbone = load_backbone(TINY)
        layers = keras.layers
        constant = layers.Dense(3, "relu", trainable=False)
        head = keras.Sequential(
            [keras.Input((backbone.spec.n_features,)), constant, layers.Dense(2, "softmax")]
        )
        model = attach_head(backbone, head, ["cat", "dog"])
        tuner = FineTuner(model, **OPTIONS).fit(images, y)
        before, after = (parts_of(each).head.layers for each in (model, tuner.model_))
        np.testing.assert_array_equal(after[0].get_weights()[0], before[0].get_weights()[0])
        assert not np.array_equal(after[1].get_weights()[0], before[1].get_weights()[0])


class TestGuard:
    def test_the_frozen_model_comes_back_when_training_harms_it(self):
        images = make_images(N_IMAGES, size=TINY_SIZE)
        y = np.array(["dark", "light"] * (N_IMAGES // 2))
        backbone = load_backbone(TINY)
        head = LogisticRegression(C=100).fit(backbone.model.predict_on_batch(images), y)
        model = attach_head(backbone, to_keras(head), head.classes_)
        options = {**OPTIONS, "guard": True, "learning_rate": 3.0, "epochs": 1, "warmup": 0.0}
        tuner = FineTuner(model, "all", **options).fit(images, y)
        assert tuner.result_.kept == "frozen"
        assert tuner.result_.finetuned.rank <= tuner.result_.frozen.rank
        assert_equal_weights(tuner.model_, model)
        assert tuner.model_.class_names == ("dark", "light")

    def test_the_better_epoch_comes_back_otherwise(self, model, labelled):
        tuner = FineTuner(model, "all", **{**OPTIONS, "guard": True, "epochs": 6}).fit(*labelled)
        history = tuner.history_
        ranks = list(
            zip(history["validation_accuracy"], [-loss for loss in history["validation_loss"]], strict=True)
        )
        assert tuner.result_.best_epoch == 1 + ranks.index(max(ranks))
        assert tuner.result_.finetuned.rank == pytest.approx(max(ranks))
        is_better = tuner.result_.finetuned.rank > tuner.result_.frozen.rank
        assert tuner.result_.kept == ("finetuned" if is_better else "frozen")

    def test_training_stops_when_nothing_gets_better(self, model, labelled):
        options = {**OPTIONS, "epochs": 30, "patience": 2, "learning_rate": 1e-12}
        tuner = FineTuner(model, **options).fit(*labelled)
        assert tuner.result_.n_epochs == tuner.result_.best_epoch + 2 < 30

    def test_a_loss_that_is_no_number_is_an_error(self, model, labelled):
        options = {**OPTIONS, "learning_rate": 1e30}
        with pytest.raises(ConversionError, match=r"no number in epoch \d; expected a finite one"):
            FineTuner(model, "all", **options).fit(*labelled)
        with pytest.warns(FeatxWarning, match=r"training stopped at a loss that is no number"):
            tuner = FineTuner(model, "all", **{**options, "guard": True}).fit(*labelled)
        assert tuner.result_.kept == "frozen"
        assert_equal_weights(tuner.model_, model)

    def test_features_that_pixels_beat_are_warned_of(self):
        images = make_images(N_IMAGES, size=TINY_SIZE)
        y = np.array(["dark", "light"] * (N_IMAGES // 2))
        backbone = load_backbone(TINY)
        head = keras.Sequential([keras.Input((backbone.spec.n_features,)), keras.layers.Dense(2, "softmax")])
        head.layers[0].set_weights([np.zeros((backbone.spec.n_features, 2)), np.array([1.0, 0.0])])
        with pytest.warns(FeatxWarning, match=r"negative transfer: .* 1\.000 .* features 0\.[56]"):
            FineTuner(attach_head(backbone, head, ["dark", "light"]), **OPTIONS).fit(images, y)


class TestSamples:
    def test_copies_and_groups_are_never_parted(self, model):
        images = np.repeat(make_images(12, size=TINY_SIZE), 2, axis=0)
        y = np.repeat(["cat", "dog"] * 6, 2)
        tuner = FineTuner(model, **OPTIONS).fit(images, y)
        assert (tuner.result_.n_train % 2, tuner.result_.n_validation % 2) == (0, 0)
        groups = [f"group {index // 4}" for index in range(24)]
        tuner = FineTuner(model, validation_size=0.5, **OPTIONS).fit(images, y, groups=groups)
        assert (tuner.result_.n_train, tuner.result_.n_validation) == (12, 12)

    def test_validation_images_of_the_users_own(self, model, labelled):
        images, y = labelled
        own = FineTuner(model, **OPTIONS).fit(images[:16], y[:16], validation_data=(images[16:], y[16:]))
        assert (own.result_.n_train, own.result_.n_validation) == (16, 8)

    def test_an_image_does_not_train_that_decides(self, model, labelled):
        images, y = labelled
        with pytest.raises(HeadError, match="2 training images that are validation images too, first 14"):
            FineTuner(model, **OPTIONS).fit(images[:16], y[:16], validation_data=(images[14:], y[14:]))

    def test_samples_without_a_label_are_left_out(self, model, labelled):
        images, y = labelled
        given = FineTuner(model, **OPTIONS).fit(images[:20], y[:20])
        columns = np.where(np.arange(24) < 20, (y == "dog").astype(int), -1)
        numbered = attach_head_like(model, ["0", "1"])
        found = FineTuner(numbered, **OPTIONS).fit(images, columns)
        assert found.n_unlabelled_ == 4
        assert_equal_weights(found.model_, given.model_)
        assert found.predict(images).dtype.kind == "i"

    def test_weights_count(self, model, labelled):
        images, y = labelled
        weight = np.where(y == "cat", 3.0, 1.0)
        by_sample = FineTuner(model, **OPTIONS).fit(images, y, sample_weight=weight)
        by_class = FineTuner(model, class_weight={"cat": 3.0, "dog": 1.0}, **OPTIONS).fit(images, y)
        plain = FineTuner(model, **OPTIONS).fit(images, y)
        assert_equal_weights(by_sample.model_, by_class.model_, atol=1e-6)
        assert by_class.result_.frozen.log_loss != plain.result_.frozen.log_loss
        with pytest.raises(AssertionError):
            assert_equal_weights(by_class.model_, plain.model_, atol=1e-6)

    def test_rows_beyond_the_memory_stand_in_a_file(self, model, labelled):
        little, much = (FineTuner(model, memory_gb=limit, **OPTIONS).fit(*labelled) for limit in (1e-9, 1.0))
        assert_equal_weights(little.model_, much.model_)


def attach_head_like(model, class_names):
    """The same model with other names for its classes."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.class_names = tuple(class_names)
    return twin


class TestEstimator:
    @pytest.mark.parametrize(
        "y", [np.array([1.0, 2.0] * 12), np.array([True, False] * 12), np.array([3, 7] * 12)]
    )
    def test_classes_are_what_they_were(self, y, tmp_path):
        images = make_images(N_IMAGES, size=TINY_SIZE)
        head = LogisticRegression(C=1e4)
        classifier = ImageClassifier(TINY, head, store=tmp_path / "cache").fit(images, y)
        tuner = classifier.fine_tune(images, y, epochs=1, verbose=0, sample_weight=np.ones(N_IMAGES))
        assert tuner.predict(images).dtype.kind == y.dtype.kind
        np.testing.assert_array_equal(tuner.classes_, classifier.classes_)
        assert tuner.score(images, y) > 0.9

    def test_several_taps_train_as_one_does(self, tmp_path):
        images = make_images(N_IMAGES, size=TINY_SIZE)
        extractor = FeatureExtractor(residual_network(), preprocessing="unit", taps=("block_0", "block_1"))
        y = np.array(["dark", "light"] * 12)
        classifier = ImageClassifier(extractor, LogisticRegression(), store=tmp_path / "cache").fit(images, y)
        tuner = classifier.fine_tune(images, y, epochs=1, groups=[str(index // 2) for index in range(24)])
        assert (tuner.result_.n_train % 2, tuner.plan_.blocks) == (0, ("block_1",))

    def test_it_predicts_images_of_any_kind(self, model, labelled, tmp_path):
        folder = write_class_folder(tmp_path / "images", n_images=8)
        images, y = labelled
        tuner = FineTuner(attach_head_like(model, ["dark", "light"]), **OPTIONS).fit(folder)
        paths = sorted(folder.rglob("*.*g"))
        probabilities = tuner.predict_proba(paths)
        assert probabilities.shape == (8, 2)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
        assert tuner.predict(paths).tolist() == tuner.classes_[probabilities.argmax(axis=1)].tolist()
        assert tuner.score(folder) == np.mean(tuner.predict(paths) == [path.parent.name for path in paths])
        assert tuner.score(images, np.where(y == "cat", "dark", "light")) <= 1.0

    def test_a_head_of_decisions_trains_and_has_no_probabilities(self, labelled):
        images, y = labelled
        backbone = load_backbone(TINY)
        head = RidgeClassifier().fit(backbone.model.predict_on_batch(images), y)
        tuner = FineTuner(attach_head(backbone, to_keras(head), head.classes_), **OPTIONS).fit(images, y)
        assert not hasattr(tuner, "predict_proba")
        assert tuner.predict(images).shape == (N_IMAGES,)
        assert tuner.history_["loss"][1] < tuner.history_["loss"][0]

    def test_an_interrupted_training_leaves_no_model(self, model, labelled, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        tuner = FineTuner(model, **OPTIONS)
        monkeypatch.setattr("featx.models.training.Training._epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tuner.fit(*labelled)
        with pytest.raises(NotFittedError):
            tuner.predict(labelled[0])

    def test_a_clone_shares_the_network_and_nothing_else(self, model, labelled):
        tuner = FineTuner(model, **OPTIONS).fit(*labelled)
        twin = clone(tuner)
        assert twin.get_params(deep=False) == tuner.get_params(deep=False)
        assert not hasattr(twin, "model_")
        assert twin.model is model

    def test_the_same_seed_gives_the_same_weights(self, model, labelled):
        augmentation = Augmentation("horizontal", rotation_degrees=10, shift=0.1, zoom=0.1, shear=0.1)
        options = {**OPTIONS, "augmentation": augmentation, "batch_norm": "train"}
        first, second, other = (
            FineTuner(model, "all", random_state=seed, **options).fit(*labelled) for seed in (0, 0, 1)
        )
        assert_equal_weights(first.model_, second.model_)
        with pytest.raises(AssertionError):
            assert_equal_weights(first.model_, other.model_, atol=1e-6)

    def test_what_will_train_is_said_before(self, model, labelled, capsys):
        FineTuner(model, verbose=1, **OPTIONS).fit(*labelled)
        said = capsys.readouterr().err
        n_trainable = blocks_of(parts_of(model).network)[-1].n_params + parts_of(model).head.count_params()
        # Of batch normalisation's weights, its two statistics do not train.
        assert f"training {n_trainable - 12:,} of {model.count_params():,} parameters (block_1, head)" in said

    def test_an_image_classifier_keeps_what_decides_from_its_head(self, tmp_path):
        folder = write_class_folder(tmp_path / "images", n_images=24)
        classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path / "cache", cv=2)
        tuner = classifier.fit(folder).fine_tune(folder, epochs=1)
        assert tuner.result_.n_train + tuner.result_.n_validation == 24
        assert tuner.classes_.tolist() == ["dark", "light"]
        # The head that began knows the training part alone.
        assert not np.array_equal(
            parts_of(tuner.model).head.get_weights()[-1],
            parts_of(classifier.to_keras()).head.get_weights()[-1],
        )


def checkpointed_run(model_file, images_file, checkpoint):
    """Five epochs with everything that is drawn at random: here, and in the process that is killed."""
    images = np.load(images_file)
    tuner = FineTuner(
        keras.saving.load_model(model_file),
        "all",
        1e-3,
        5,
        8,
        patience=None,
        guard=False,
        batch_norm="train",
        checkpoint=checkpoint,
        augmentation=Augmentation("horizontal", rotation_degrees=10),
    )
    return tuner.fit(images["images"], images["y"])


RUN = """
import sys
from tests.models.test_finetuning import checkpointed_run
checkpointed_run(*sys.argv[1:])
print("ended")
"""


class TestCheckpoint:
    def test_a_run_that_was_killed_ends_with_the_same_weights(self, model, labelled, tmp_path):
        model.save(tmp_path / "m.keras")
        images, y = labelled
        np.savez(tmp_path / "images.npz", images=images, y=(y == "dog").astype(int))

        files = tmp_path / "m.keras", tmp_path / "images.npz"
        checkpoint = tmp_path / "killed.ckpt"
        command = [sys.executable, "-W", "ignore", "-c", RUN, *files, checkpoint]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as killed:
            deadline = time.monotonic() + 60
            while not checkpoint.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            killed.send_signal(signal.SIGKILL)
            said = killed.stdout.read()
        assert checkpoint.exists()
        assert "ended" not in said
        whole = checkpointed_run(*files, tmp_path / "whole.ckpt")
        resumed = checkpointed_run(*files, checkpoint)
        assert (whole.result_.n_resumed, 0 < resumed.result_.n_resumed <= 5) == (0, True)
        assert_equal_weights(resumed.model_, whole.model_)

    def test_a_run_that_ended_is_not_run_again(self, model, labelled, tmp_path):
        options = {**OPTIONS, "checkpoint": tmp_path / "run.ckpt"}
        first = FineTuner(model, **options).fit(*labelled)
        again = FineTuner(model, **options).fit(*labelled)
        assert again.history_ == first.history_
        assert_equal_weights(again.model_, first.model_)

    @pytest.mark.parametrize("wrong", ["state", "shape", "number"])
    def test_a_checkpoint_that_somebody_changed_is_one_error(self, model, labelled, tmp_path, wrong):
        path = tmp_path / "run.ckpt"
        FineTuner(model, **{**OPTIONS, "checkpoint": path}).fit(*labelled)
        with zipfile.ZipFile(path) as archive:
            run = json.loads(archive.read("state.json"))["run"]
        state, arrays = Checkpoint(path, run).load()
        name = next(name for name in arrays if name.startswith("weights/"))
        if wrong == "state":
            state = {}
        elif wrong == "shape":
            arrays[name] = np.zeros((7, 7), np.float32)
        else:
            del arrays[max(name for name in arrays if name.startswith("optimizer/"))]
        # Its digest is right: an attacker can compute one too.
        Checkpoint(path, run).save(state, arrays)
        with pytest.raises(StoreCorruptError, match="does not fit the model"):
            FineTuner(model, **{**OPTIONS, "checkpoint": path}).fit(*labelled)

    def test_a_checkpoint_of_another_run_is_refused(self, model, labelled, tmp_path):
        path = tmp_path / "run.ckpt"
        FineTuner(model, **{**OPTIONS, "checkpoint": path}).fit(*labelled)
        before = path.read_bytes()
        for change in ({"learning_rate": 1e-3}, {"unfreeze": "all"}, {"random_state": 1}):
            with pytest.raises(StoreMismatchError, match=f"of another run; .*{next(iter(change))}: found"):
                FineTuner(model, **{**OPTIONS, "checkpoint": path, **change}).fit(*labelled)
        with pytest.raises(StoreMismatchError, match="train_sha256"):
            FineTuner(model, **{**OPTIONS, "checkpoint": path}).fit(labelled[0][::-1], labelled[1])
        # The same images on other sides of the split.
        groups = [str(index // 3) for index in range(N_IMAGES)]
        with pytest.raises(StoreMismatchError, match="validation_sha256"):
            FineTuner(model, **{**OPTIONS, "checkpoint": path}).fit(*labelled, groups=groups)
        assert path.read_bytes() == before


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"unfreeze": "last:9"}, 'expected "none", "all", or "last:1" to "last:3"'),
            ({"learning_rate": 0}, "learning_rate=0; expected a number above 0"),
            ({"learning_rate": float("nan")}, "learning_rate=nan"),
            ({"epochs": 0}, "epochs=0"),
            ({"batch_size": 1.5}, "batch_size=1.5"),
            ({"warmup": 1.0}, "warmup=1.0; expected a share"),
            ({"precision": "float16"}, "precision='float16'; expected one of 'float32', 'bfloat16'"),
            ({"batch_norm": "frozen"}, "batch_norm='frozen'"),
            ({"random_state": -1}, "random_state=-1"),
            ({"augmentation": Augmentation(shift=2)}, "shift=2; expected a number from 0 to 1"),
            ({"augmentation": Augmentation("sideways")}, "flip='sideways'"),
        ],
        ids=str,
    )
    def test_a_parameter_is_refused_before_an_image_is_read(self, model, options, message):
        with pytest.raises(ConversionError, match=message):
            FineTuner(model, **{**OPTIONS, **options}).fit("no/such/folder")

    def test_a_model_of_another_kind(self, labelled):
        with pytest.raises(ConversionError, match="expected a backbone with a head behind it"):
            FineTuner(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])).fit(*labelled)

    def test_labels_of_another_model(self, model, labelled):
        with pytest.raises(HeadError, match="the classes cow; expected labels among cat, dog"):
            FineTuner(model).fit(labelled[0], ["cow", "cat"] * 12)
        with pytest.raises(HeadError, match="images without labels"):
            FineTuner(model).fit(labelled[0])

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="JAX and torch give gradients of zero"
    )
    def test_a_head_without_a_gradient(self, labelled):
        images, y = labelled
        backbone = load_backbone(TINY)
        head = KNeighborsClassifier(3).fit(backbone.model.predict_on_batch(images), y)
        with pytest.raises(ConversionError, match="a head of steps; expected one that has a gradient"):
            FineTuner(attach_head(backbone, to_keras(head), head.classes_), **OPTIONS).fit(images, y)

    def test_weights_and_groups_that_belong_to_nothing(self, model, labelled):
        with pytest.raises(HeadError, match="class_weight for cow; expected classes among cat, dog"):
            FineTuner(model, class_weight={"cow": 2.0}).fit(*labelled)
        for n_groups in (3, 30):
            with pytest.raises(HeadError, match=f"{n_groups} groups for 24 images"):
                FineTuner(model).fit(*labelled, groups=["a"] * n_groups)

    def test_one_class_in_the_validation_part(self, model, labelled):
        images, y = labelled
        with pytest.raises(HeadError, match=r"a validation part of one class only \(cat\)"):
            FineTuner(model).fit(images[2:], y[2:], validation_data=(images[:2], ["cat", "cat"]))

    def test_weights_that_are_none(self, model, labelled):
        for weight in (np.ones(3), np.full(N_IMAGES, np.nan), -np.ones(N_IMAGES)):
            with pytest.raises(HeadError, match="sample_weight of shape"):
                FineTuner(model).fit(*labelled, sample_weight=weight)

    def test_a_checkpoint_that_cannot_be_written(self, model, labelled, tmp_path):
        with pytest.raises(StoreError, match="expected a file to write to"):
            FineTuner(model, checkpoint=tmp_path).fit(*labelled)

    def test_an_image_that_cannot_be_read(self, model, tmp_path):
        folder = write_class_folder(tmp_path / "images")
        (folder / "dark" / "broken.png").touch()
        with pytest.raises(SourceError, match=r"dark/broken\.png: empty file"):
            FineTuner(attach_head_like(model, ["dark", "light"])).fit(folder)

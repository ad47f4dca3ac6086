"""Images that are arrays already: every value has a stated meaning, and no label shifts."""

import numpy as np
import pytest
from PIL import Image

from featx.errors import DecodeError, SourceError
from featx.images.array_sources import ArraySource, DatasetSource, is_dataset, to_uint8_rgb
from tests.conftest import make_images
from tests.contracts import IMAGES, LABELS, SourceContract, reasons, stacked

GREY = IMAGES[..., 0]


# ---------------------------------------------------------------------------------------- contracts


class TestArraySourceContract(SourceContract):
    def build(self, _folder):
        return ArraySource(IMAGES, LABELS)


class TestArrayListSourceContract(SourceContract):
    def build(self, _folder):
        return ArraySource(list(IMAGES), np.array(LABELS), sample_ids=[f"image {i}" for i in range(6)])


class TestFloatArraySourceContract(SourceContract):
    def build(self, _folder):
        return ArraySource(IMAGES / 255, LABELS, value_range=(0, 1))


class TestTensorFlowSourceContract(SourceContract):
    def build(self, _folder):
        return DatasetSource(tf_dataset(IMAGES, LABELS).batch(4))


class TestUnbatchedTensorFlowSourceContract(SourceContract):
    def build(self, _folder):
        return DatasetSource(tf_dataset(IMAGES, LABELS))


class TestPyDatasetSourceContract(SourceContract):
    def build(self, _folder):
        return DatasetSource(py_dataset(IMAGES, LABELS))


# -------------------------------------------------------------------------------------- uint8 and RGB


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES, IMAGES),
        (GREY, np.stack([GREY] * 3, axis=-1)),
        (GREY[..., None], np.stack([GREY] * 3, axis=-1)),
        (IMAGES[:, ::2, ::-1], IMAGES[:, ::2, ::-1]),
        (np.asfortranarray(IMAGES), IMAGES),
    ],
    ids=["RGB", "grey", "grey with a channel", "view", "Fortran order"],
)
def test_uint8_images_are_taken_as_they_are(images, expected):
    found = stacked(ArraySource(images))
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (GREY / 255, (0, 1)),
        (GREY.astype(np.float16), (0, 255)),
        (GREY / 127.5 - 1, (-1, 1)),
        (GREY.astype(np.uint16) * 257, (0, 65535)),
        (GREY.astype(np.int64) - 1000, (-1000, -745)),
        (GREY.astype(">f4"), (0, 255)),
    ],
    ids=["0 to 1", "0 to 255", "-1 to 1", "16 bit", "integers", "big-endian"],
)
def test_a_stated_range_is_mapped_to_0_to_255(images, value_range):
    np.testing.assert_array_equal(stacked(ArraySource(images, value_range=value_range))[..., 1], GREY)


def test_the_range_is_the_stated_one_whatever_the_values():
    dark, light = np.full((2, 2), 0.25), np.full((2, 2), 0.5)
    found = stacked(ArraySource([dark, light, np.eye(2)], value_range=(0, 1)))
    assert found[:, 0, 0, 0].tolist() == [64, 128, 255]


def test_booleans_are_black_and_white():
    assert stacked(ArraySource(np.eye(2, dtype=bool)[None], value_range=(0, 1)))[0, :, :, 0].tolist() == [
        [255, 0],
        [0, 255],
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01, -0.01])
def test_a_value_outside_the_range_costs_its_image_alone(bad):
    images = np.full((3, 2, 2, 3), 0.5)
    images[1, 1, 0, 2] = bad
    source = ArraySource(images, value_range=(0, 1))
    before, reason, after = reasons(source)
    assert (before, after) == (None, None)
    assert "lie outside the value_range (0.0, 1.0)" in reason


def test_a_rounding_error_beyond_the_range_is_forgiven():
    images = np.array([[[np.float32(1.000001), np.float32(-0.000001)]]])
    assert stacked(ArraySource(images, value_range=(0, 1)))[0, 0, :, 0].tolist() == [255, 0]


def test_float_images_without_a_range_are_refused():
    with pytest.raises(SourceError, match=r"float64 images without a stated range; .*value_range=\(0, 1\)"):
        ArraySource(IMAGES / 255)


@pytest.mark.parametrize("value_range", [(1, 0), (0, 0), (0, np.nan), (0, np.inf), (-np.inf, 0)])
def test_a_range_that_is_none_is_refused(value_range):
    with pytest.raises(SourceError, match=r"expected \(black, white\), finite, with black < white"):
        ArraySource(IMAGES / 255, value_range=value_range)


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (
            IMAGES[0],
            r"received one image of shape \(20, 24, 3\); expected a batch of images; pass images\[None\]",
        ),
        (np.zeros((20, 24, 4), np.uint8), r"pass images\[None\]"),
        (np.moveaxis(IMAGES, -1, 1), r"expected channels last; pass np.moveaxis\(images, 1, -1\)"),
        (GREY[:, None], r"expected channels last"),
        (np.zeros((6, 8, 8, 4), np.uint8), r"\(n_samples, height, width\[, 1 or 3\]\)"),
        (np.zeros((6, 64), np.uint8), r"\(n_samples, height, width\[, 1 or 3\]\)"),
        (np.zeros((2, 3, 8, 8, 3), np.uint8), r"\(n_samples, height, width\[, 1 or 3\]\)"),
        (np.uint8(3).reshape(()), r"\(n_samples, height, width\[, 1 or 3\]\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no samples"),
        ([], "no samples"),
    ],
    ids=[
        "one RGB",
        "one RGBA",
        "channels first",
        "grey channels first",
        "RGBA",
        "rows",
        "video",
        "scalar",
        "none",
        "list",
    ],
)
def test_another_layout_is_refused_with_the_remedy(images, remedy):
    with pytest.raises(SourceError, match=remedy):
        ArraySource(images)


def test_images_of_different_sizes_are_taken_one_by_one():
    images = [IMAGES[0], IMAGES[1, :5, :7], GREY[2]]
    found = [sample.fetch().shape for sample in ArraySource(images).read(0, 3)]
    assert found == [(20, 24, 3), (5, 7, 3), (20, 24, 3)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.zeros((4, 4, 4), np.uint8), r"shape (4, 4, 4) is not (height, width[, 1 or 3])"),
        (np.zeros((3, 8, 8), np.uint8), r"shape (3, 8, 8) is not (height, width[, 1 or 3])"),
        (np.zeros(4, np.uint8), "shape (4,) is not"),
        (np.zeros((0, 4, 3), np.uint8), "shape (0, 4, 3) is not"),
        (np.zeros((4, 4, 3)), "float64 pixels without a value_range"),
        (np.zeros((4, 4, 3), complex), "complex128 pixels are not real numbers"),
        (np.full((4, 4, 3), "x"), "<U1 pixels are not real numbers"),
        (np.full((4, 4, 3), None), "object pixels are not real numbers"),
    ],
)
def test_one_array_that_is_no_image_costs_itself_alone(bad, reason):
    before, found, after = reasons(ArraySource([IMAGES[0], bad, IMAGES[2]]))
    assert (before, after) == (None, None)
    assert found.startswith(reason)


def test_complex_images_are_not_read_though_a_range_is_stated():
    assert reasons(ArraySource(np.ones((1, 8, 8), complex), value_range=(0, 1))) == [
        "complex128 pixels are not real numbers"
    ]


def test_ids_are_the_given_ones_and_align():
    assert ArraySource(IMAGES[:2], sample_ids=["a", "b"]).sample_ids == ["a", "b"]
    assert ArraySource(IMAGES[:2]).sample_ids == ["0", "1"]
    with pytest.raises(SourceError, match="3 sample_ids for 2 samples"):
        ArraySource(IMAGES[:2], sample_ids=["a", "b", "c"])


@pytest.mark.parametrize(
    "ids", [np.array(["a", "b"]), ("a", "b"), np.array(["a", "b"], dtype=object), {"a": 1, "b": 2}.keys()]
)
def test_ids_may_be_any_sequence(ids):
    source = ArraySource(IMAGES[:2], sample_ids=ids)
    assert source.sample_ids == ["a", "b"]
    assert all(type(name) is str for name in source.sample_ids)


def test_numbers_are_ids_as_text():
    source = ArraySource(IMAGES[:2], sample_ids=np.array([7, 3]))
    assert source.sample_ids == ["7", "3"]
    assert source.fingerprint() == ArraySource(IMAGES[:2], sample_ids=["7", "3"]).fingerprint()


def test_no_ids_are_not_the_default_ones():
    with pytest.raises(SourceError, match="0 sample_ids for 2 samples"):
        ArraySource(IMAGES[:2], sample_ids=[])


def test_a_repeated_id_is_refused_and_named():
    with pytest.raises(SourceError, match="the sample_id 'b' more than once; expected a name of its own"):
        ArraySource(IMAGES, sample_ids=["a", "b", "c", "b", "a", "d"])


def test_one_hot_labels_are_refused_with_the_remedy():
    with pytest.raises(
        SourceError, match=r"labels of shape \(6, 2\) for 6 samples; .*labels\.argmax\(axis=1\)"
    ):
        ArraySource(IMAGES, np.eye(2)[[0, 1] * 3])


def test_what_is_fetched_can_be_changed_without_changing_the_source():
    images = GREY.copy()
    ArraySource(images).read(0, 1)[0].fetch()[:] = 0
    np.testing.assert_array_equal(images, GREY)


def test_one_image_is_converted_by_the_same_rule():
    np.testing.assert_array_equal(to_uint8_rgb(GREY[0] / 255, (0, 1), "a")[..., 2], GREY[0])
    with pytest.raises(DecodeError, match=r"^a: "):
        to_uint8_rgb(GREY[0] / 255, None, "a")


# -------------------------------------------------------------------------- tf.data and Keras data sets


def tf_dataset(*columns):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(columns if len(columns) > 1 else columns[0])


def tf_generator(make):
    import tensorflow as tf

    return tf.data.Dataset.from_generator(
        lambda: iter(make()), output_signature=tf.TensorSpec((20, 24, 3), tf.uint8)
    )


def py_dataset(images, labels=None, pack=tuple, n_batches=3):
    """A Keras data set of batches of two."""
    import keras

    class Batches(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return n_batches

        def __getitem__(self, index):
            rows = slice(2 * index, 2 * index + 2)
            return images[rows] if labels is None else pack([images[rows], np.array(labels[rows])])

    return Batches()


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1] * 3,
        np.array([0, 1] * 3, np.uint8),
        np.array([[0], [1]] * 3),
        np.eye(2)[[0, 1] * 3],
        np.eye(2, dtype=int)[[0, 1] * 3],
        ["a", "b"] * 3,
        ["größe", "katze"] * 3,
    ],
    ids=["integers", "uint8", "column", "one-hot", "one-hot integers", "text", "UTF-8"],
)
@pytest.mark.parametrize("batch_size", [None, 4, 1])
def test_labels_of_every_usual_form_are_read(labels, batch_size):
    dataset = tf_dataset(IMAGES, labels)
    source = DatasetSource(dataset if batch_size is None else dataset.batch(batch_size))
    assert source.labels.tolist() == [0, 1] * 3
    assert len(source.class_names) == 2


@pytest.mark.parametrize("labels", [np.ones((6, 3)), np.array([[1, 1], [0, 1]] * 3), np.full((6, 2), 0.5)])
def test_several_labels_an_image_are_refused(labels):
    with pytest.raises(SourceError, match="one class a sample, as integers or one-hot"):
        DatasetSource(tf_dataset(IMAGES, labels).batch(4))


def test_class_names_are_the_given_ones():
    dataset = tf_dataset(IMAGES, [0, 1] * 3).batch(2)
    source = DatasetSource(dataset, class_names=["night", "day", "dusk"])
    assert (source.class_names, source.labels.tolist()) == (["night", "day", "dusk"], [0, 1] * 3)


@pytest.mark.parametrize(
    "dataset",
    [
        lambda: tf_dataset(IMAGES).batch(4),
        lambda: tf_dataset(IMAGES),
        lambda: py_dataset(IMAGES),
    ],
    ids=["batched", "unbatched", "Keras"],
)
def test_a_data_set_of_images_alone_is_unlabelled(dataset):
    source = DatasetSource(dataset())
    assert source.labels.tolist() == [-1] * 6
    np.testing.assert_array_equal(stacked(source), IMAGES)


@pytest.mark.parametrize("pack", [tuple, list])
def test_a_keras_data_set_may_give_tuples_or_lists_with_weights(pack):
    def with_weights(columns):
        return pack([*columns, np.ones(2)])

    source = DatasetSource(py_dataset(IMAGES, [0, 1] * 3, with_weights))
    assert source.labels.tolist() == [0, 1] * 3


def test_a_data_set_of_image_files_by_keras_is_read(tmp_path):
    import keras

    for index, label in enumerate(LABELS):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(IMAGES[index]).save(tmp_path / label / f"{index}.png")
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(20, 24), batch_size=4, shuffle=False, verbose=False
    )
    source = DatasetSource(dataset, value_range=(0, 255))
    assert source.class_names == ["dark", "light"]
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(stacked(source), IMAGES[[0, 2, 4, 1, 3, 5]])


def test_images_of_different_sizes_come_one_by_one():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_generator(
        lambda: (image[: 4 + index] for index, image in enumerate(IMAGES)),
        output_signature=tf.TensorSpec((None, None, 3), tf.uint8),
    )
    found = [sample.fetch().shape[0] for sample in DatasetSource(dataset).read(0, 6)]
    assert found == [4, 5, 6, 7, 8, 9]


def test_a_bad_image_costs_itself_alone_and_shifts_no_label():
    images = IMAGES / 255
    images[3, 0, 0, 0] = np.nan
    source = DatasetSource(tf_dataset(images, [0, 1, 0, 1, 0, 1]).batch(4), value_range=(0, 1))
    assert [reason is None for reason in reasons(source)] == [True, True, True, False, True, True]
    assert source.labels.tolist() == [0, 1] * 3
    # Also when the reading starts behind it.
    np.testing.assert_array_equal(source.read(4, 5)[0].fetch(), IMAGES[4])


def test_a_data_set_that_shuffles_anew_is_refused():
    images = np.arange(64, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    source = DatasetSource(tf_dataset(images, np.arange(64)).shuffle(64, seed=0))
    with pytest.raises(
        SourceError, match=r"changed between two passes .* turn shuffling and augmentation off"
    ):
        source.read(0, 64)


def test_a_data_set_that_shuffles_once_is_read():
    dataset = tf_dataset(IMAGES, [0, 1] * 3).shuffle(6, seed=1, reshuffle_each_iteration=False)
    source = DatasetSource(dataset)
    light = stacked(source).mean(axis=(1, 2, 3)) > 110
    np.testing.assert_array_equal(light, source.labels)


def test_a_data_set_that_augments_anew_is_refused():
    brightness = iter(range(9))
    source = DatasetSource(tf_generator(lambda: IMAGES + np.uint8(next(brightness))))
    with pytest.raises(SourceError, match="sample 0 changed between two passes"):
        source.read(0, 6)


def test_a_data_set_that_ends_early_on_a_later_pass_is_refused():
    lengths = iter([6, 4])
    source = DatasetSource(tf_generator(lambda: IMAGES[: next(lengths)]))
    with pytest.raises(SourceError, match="sample 4 changed between two passes"):
        source.read(0, 6)


def test_reading_on_costs_no_new_pass():
    n_passes = []

    def make():
        n_passes.append(1)
        return IMAGES

    source = DatasetSource(tf_generator(make))
    for start in range(0, 6, 2):
        source.read(start, start + 2)
    assert len(n_passes) == 2
    source.read(0, 2)
    assert len(n_passes) == 3


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (lambda: tf_dataset(IMAGES).repeat(), r"a data set without end; .*; drop repeat\(\)"),
        (lambda: tf_dataset(IMAGES).batch(2).repeat(), "a data set without end"),
        (lambda: py_dataset(IMAGES, n_batches=None), "a data set without end"),
        (lambda: tf_dataset(IMAGES).take(0), "no samples"),
        (lambda: py_dataset(IMAGES, n_batches=0), "no samples"),
        (lambda: tf_dataset(GREY), r"images of shape \(20, 24\); .* image\[..., None\] adds the channel"),
        (lambda: tf_dataset(GREY, [0, 1] * 3).batch(3), r"images of shape \(3, 20, 24\)"),
        (lambda: tf_dataset(np.zeros((6, 4, 4, 4), np.uint8)), r"images of shape \(4, 4, 4\)"),
        (lambda: tf_dataset(IMAGES / 255), "float64 images .* pass DatasetSource"),
        (lambda: tf_dataset({"image": IMAGES}).batch(2), "a data set with a dict of inputs"),
        (lambda: tf_dataset((IMAGES, IMAGES), [0, 1] * 3).batch(2), "a data set with a tuple of inputs"),
    ],
    ids=[
        "repeated",
        "repeated batches",
        "endless Keras",
        "empty",
        "empty Keras",
        "grey",
        "grey batches",
        "RGBA",
        "float",
        "dictionary",
        "two inputs",
    ],
)
def test_a_data_set_that_cannot_be_embedded_is_refused_with_the_remedy(dataset, reason):
    with pytest.raises(SourceError, match=reason):
        DatasetSource(dataset())


def test_a_data_set_is_recognised_among_other_things():
    assert is_dataset(tf_dataset(IMAGES))
    assert is_dataset(tf_dataset(IMAGES).batch(2).prefetch(1))
    assert is_dataset(py_dataset(IMAGES))
    assert not any(map(is_dataset, [IMAGES, [1], "path", {}, None, iter([])]))


def test_samples_picked_in_rising_order_cost_one_pass():
    tf = pytest.importorskip("tensorflow")
    n_passes = []

    def elements():
        n_passes.append(1)
        yield from make_images(40)

    dataset = tf.data.Dataset.from_generator(
        elements, output_signature=tf.TensorSpec((20, 24, 3), tf.uint8)
    ).apply(tf.data.experimental.assert_cardinality(40))
    source = DatasetSource(dataset)
    n_passes.clear()
    picked = [source.read(row, row + 1)[0].fetch() for row in (3, 4, 20, 39)]
    np.testing.assert_array_equal(picked, make_images(40)[[3, 4, 20, 39]])
    assert len(n_passes) == 1
    source.read(0, 1)
    assert len(n_passes) == 2

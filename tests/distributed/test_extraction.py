"""On a cluster as here: the same bytes, every sample accounted for, and nothing lost with a process."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from featx import (
    ClusterError,
    DecodeError,
    FeatureExtractor,
    FeatureStore,
    FeatxError,
    FolderSource,
    RayCluster,
    SourceError,
    StoreError,
    extract,
)
from featx.distributed.extraction import cpus_of_actor
from featx.features.preparation import ImagePreparation
from featx.features.recipe import ExtractionRecipe
from featx.images import isolation
from tests.conftest import make_images, write_class_folder


def digest(features, path):
    features.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def overflowing():
    """A model whose features of a black image are not finite."""
    import keras

    inputs = keras.Input((16, 16, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.ops.reciprocal(keras.layers.Rescaling(1e-30)(mean)))


def same_file(images, extractor, cluster, tmp_path, **options):
    """The two feature sets of a run here and one on the cluster, whose files are equal byte for byte."""
    here = extract(images, extractor, store=tmp_path / "here", **options)
    there = extract(images, extractor, store=tmp_path / "there", cluster=cluster, **options)
    assert digest(there, tmp_path / "there.h5") == digest(here, tmp_path / "here.h5")
    assert there.report.n_computed == here.report.n_computed
    return here, there


@pytest.mark.parametrize("n_actors", [1, 2, 7, 100])
@pytest.mark.parametrize("n_cpus", [1, 2, 5, 64])
@pytest.mark.parametrize("at_best", [1, 8])
def test_one_processor_is_always_left_to_decode(n_actors, n_cpus, at_best):
    cpus = cpus_of_actor(None, at_best, n_actors, n_cpus)
    assert 0 <= cpus <= at_best
    assert n_actors * cpus <= n_cpus - 1 + 1e-9
    # As Ray counts.
    assert cpus < 1 or cpus == int(cpus)


@pytest.mark.ray
class TestSameBytes:
    def test_of_a_folder(self, tmp_path, extractor, cluster):
        folder = write_class_folder(tmp_path / "images", n_images=150)
        _, there = same_file(folder, extractor, cluster, tmp_path)
        assert there.report.engine["n_actors"] == 2
        assert there.report.n_computed == 150

    def test_of_a_folder_with_duplicates_and_images_that_fail(self, tmp_path, extractor, cluster):
        folder = write_class_folder(tmp_path / "images", n_images=90)
        paths = sorted((folder / "dark").iterdir())
        for number, path in enumerate(paths[::5]):
            (folder / "dark" / f"again {number}.png").write_bytes(path.read_bytes())
        for name in ("light/00 none.jpg", "dark/50 none.png"):
            (folder / name).write_bytes(b"no image")
        here, there = same_file(folder, extractor, cluster, tmp_path, on_error="skip")
        assert [failure.reason for failure in there.failures] == [each.reason for each in here.failures]
        assert len(there) + len(there.failures) == len(FolderSource(folder))

    def test_of_views(self, tmp_path, extractor, cluster, images):
        same_file(images, extractor.set_params(n_views=3, random_state=1), cluster, tmp_path)

    def test_of_arrays_and_float16(self, tmp_path, extractor, cluster):
        same_file(make_images(70), extractor, cluster, tmp_path, dtype="float16")

    def test_of_several_taps(self, tmp_path, extractor, cluster, images):
        same_file(images, extractor.set_params(taps=("first", "top"), pooling="avg+max"), cluster, tmp_path)

    def test_of_a_model_of_ones_own(self, tmp_path, cluster, images):
        import keras

        model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(5, 3)])
        extractor = FeatureExtractor(model, preprocessing="unit", batch_size=4)
        same_file(images, extractor, cluster, tmp_path)

    def test_of_relative_paths(self, tmp_path, extractor, cluster, monkeypatch):
        write_class_folder(tmp_path / "images", n_images=20)
        monkeypatch.chdir(tmp_path)
        here = extract("images", extractor, store="here")
        there = extract("images", extractor, store="there", cluster=cluster)
        np.testing.assert_array_equal(here.X, there.X)


@pytest.mark.ray
class TestStore:
    def test_a_second_run_computes_nothing_wherever_it_is(self, tmp_path, extractor, cluster, class_folder):
        first = extract(class_folder, extractor, store=tmp_path / "s", cluster=cluster)
        again = extract(class_folder, extractor, store=tmp_path / "s", cluster=cluster)
        here = extract(class_folder, extractor, store=tmp_path / "s")
        assert (first.report.n_computed, again.report.n_computed, here.report.n_computed) == (12, 0, 0)
        np.testing.assert_array_equal(again.X, first.X)

    def test_what_is_new_alone_is_computed(self, tmp_path, extractor, cluster):
        folder = write_class_folder(tmp_path / "images", n_images=20)
        extract(folder, extractor, store=tmp_path / "s")
        write_class_folder(folder, n_images=6, seed=1)
        report = extract(folder, extractor, store=tmp_path / "s", cluster=cluster).report
        assert (report.n_computed, report.n_cached) == (6, 20)

    def test_no_store_is_refused(self, extractor, cluster, images):
        with pytest.raises(StoreError, match="a store that all machines reach"):
            extract(images, extractor, store=None, cluster=cluster)

    def test_a_store_that_a_machine_does_not_see_is_told(
        self, tmp_path, extractor, cluster, images, monkeypatch
    ):
        # What another machine would find: the folder is not there.
        original = RayCluster._job

        def elsewhere(self, work):
            import dataclasses

            job = original(self, work)
            return dataclasses.replace(job, directory=tmp_path / "other machine" / job.directory.name)

        monkeypatch.setattr(RayCluster, "_job", elsewhere)
        with pytest.raises(FeatxError, match="one that all machines reach"):
            extract(images, extractor, store=tmp_path / "s", cluster=cluster)


@pytest.mark.ray
class TestFailures:
    def test_an_image_that_fails_stops_the_run(self, tmp_path, extractor, cluster, class_folder):
        (class_folder / "dark" / "00 none.jpg").write_bytes(b"no image")
        with pytest.raises(DecodeError, match=r"00 none\.jpg"):
            extract(class_folder, extractor, store=tmp_path / "s", cluster=cluster)

    def test_more_than_are_borne_stop_it_too(self, tmp_path, extractor, cluster, class_folder):
        for number in range(3):
            (class_folder / "dark" / f"{number}.jpg").write_bytes(b"no image")
        options = {"on_error": "skip", "max_failed": 2, "store": tmp_path / "s", "cluster": cluster}
        with pytest.raises(SourceError, match="at most 2"):
            extract(class_folder, extractor, **options)

    def test_rows_that_are_not_finite_are_refused_alone(self, tmp_path, cluster):
        pixels = make_images(30)
        pixels[[3, 17]] = 0
        extractor = FeatureExtractor(overflowing(), preprocessing="none", batch_size=4)
        here = extract(pixels, extractor, store=tmp_path / "here", on_error="skip")
        there = extract(pixels, extractor, store=tmp_path / "there", on_error="skip", cluster=cluster)
        assert [each.index for each in there.failures] == [each.index for each in here.failures] == [3, 17]
        np.testing.assert_array_equal(there.X, here.X)

    def test_a_row_that_is_not_finite_costs_none_before_it(self, tmp_path, cluster):
        pixels = make_images(30)
        pixels[17] = 0
        extractor = FeatureExtractor(overflowing(), preprocessing="none", batch_size=4)
        for place, where in (("here", None), ("there", cluster)):
            with pytest.raises(DecodeError, match="17: its features are not finite"):
                extract(pixels, extractor, store=tmp_path / place, cluster=where)
            (entry,) = FeatureStore(tmp_path / place).entries()
            assert entry.n_samples == 16

    @pytest.mark.usefixtures("cluster")
    def test_too_many_actors_for_a_cluster_are_refused(self, tmp_path, extractor, images):
        greedy = RayCluster(n_actors=1, cpus_an_actor=100)
        with pytest.raises(ClusterError, match="a processor left to decode"):
            extract(images, extractor, store=tmp_path, cluster=greedy)


class FragilePreparation(ImagePreparation):
    """Dies of images that `mark` marks, in the process of the task and in the child that it starts then."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        isolation._TARGET = "tests.children:fragile_decoder"

    def load(self, content, sample_id, digest, views, notes=None):
        if content.endswith(b"crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().load(content, sample_id, digest, views, notes)


@pytest.mark.ray
def test_an_image_that_kills_its_decoder_costs_no_other(tmp_path, extractor, cluster, monkeypatch):
    folder = write_class_folder(tmp_path / "images", n_images=100)
    poisoned = sorted(folder.rglob("*.jpg"))[7]
    without = extract(folder, extractor, store=tmp_path / "here")
    poisoned.write_bytes(poisoned.read_bytes() + b"crash")
    fragile = property(lambda self: FragilePreparation(self.spec_.input_size, None, 1))
    monkeypatch.setattr(ExtractionRecipe, "preparation", fragile)
    found = extract(folder, extractor, store=tmp_path / "there", cluster=cluster, on_error="skip")
    (failure,) = found.failures
    assert failure.path == str(poisoned)
    assert failure.reason == "its decoder died (SIGSEGV)"
    kept = [row for row, sample_id in enumerate(without.sample_ids) if sample_id != failure.sample_id]
    assert found.sample_ids == [without.sample_ids[row] for row in kept]
    np.testing.assert_array_equal(found.X, without.X[kept])


@pytest.mark.ray
def test_a_store_of_small_shards_is_the_same(tmp_path, extractor, cluster):
    folder = write_class_folder(tmp_path / "images", n_images=150)
    features = extract(folder, extractor, store=tmp_path / "s", cluster=cluster)
    (entry,) = FeatureStore(tmp_path / "s").entries()
    assert entry.n_samples == 150
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not any(check.damaged for check in FeatureStore(tmp_path / "s").verify())
    assert features.report.stages["write"] > 0


@pytest.mark.ray
class TestCommand:
    def test_it_writes_the_file_of_a_local_run(self, class_folder, tmp_path):
        def run(name, *options):
            out = tmp_path / f"{name}.h5"
            words = ["extract", str(class_folder), "--out", str(out), "--store", str(tmp_path / name)]
            words += ["--backbone", "MobileNetV2", "--weights", "none", "--input-size", "32"]
            done = subprocess.run(
                [sys.executable, "-m", "featx", *words, *options, "--json"],
                capture_output=True,
                text=True,
                check=True,
                timeout=200,
            )
            return json.loads(done.stdout), hashlib.sha256(out.read_bytes()).hexdigest(), done.stderr

        _, here, _ = run("here")
        told, there, noise = run("there", "--ray", "--actors", "2")
        assert there == here
        assert told["engine"]["n_actors"] == 2
        assert (told["n_computed"], told["n_failed"]) == (12, 0)
        assert "ray" not in noise.lower()


@pytest.mark.ray
def test_the_readme_is_right(tmp_path, cluster, monkeypatch):
    section = (Path(__file__).parents[2] / "README.md").read_text().partition("## On a cluster")[2]
    example = section.partition("```text\nimport featx")[2].partition("```")[0]
    write_class_folder(tmp_path / "photos", n_images=4)
    monkeypatch.chdir(tmp_path)
    here = example.replace("HOST:6379", cluster.address).replace("/shared/cache", "cache")
    namespace = {}
    exec(compile("import featx" + here, "README.md", "exec"), namespace)
    assert len(namespace["features"]) == 4

"""Images and store in a bucket, the work on a cluster: the same bytes again."""

import hashlib
from pathlib import Path

import fsspec
import pytest

from featx import FeatureStore, RayCluster, extract
from tests.conftest import write_class_folder

pytestmark = pytest.mark.ray


def test_images_and_store_in_a_bucket(s3, tmp_path, extractor):
    folder = write_class_folder(tmp_path / "images", n_images=60)
    files = fsspec.filesystem("s3")
    for path in folder.rglob("*.*"):
        files.pipe_file(f"{s3}/images/{path.relative_to(folder)}", path.read_bytes())
    here = extract(folder, extractor, store=tmp_path / "here")
    # Started here, so that its processes have the server's address from this environment.
    with RayCluster(n_actors=2) as cluster:
        there = extract(f"{s3}/images", extractor, store=f"{s3}/store", cluster=cluster)
    digests = []
    for number, features in enumerate((here, there)):
        features.save(tmp_path / f"{number}.h5")
        digests.append(hashlib.sha256(Path(tmp_path / f"{number}.h5").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert [entry.n_samples for entry in FeatureStore(f"{s3}/store").entries()] == [60]

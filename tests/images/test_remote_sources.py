"""Images behind an address: the samples, labels and features of the same files in a local folder."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import pickle
import threading

import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner

from featx import FolderSource, ManifestSource, as_source, extract
from featx.cli import app
from featx.errors import DecodeError, SourceError
from featx.files import atomic_write
from featx.images import remote_sources
from featx.images.file_sources import IMAGE_SUFFIXES, PathSource
from featx.images.remote_sources import list_images
from featx.storage import location
from tests.conftest import TINY, write_class_folder


@pytest.fixture
def photos(tmp_path, s3):
    """A folder with all that may stand in one, and the address of the same in object storage."""
    root = write_class_folder(tmp_path / "photos")
    (root / "dark" / "deeper.d").mkdir()
    (root / "dark" / "00-000.jpg").rename(root / "dark" / "deeper.d" / "Ä b.JPG")
    (root / "dark" / "broken.png").write_bytes(b"no image")
    (root / "light" / "notes.txt").write_text("ignored")
    (root / "readme.md").write_text("ignored")
    for hidden in (".hidden/a.png", "light/.b.png"):
        (root / hidden).parent.mkdir(exist_ok=True)
        (root / hidden).write_bytes(b"")
    (root / "light" / "folder.png").mkdir()
    (root / "light" / "folder.png" / "x.png").write_bytes(b"")
    (root / "light" / "empty.png").write_bytes(b"")
    return root, put(root, s3)


def put(root, address):
    for path in root.rglob("*"):
        if path.is_file():
            atomic_write(location(address) / path.relative_to(root).as_posix(), path.read_bytes())
    return address


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(source):
    """What each sample gives: its bytes, or why there are none."""

    def fetched(raw_image):
        try:
            return raw_image.fetch()
        except DecodeError as error:
            return error.reason

    return [fetched(raw_image) for raw_image in source.read(0, len(source))]


def assert_same(remote, local):
    assert remote.sample_ids == local.sample_ids
    assert remote.class_names == local.class_names
    np.testing.assert_array_equal(remote.labels, local.labels)
    assert remote.groups == local.groups
    assert content(remote) == content(local)


def test_a_folder_is_what_it_is_here(photos):
    root, address = photos
    remote, local = as_source(address), as_source(root)
    assert isinstance(remote, FolderSource)
    assert_same(remote, local)
    assert remote.ignored == local.ignored == ["light/notes.txt", "readme.md"]
    assert "light/folder.png" in remote.sample_ids
    assert remote.path_of(0) == f"{address}/{remote.sample_ids[0]}"


def test_its_feature_file_is_byte_for_byte_that_of_the_folder(tmp_path, s3, tiny_extractor):
    root = write_class_folder(tmp_path / "photos")
    for source, out in ((root, "local.h5"), (put(root, s3), "remote.h5")):
        extract(source, tiny_extractor, store=s3 if out == "remote.h5" else tmp_path).save(tmp_path / out)
    assert sha256(tmp_path / "remote.h5") == sha256(tmp_path / "local.h5")


def test_loose_images_have_no_labels_and_beside_classes_are_refused(tmp_path, s3):
    root = write_class_folder(tmp_path / "photos")
    put(root, s3)
    source = FolderSource(f"{s3}/dark/")
    assert (source.labels == -1).all()
    assert source.sample_ids == FolderSource(root / "dark").sample_ids
    atomic_write(location(s3) / "loose.png", b"")
    with pytest.raises(SourceError, match=r"with 1 images beside 2 class folders.*move loose.png"):
        FolderSource(s3)


def test_a_manifest_is_what_it_is_here(photos):
    root, address = photos
    rows = ["dark/broken.png,bad,1", "./light/00-003.jpg,good,2", "none.png,good,2", "dark/00-002.png,good,3"]
    text = "path,label,wafer\n" + "\n".join(rows)
    (root / "cells.csv").write_text(text)
    atomic_write(location(address) / "cells.csv", text.encode())
    local = ManifestSource(root / "cells.csv", group_column="wafer")
    assert_same(as_source(f"{address}/cells.csv", group_column="wafer"), local)
    # One that lies here may be of images that lie there.
    assert_same(ManifestSource(root / "cells.csv", group_column="wafer", root=address), local)


@pytest.mark.parametrize(
    "row", ["../other/a.png", "/etc/passwd", "s3://other/a.png", "a/../../b.png", "file:///etc/passwd"]
)
def test_no_row_of_a_manifest_leaves_its_folder(s3, row):
    atomic_write(location(s3) / "cells.csv", f"path\n{row}\n".encode())
    with pytest.raises(SourceError, match=rf"cells.csv, line 2: .* leaves {s3}; give a path inside"):
        ManifestSource(f"{s3}/cells.csv")


def test_a_row_may_be_an_address_inside(s3):
    atomic_write(location(s3) / "cells.csv", f"path\n{s3}/a/b.png\n".encode())
    assert ManifestSource(f"{s3}/cells.csv").sample_ids == ["a/b.png"]


def test_images_may_be_named_one_by_one(photos):
    root, address = photos
    names = [
        f"{address}/dark/00-002.png",
        str(root / "dark" / "00-002.png"),
        f"file://{root}/dark/00-002.png",
    ]
    first, *others = content(as_source(names, ["a", "b", "a"]))
    assert others == [first, first]
    assert as_source(names[0]).sample_ids == names[:1]
    assert isinstance(as_source(names[0]), PathSource)


def test_fetching_goes_from_other_processes(photos):
    _, address = photos
    (raw_image,) = as_source(address).read(1, 2)
    assert pickle.loads(pickle.dumps(raw_image.fetch))() == raw_image.fetch()


def test_a_read_that_fails_is_that_samples_failure(photos, tiny_extractor, tmp_path, monkeypatch):
    _, address = photos
    source = as_source(address)
    (location(address) / "light" / "00-003.jpg").unlink()
    features = extract(source, tiny_extractor, store=tmp_path, on_error="skip")
    reasons = {failure.sample_id: failure.reason for failure in features.failures}
    assert reasons["light/00-003.jpg"] == "No such file or directory"
    assert reasons["light/folder.png"] == "a folder, not a file"
    assert set(reasons) == {"light/00-003.jpg", "light/folder.png", "light/empty.png", "dark/broken.png"}
    assert len(features.failures) + len(features.X) == len(source)
    monkeypatch.setattr(remote_sources, "MAX_FILE_BYTES", 10)
    with pytest.raises(DecodeError, match="more than the limit of 10 bytes"):
        source.read(0, 1)[0].fetch()


def test_what_cannot_be_listed_is_told_of(s3):
    with pytest.raises(SourceError, match=rf"{s3}/none: no such folder; expected a folder of images"):
        as_source(f"{s3}/none")
    with pytest.raises(SourceError, match=r"s3://no-such-bucket/a cannot be listed: .*bucket does not exist"):
        as_source("s3://no-such-bucket/a")
    with pytest.raises(SourceError, match=r"cells.csv: .*expected a CSV file"):
        as_source(f"{s3}/cells.csv")
    with pytest.raises(SourceError, match=r"expected a folder, a .csv file or image.*copy the file here"):
        as_source(f"{s3}/images.npy")


def test_any_kind_that_lists_and_reads_may_hold_images(photos):
    root, _ = photos
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{root}/", "/photos-test", recursive=True)
    try:
        assert_same(as_source("memory://photos-test"), as_source(root))
    finally:
        filesystem.rm("/photos-test", recursive=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_web_server_that_lists_its_folders_may(tmp_path):
    pytest.importorskip("aiohttp")
    root = write_class_folder(tmp_path / "photos")
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert_same(as_source(f"http://127.0.0.1:{server.server_port}/photos"), as_source(root))
        finally:
            server.shutdown()


def test_no_name_in_a_bucket_leads_to_a_file_of_this_machine(tmp_path, s3):
    (tmp_path / "secret.png").write_bytes(b"secret")
    filesystem = fsspec.filesystem("s3")
    root = s3.removeprefix("s3://")
    for name in (f"/{tmp_path}/secret.png", "a/file:///etc/b.png", "a/../../c.png", "a/c.png"):
        filesystem.pipe_file(f"{root}/{name}", b"public")
    source = FolderSource(s3)
    # Two slashes in a row, and folders whose names are hidden.
    assert source.ignored == [f"/{tmp_path}/secret.png", "a/file:///etc/b.png"]
    assert source.sample_ids == ["a/c.png"]
    source = PathSource([f"/{tmp_path}/secret.png", "a/file:///etc/b.png"], root=s3)
    assert content(source) == [b"public", b"public"]
    assert all(source.path_of(index).startswith(s3) for index in range(2))


def test_names_are_sorted_in_as_a_walk_would(s3):
    for name in ("a/b/c.png", "a/.x/c.png", ".y", "a/d.png/e/f.txt", "g.txt"):
        atomic_write(location(s3) / name, b"")
    listing = list_images(location(s3), IMAGE_SUFFIXES)
    assert listing == ({"a/b/c.png", "a/d.png"}, ["g.txt"], {"a/d.png"})
    assert listing.is_folder("a/d.png")


def test_the_command_embeds_from_there_into_there(tmp_path, s3):
    root = write_class_folder(tmp_path / "photos")
    address = put(root, f"{s3}/photos")
    for source, store in ((str(root), str(tmp_path / "store")), (address, f"{s3}/store")):
        out = str(tmp_path / f"{source.rpartition(':')[0]}.h5")
        arguments = ["extract", source, "--backbone", TINY, "--store", store, "--out", out, "--json"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["n_computed"] == 12
    assert sha256(tmp_path / "s3.h5") == sha256(tmp_path / ".h5")

"""Places: what names one, and which kinds may hold a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.errors import SourceError, StoreError
from featx.files import atomic_write, cache_root, check_target, local_cache_root
from featx.remote import OBJECT_STORES, RemotePath
from featx.storage import is_address, listed, location, store_location


@pytest.mark.parametrize("protocol", OBJECT_STORES)
def test_object_stores_may_hold_a_store(protocol):
    assert store_location(f"{protocol}://bucket/folder/") == RemotePath(protocol, "bucket/folder")


@pytest.mark.parametrize(
    "address", ["http://h/a", "https://h/a", "ftp://h/a", "sftp://h/a", "memory://a", "zip://a", "hdfs://h/a"]
)
def test_what_cannot_keep_a_commit_is_refused_and_the_choice_named(address):
    with pytest.raises(StoreError, match=rf"received a store at {address}; expected .*s3.*; choose one"):
        store_location(address)


@pytest.mark.parametrize("protocol", ["file", "local", "FILE"])
def test_a_file_address_is_a_path(protocol, tmp_path):
    assert store_location(f"{protocol}://{tmp_path}") == tmp_path


@pytest.mark.parametrize("path", ["cache", "a/b:c", "./s3:/x", Path("/data"), "C:\\data"])
def test_a_path_stays_one(path):
    assert not is_address(path)
    assert location(path) == Path(path)


def test_an_address_made_into_a_path_is_told_of(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"received Path.'s3:/bucket/x'.; expected an address as text"):
        location(Path("s3://bucket/x"), SourceError)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert location(Path("s3:/bucket")) == Path("s3:/bucket")


def test_an_address_without_a_bucket_is_refused():
    with pytest.raises(StoreError, match="received the address s3:///; expected one with a bucket"):
        location("s3:///")


def test_the_cache_of_the_environment_may_have_an_address_but_weights_stay_here(monkeypatch):
    monkeypatch.setenv("FEATX_CACHE", "s3://bucket/cache")
    assert str(cache_root() / "features") == "s3://bucket/cache/features"
    assert local_cache_root() == Path("cache")
    assert cache_root("elsewhere") == Path("elsewhere")


@pytest.mark.parametrize("path", ["s3://b/x.h5", Path("s3://b/x.h5"), "https://h/x.h5", "file:///tmp/x.h5"])
def test_a_file_to_write_is_of_this_machine(path):
    for write in (check_target, lambda path: atomic_write(path, b"")):
        with pytest.raises(StoreError, match="expected a file of this machine to write to; write it here"):
            write(path)


def test_what_stands_in_a_folder_is_sorted(tmp_path):
    for name in ("b.h5", "a.h5", "c.txt"):
        atomic_write(tmp_path / name, b"")
    assert [path.name for path in listed(tmp_path, "*.h5")] == ["a.h5", "b.h5"]
    assert listed(tmp_path / "none") == []

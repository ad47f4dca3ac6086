"""Files behind an address, on a real server of this machine: read whole, put whole, and what it refuses."""

from __future__ import annotations

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from featx import remote
from featx.documents import read_json
from featx.errors import FeatxWarning, MissingPackageError, StoreCorruptError, StoreError
from featx.files import atomic_write, set_aside, sha256_hex
from featx.reading import read_verified
from featx.storage import location


@pytest.fixture
def folder(s3):
    return location(s3)


@pytest.fixture
def reconnected():
    """What the environment says is looked at anew."""
    remote._filesystem.cache_clear()
    yield
    remote._filesystem.cache_clear()


def test_what_is_put_is_read_listed_and_deleted(folder):
    atomic_write(folder / "b.bin", b"12345")
    atomic_write(folder / "a" / "c.json", b"[1]")
    assert [(path.name, path.is_dir(), path.stat().st_size) for path in folder.iterdir()] == [
        ("a", True, 0),
        ("b.bin", False, 5),
    ]
    assert [path.name for path in folder.glob("*.bin")] == ["b.bin"]
    assert read_json(folder / "a" / "c.json") == [1]
    assert (folder / "b.bin").stat().st_size == 5
    (folder / "b.bin").unlink()
    assert not (folder / "b.bin").exists()
    assert (folder / "a").is_dir()
    (folder / "a").delete_folder()
    assert list(folder.iterdir()) == []
    (folder / "a").unlink(missing_ok=True)


def test_names_may_hold_what_they_like(folder):
    names = ["ünï ∅.bin", "a b+c%20?#.bin", "x[1]*.bin"]
    for name in names:
        atomic_write(folder / name, name.encode())
    assert sorted(folder.files_below()) == sorted(names)
    assert [(folder / name).read_bytes(99).decode() for name in names] == names


def test_reading_is_bounded_also_of_nothing(folder):
    atomic_write(folder / "a", b"12345")
    atomic_write(folder / "empty", b"")
    assert (folder / "a").read_bytes(5) == b"12345"
    assert (folder / "empty").read_bytes(5) == b""
    with pytest.raises(OSError, match="more than the limit of 4 bytes") as raised:
        (folder / "a").read_bytes(4)
    assert raised.value.errno == errno.EFBIG


def test_a_digest_is_checked(folder):
    atomic_write(folder / "a", b"12345")
    assert read_verified(folder / "a", sha256_hex(b"12345"), 9) == b"12345"
    with pytest.raises(StoreCorruptError, match="is damaged: its SHA-256 is"):
        read_verified(folder / "a", sha256_hex(b"1234"), 9)
    with pytest.raises(StoreCorruptError, match="is missing"):
        read_verified(folder / "none", sha256_hex(b""), 9)


def test_of_several_writers_the_first_decides(folder):
    atomic_write(folder / "a", b"first", keep_first=True)
    atomic_write(folder / "a", b"second", keep_first=True)
    assert (folder / "a").read_bytes(9) == b"first"
    atomic_write(folder / "a", b"third")
    assert (folder / "a").read_bytes(9) == b"third"


class Refusing:
    """A file system whose conditional puts come to an error, before or after another writer's."""

    def __init__(self, error, others):
        self.error, self.content = error, None
        self.others = others

    def pipe_file(self, _path, data, mode="overwrite"):
        if mode == "overwrite":
            self.content = data
            return
        self.content = self.others
        raise self.error

    def exists(self, _path):
        return self.content is not None


@pytest.mark.parametrize("error", [FileExistsError(), OSError(errno.EINVAL, "412"), RuntimeError("409")])
def test_however_a_client_says_that_another_was_first(error):
    filesystem = Refusing(error, b"theirs")
    remote._put_first(filesystem, "a", b"mine")
    assert filesystem.content == b"theirs"


def test_a_server_without_conditional_puts_lets_the_last_one_decide():
    filesystem = Refusing(OSError(errno.ENOSYS, "not implemented"), None)
    remote._put_first(filesystem, "a", b"mine")
    assert filesystem.content == b"mine"


def test_a_conditional_put_that_fails_for_another_reason_says_so():
    with pytest.raises(RuntimeError, match="on fire"):
        remote._put_first(Refusing(RuntimeError("on fire"), None), "a", b"mine")


def test_what_is_damaged_is_set_aside(folder):
    atomic_write(folder / "a", b"damaged")
    for name in ("a.corrupt", None):
        with pytest.warns(FeatxWarning, match="bad bytes; set aside as a.*corrupt"):
            set_aside(folder / "a", "bad bytes")
        assert not (folder / "a").exists()
        if name:
            assert (folder / name).read_bytes(99) == b"damaged"
            atomic_write(folder / "a", b"damaged again")
    assert len(list(folder.glob("*.corrupt"))) == 2
    # Another process has done it already.
    set_aside(folder / "a", "bad bytes")


def test_what_is_sound_by_now_is_left_where_it_is(folder):
    atomic_write(folder / "a", b"sound")
    set_aside(folder / "a", "bad bytes", lambda path: path.read_bytes(9) == b"sound")
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_what_was_made_anew_while_it_was_copied_is_left_alone(folder, monkeypatch):
    atomic_write(folder / "a", b"damaged")
    copy = remote.RemotePath.copy_to

    def copy_late(self, target):
        copy(self, target)
        atomic_write(self, b"made anew")

    monkeypatch.setattr(remote.RemotePath, "copy_to", copy_late)
    set_aside(folder / "a", "bad bytes")
    assert [(path.name, path.read_bytes(9)) for path in folder.iterdir()] == [("a", b"made anew")]


def test_it_can_be_sent_elsewhere_and_used_by_many_threads(folder):
    sent = pickle.loads(pickle.dumps(folder))
    assert sent == folder
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: atomic_write(sent / f"{number}", b"x" * number), range(40)))
        sizes = pool.map(lambda number: len((folder / f"{number}").read_bytes(99)), range(40))
        assert list(sizes) == list(range(40))


@pytest.mark.usefixtures("s3_server")
def test_a_bucket_that_is_not_there_is_named_with_the_servers_words():
    missing = location("s3://no-such-bucket/store")
    with pytest.raises(StoreError, match=r"cannot write s3://no-such-bucket/.*: .*bucket does not exist"):
        atomic_write(missing / "a", b"")
    with pytest.raises(StoreError, match=r"no-such-bucket/store cannot be listed: .*does not exist"):
        list(missing.iterdir())


@pytest.mark.usefixtures("reconnected")
def test_without_credentials_or_server_there_is_one_error(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="cannot be reached: Unable to locate credentials"):
        location(s3).exists()
    with pytest.raises(OSError, match="Unable to locate credentials"):
        (location(s3) / "a").read_bytes(9)


def test_a_server_that_is_not_there_is_no_damage(folder, monkeypatch):
    from botocore.exceptions import EndpointConnectionError

    def refuse(*_, **__):
        raise EndpointConnectionError(endpoint_url="http://x")

    filesystem, _ = folder._connected()
    monkeypatch.setattr(filesystem, "cat_file", refuse)
    monkeypatch.setattr(filesystem, "info", refuse)
    with pytest.raises(StoreError, match=r"cannot be read: Could not connect.*mend that") as raised:
        read_verified(folder / "a", "0" * 64, 9)
    assert not isinstance(raised.value, StoreCorruptError)


@pytest.mark.usefixtures("reconnected")
def test_a_package_that_is_missing_is_named(monkeypatch):
    def refuse(*_, **__):
        raise ImportError("Install it")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingPackageError, match=r"s3fs is not installed; run: pip .*featx\[remote\]"):
        location("s3://bucket/x").exists()
    with pytest.raises(MissingPackageError, match="gs:// needs a package that is not installed: Install it"):
        location("gs://bucket/x").exists()


@pytest.mark.usefixtures("reconnected")
def test_other_kinds_can_be_read():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/remote-test/a/b.bin", b"12345")
    folder = location("memory://remote-test")
    assert folder.files_below() == ["a/b.bin"]
    assert (folder / "a" / "b.bin").read_bytes(5) == b"12345"
    assert location("memory://none").files_below() == []
    filesystem.rm("/remote-test", recursive=True)

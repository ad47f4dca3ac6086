"""Archives from anywhere: what their directory says is checked before a member is read."""

import os
import zipfile

import pytest

from featx.archives import copy_member, open_foreign_archive, read_member
from featx.errors import StoreError
from tests.faults.malicious import archive_tricks, zip_bytes

MEMBERS = {"a.txt": b"first", "b.bin": bytes(100)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.zip"


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_an_honest_archive_are_read_and_copied(path, tmp_path, kind):
    path.write_bytes(zip_bytes(MEMBERS.items(), kind))
    with open_foreign_archive(path) as archive:
        assert read_member(archive, "a.txt", 5) == b"first"
        with (tmp_path / "copy").open("wb") as file:
            copy_member(archive, "b.bin", file, 100)
    assert (tmp_path / "copy").read_bytes() == bytes(100)


def test_a_member_larger_than_allowed_is_refused(path, tmp_path):
    path.write_bytes(zip_bytes(MEMBERS.items()))
    with open_foreign_archive(path) as archive, (tmp_path / "copy").open("wb") as file:
        with pytest.raises(StoreError, match=r"'a\.txt' of 5 bytes, more than 4; refused"):
            read_member(archive, "a.txt", 4)
        with pytest.raises(StoreError, match="more than 4"):
            copy_member(archive, "b.bin", file, 4)
        with pytest.raises(KeyError):
            read_member(archive, "absent", 4)


TRICKS = {
    "repeated member": "twice",
    "path above": "leads out of it",
    "absolute path": "leads out of it",
    "drive and backslash": "leads out of it",
    "name with a null byte": "leads out of it",
    "encrypted": "encrypted or packed",
    "packed by lzma": "encrypted or packed",
    "overlapping members": "shares bytes",
    "claims terabytes": "claims more bytes than there are",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_what_an_honest_directory_does_not_say_is_refused(path, trick):
    path.write_bytes(archive_tricks(MEMBERS, "b.bin")[trick]())
    with pytest.raises(StoreError, match=TRICKS[trick]), open_foreign_archive(path):
        pass


def test_a_member_that_is_larger_than_it_claims_gives_what_it_claims(path):
    path.write_bytes(archive_tricks(MEMBERS, "b.bin")["lying bomb"]())
    with open_foreign_archive(path) as archive:
        try:
            n_bytes = len(read_member(archive, "b.bin", 2000))
        except zipfile.BadZipFile:
            n_bytes = 0
    assert n_bytes <= 1000


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_waited_for(path, make):
    make(path)
    with pytest.raises(StoreError, match="expected a regular file"), open_foreign_archive(path):
        pass


def test_the_directory_of_another_file_is_not_read(path):
    path.write_bytes(b"text")
    with pytest.raises(zipfile.BadZipFile), open_foreign_archive(path):
        pass
    with pytest.raises(FileNotFoundError), open_foreign_archive(path.with_name("absent")):
        pass

"""Images in files: every one is found, named and accounted for, and nothing outside the root is opened."""

import os
import re
import socket

import numpy as np
import pytest
from PIL import Image

from featx.errors import DecodeError, SourceError
from featx.images.decoding import MAX_FILE_BYTES, decode_image
from featx.images.file_sources import FolderSource, ManifestSource, PathSource
from tests.contracts import IMAGES, LABELS, Canary, SourceContract, contents, time_limit, unprivileged


def write_image(path, index=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[index]).save(path)
    return path


def write_manifest(folder, text):
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def reason_of(source, sample_id):
    """Why a sample cannot be had; anything that waits on the way is a failure."""
    (sample,) = [raw for raw in source.read(0, len(source)) if raw.sample_id == sample_id]
    with time_limit(5), pytest.raises(DecodeError) as caught:
        sample.fetch()
    assert caught.value.sample_id == sample_id
    return caught.value.reason


@pytest.fixture
def root(tmp_path):
    """Two class folders of one image each, and a place outside."""
    write_image(tmp_path / "root" / "cat" / "0.png", 0)
    write_image(tmp_path / "root" / "dog" / "1.png", 1)
    return tmp_path / "root"


@pytest.fixture
def outside(tmp_path):
    """An image that lies outside the root."""
    return write_image(tmp_path / "outside" / "secret.png", 2)


GOOD = ["cat/0.png", "dog/1.png"]


# ---------------------------------------------------------------------------------------- contracts


class TestPathSourceContract(SourceContract):
    def build(self, folder):
        return PathSource([write_image(folder / f"{i}.png", i) for i in range(6)], LABELS)


class TestPathSourceWithRootContract(SourceContract):
    def build(self, folder):
        names = [write_image(folder / f"{i}.png", i).name for i in range(6)]
        return PathSource(names, LABELS, root=folder)


class TestFolderSourceContract(SourceContract):
    order = (0, 2, 4, 1, 3, 5)

    def build(self, folder):
        for index, label in enumerate(LABELS):
            write_image(folder / label / f"{index}.png", index)
        return FolderSource(folder)


class TestManifestSourceContract(SourceContract):
    def build(self, folder):
        lines = [f"{write_image(folder / f'{i}.png', i).name},{LABELS[i]}" for i in range(6)]
        return ManifestSource(write_manifest(folder, "\n".join(["path,label", *lines])))


# ------------------------------------------------------------------------------------ files that are odd


def test_a_missing_file_is_reported(root):
    assert reason_of(PathSource(["none.png"], root=root), "none.png") == "No such file or directory"


def test_a_file_deleted_after_it_was_listed_is_reported(root):
    source = FolderSource(root)
    (root / "cat" / "0.png").unlink()
    assert reason_of(source, "cat/0.png") == "No such file or directory"
    np.testing.assert_array_equal(decode_image(source.read(1, 2)[0].fetch()), IMAGES[1])


def test_a_file_that_became_a_pipe_after_it_was_listed_does_not_hang(root):
    source = FolderSource(root)
    (root / "cat" / "0.png").unlink()
    os.mkfifo(root / "cat" / "0.png")
    assert "not a regular file" in reason_of(source, "cat/0.png")


def test_a_folder_named_like_an_image_is_reported_and_is_no_class(root):
    (root / "cat" / "x.jpg").mkdir()
    (root / "y.jpg").mkdir()
    source = FolderSource(root)
    assert source.sample_ids == ["cat/0.png", "cat/x.jpg", "dog/1.png", "y.jpg"]
    assert reason_of(source, "cat/x.jpg") == "a folder, not a file"
    assert reason_of(source, "y.jpg") == "a folder, not a file"
    assert source.class_names == ["cat", "dog"]
    assert source.labels.tolist() == [0, 0, 1, -1]


def test_a_pipe_named_like_an_image_is_reported_and_does_not_hang(root):
    os.mkfifo(root / "cat" / "x.jpg")
    source = FolderSource(root)
    assert "not a regular file" in reason_of(source, "cat/x.jpg")


def test_a_socket_named_like_an_image_is_reported(root, monkeypatch):
    # The name of a socket may not be longer than 107 bytes: bind it from within the folder.
    monkeypatch.chdir(root / "cat")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x.jpg")
    assert "not a regular file" in reason_of(FolderSource(root), "cat/x.jpg")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
def test_a_device_is_reported_and_not_read(root, device):
    (root / "cat" / "x.jpg").symlink_to(device)
    assert "not a regular file" in reason_of(FolderSource(root, follow_links=True), "cat/x.jpg")


def test_a_file_that_is_too_large_is_reported_unread(root):
    with (root / "cat" / "x.jpg").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert "are more than the limit of 268,435,456" in reason_of(FolderSource(root), "cat/x.jpg")


def test_a_file_that_may_not_be_read_is_reported(root):
    path = root / "cat" / "0.png"
    source = FolderSource(root)
    path.chmod(0)
    with unprivileged():
        assert reason_of(source, "cat/0.png") == "Permission denied"


def test_a_name_with_a_nul_byte_is_reported():
    assert "null" in reason_of(PathSource(["a\0b.png"]), "a\0b.png")


# ------------------------------------------------------------------------------------------- links


def test_a_link_that_stays_inside_the_root_is_opened(root):
    (root / "cat" / "again.png").symlink_to("../dog/1.png")
    source = FolderSource(root)
    assert source.sample_ids[1] == "cat/again.png"
    np.testing.assert_array_equal(decode_image(source.read(1, 2)[0].fetch()), IMAGES[1])


def test_a_link_that_leaves_the_root_is_reported_and_not_opened(root, outside):
    (root / "cat" / "x.png").symlink_to(outside)
    source = FolderSource(root)
    with Canary(outside) as canary:
        assert "leads outside the root, not opened" in reason_of(source, "cat/x.png")
        assert not canary.was_opened()
        # The trap works: the link leads there.
        (root / "cat" / "x.png").read_bytes()
        assert canary.was_opened()


def test_a_link_that_leaves_the_root_is_opened_when_links_are_followed(root, outside):
    (root / "cat" / "x.png").symlink_to(outside)
    source = FolderSource(root, follow_links=True)
    np.testing.assert_array_equal(decode_image(source.read(1, 2)[0].fetch()), IMAGES[2])


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_root_may_itself_be_a_link(root, follow_links):
    (root.parent / "link").symlink_to("root")
    source = FolderSource(root.parent / "link", follow_links=follow_links)
    assert source.sample_ids == GOOD
    assert contents(source.read(0, 2)) == contents(FolderSource(root).read(0, 2))


@pytest.mark.parametrize("target", ["x.png", "nowhere.png"], ids=["circle", "dangling"])
@pytest.mark.parametrize("follow_links", [False, True])
def test_a_link_that_leads_nowhere_is_reported(root, target, follow_links):
    (root / "cat" / "x.png").symlink_to(target)
    reason = reason_of(FolderSource(root, follow_links=follow_links), "cat/x.png")
    assert reason in ("Too many levels of symbolic links", "No such file or directory")


@pytest.mark.parametrize("target", ["x", "nowhere"], ids=["circle", "dangling"])
def test_a_link_that_leads_nowhere_and_is_not_named_like_an_image_is_ignored(root, target):
    (root / "cat" / "x").symlink_to(target)
    source = FolderSource(root)
    assert (source.sample_ids, source.ignored) == (GOOD, ["cat/x"])


@pytest.mark.parametrize("target", [".", "..", "../dog"], ids=["itself", "root", "sibling"])
@pytest.mark.parametrize("follow_links", [False, True])
def test_a_linked_folder_of_the_root_is_visited_once(root, target, follow_links):
    (root / "cat" / "again").symlink_to(target)
    with time_limit(5):
        source = FolderSource(root, follow_links=follow_links)
    assert (source.sample_ids, source.ignored) == (GOOD, ["cat/again"])


def test_a_linked_folder_outside_is_reported_and_not_opened(root, outside):
    (root / "cat" / "more").symlink_to(outside.parent)
    (root / "fox").symlink_to(outside.parent)
    source = FolderSource(root)
    assert source.sample_ids == ["cat/0.png", "cat/more", "dog/1.png", "fox"]
    for sample_id in ("cat/more", "fox"):
        assert "leads outside the root" in reason_of(source, sample_id)
    # No class comes of a folder that nobody looked into.
    assert source.class_names == ["cat", "dog"]
    assert source.labels.tolist() == [0, 0, 1, -1]


def test_a_linked_folder_outside_is_a_folder_like_others_when_links_are_followed(root, outside):
    (root / "fox").symlink_to(outside.parent)
    source = FolderSource(root, follow_links=True)
    assert source.sample_ids == [*GOOD, "fox/secret.png"]
    assert source.class_names == ["cat", "dog", "fox"]
    np.testing.assert_array_equal(decode_image(source.read(2, 3)[0].fetch()), IMAGES[2])


def test_two_links_to_one_folder_outside_are_visited_once(root, outside):
    (root / "cat" / "a").symlink_to(outside.parent)
    (root / "cat" / "b").symlink_to(outside.parent)
    (outside.parent / "back").symlink_to(outside.parent)
    source = FolderSource(root, follow_links=True)
    assert len(source) == 3
    assert len(source.ignored) == 2


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["with space.png", "line\nbreak.png", "café.png", "猫.png", "'quoted\".png", "-flag.png", "a\\b.png"],
)
def test_odd_names_are_names(root, name):
    write_image(root / "cat" / name, 3)
    source = FolderSource(root)
    (sample,) = [raw for raw in source.read(0, 3) if raw.sample_id == f"cat/{name}"]
    np.testing.assert_array_equal(decode_image(sample.fetch()), IMAGES[3])


@pytest.fixture
def undecodable(root):
    """An image and a class whose names are not UTF-8."""
    name = os.fsdecode(b"caf\xe9.png")
    try:
        return write_image(root / os.fsdecode(b"\xe9l\xe9phant") / name, 4)
    except OSError:
        pytest.skip("this file system takes no such name")


@pytest.mark.usefixtures("undecodable")
def test_names_that_are_not_utf8_are_names(root):
    source = FolderSource(root)
    assert source.sample_ids[2] == "\udce9l\udce9phant/caf\udce9.png"
    assert source.class_names[2] == "\udce9l\udce9phant"
    np.testing.assert_array_equal(decode_image(source.read(2, 3)[0].fetch()), IMAGES[4])
    assert source.fingerprint() == FolderSource(root).fingerprint()


def test_names_that_are_not_utf8_can_be_shown(root, undecodable):
    source = FolderSource(root)
    undecodable.write_bytes(b"")
    with pytest.raises(DecodeError) as caught:
        decode_image(source.read(2, 3)[0].fetch(), source.sample_ids[2])
    assert str(caught.value) == r"\udce9l\udce9phant/caf\udce9.png: empty file"


@pytest.mark.parametrize("suffix", ["JPG", "Jpeg", "PNG", "tif", "webp", "bmp", "gif"])
def test_image_names_are_known_in_any_case(root, suffix):
    (root / "cat" / f"x.{suffix}").touch()
    assert f"cat/x.{suffix}" in FolderSource(root).sample_ids


@pytest.mark.parametrize("suffix", ["heic", "avif", "jp2", "svg", "psd", "cr2"])
def test_an_image_of_a_kind_that_is_not_read_is_a_sample_that_fails(root, suffix):
    (root / "cat" / f"x.{suffix}").write_bytes(b"of its own format")
    source = FolderSource(root)
    (sample,) = [raw for raw in source.read(0, 3) if raw.sample_id == f"cat/x.{suffix}"]
    with pytest.raises(DecodeError):
        decode_image(sample.fetch(), sample.sample_id)


def test_what_is_not_named_like_an_image_is_noted(root):
    for name in ("notes.txt", "cat/Thumbs.db", "cat/jpg", "dog/archive.png.zip"):
        (root / name).touch()
    os.mkfifo(root / "dog" / "pipe")
    source = FolderSource(root)
    assert source.sample_ids == GOOD
    assert source.ignored == ["cat/Thumbs.db", "cat/jpg", "dog/archive.png.zip", "dog/pipe", "notes.txt"]


def test_hidden_files_and_folders_are_passed_over(root):
    for name in (".DS_Store", "cat/._0.png", ".thumbnails/x.png", "cat/.cache/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    source = FolderSource(root)
    assert (source.sample_ids, source.ignored) == (GOOD, [])


# ----------------------------------------------------------------------------------- folders and classes


def test_images_below_a_class_belong_to_it_at_any_depth(root):
    write_image(root / "cat" / "2024" / "may" / "x.png")
    source = FolderSource(root)
    assert source.sample_ids == ["cat/0.png", "cat/2024/may/x.png", "dog/1.png"]
    assert source.labels.tolist() == [0, 0, 1]


def test_a_folder_of_images_alone_is_unlabelled(tmp_path):
    for index in (2, 0, 1):
        write_image(tmp_path / f"{index}.png", index)
    source = FolderSource(tmp_path)
    assert source.sample_ids == ["0.png", "1.png", "2.png"]
    assert (source.labels.tolist(), source.class_names) == ([-1, -1, -1], [])


def test_loose_images_beside_class_folders_are_refused_and_one_is_named(root):
    write_image(root / "loose\n.png")
    expected = r"1 images beside 2 class folders; expected .*; move loose\\n\.png into a class folder"
    with pytest.raises(SourceError, match=expected):
        FolderSource(root)


def test_the_order_does_not_depend_on_the_file_system(tmp_path):
    names = ["b.png", "B.png", "a.png", "10.png", "9.png", "é.png", "z.png"]
    for folder, order in (("one", names), ("two", names[::-1])):
        for name in order:
            write_image(tmp_path / folder / name)
    first, second = FolderSource(tmp_path / "one"), FolderSource(tmp_path / "two")
    assert (
        first.sample_ids
        == second.sample_ids
        == ["10.png", "9.png", "B.png", "a.png", "b.png", "z.png", "é.png"]
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Cat", "the classes 'Cat' and 'cat'"),
        ("cat ", "'cat ' has a space around it"),
    ],
)
def test_a_class_folder_whose_name_is_a_slip_is_refused(root, name, reason):
    write_image(root / name / "x.png")
    with pytest.raises(SourceError, match=reason):
        FolderSource(root)


@pytest.mark.parametrize("name", ["none", "nan", "None"])
def test_a_class_folder_may_be_called_like_what_is_missing(root, name):
    write_image(root / name / "x.png")
    source = FolderSource(root)
    assert source.class_names == sorted(["cat", "dog", name])
    assert source.class_names[source.labels[source.sample_ids.index(f"{name}/x.png")]] == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none", "no such folder"), ("cat/0.png", "a file; expected a folder"), ("empty", "0 images in")],
)
def test_a_root_without_images_is_refused(root, name, reason):
    (root / "empty").mkdir()
    (root / "empty" / "notes.txt").touch()
    with pytest.raises(SourceError, match=reason) as caught:
        FolderSource(root / name)
    assert str(root / name) in str(caught.value)


@pytest.mark.parametrize("name", ["", "cat"])
def test_a_folder_that_may_not_be_listed_is_refused_and_named(root, name):
    (root / name).chmod(0)
    try:
        with unprivileged(), pytest.raises(SourceError, match="cannot be"):
            FolderSource(root)
    finally:
        (root / name).chmod(0o755)


# ---------------------------------------------------------------------------------------- manifests


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret.png",
        "cat/../../outside/secret.png",
        "cat//..//../outside/secret.png",
        "./../outside/secret.png",
        "..",
        "cat/../..",
        "/outside/secret.png",
        "/",
        "//outside/secret.png",
        r"C:\secret.png",
        "C:/secret.png",
        "c:/secret.png",
        r"\\server\share\secret.png",
    ],
)
def test_a_path_that_leaves_the_root_is_refused_with_its_line(root, path):
    manifest = write_manifest(root, f"path,label\ncat/0.png,cat\n{path},cat\n")
    with pytest.raises(SourceError, match=r"line 3: .* leaves .*; give a path inside") as caught:
        ManifestSource(manifest)
    assert str(manifest) in str(caught.value)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", ["", " ", '"\t"', "a\0b.png", "\0"])
def test_what_is_no_path_is_refused_with_its_line(root, path):
    with pytest.raises(SourceError, match=r"line 3: .* is not a path"):
        ManifestSource(write_manifest(root, f"path,label\ncat/0.png,cat\n{path},cat\n"))


@pytest.mark.parametrize(
    ("path", "sample_id"),
    [
        ("cat/0.png", "cat/0.png"),
        ("./cat//0.png", "cat/0.png"),
        ("dog/../cat/0.png", "cat/0.png"),
        ("{root}/cat/0.png", "cat/0.png"),
        ("cat/..png", "cat/..png"),
        ("..cat/a.png", "..cat/a.png"),
        ("~/a.png", "~/a.png"),
        ("$HOME/a.png", "$HOME/a.png"),
        ("%2e%2e/a.png", "%2e%2e/a.png"),
        ("file:///etc/a.png", "file:/etc/a.png"),
        ('"a,b.png"', "a,b.png"),
        ('"a\nb.png"', "a\nb.png"),
        (" a.png", " a.png"),
        ("猫.png", "猫.png"),
    ],
)
def test_a_path_inside_the_root_is_taken_literally(root, path, sample_id):
    source = ManifestSource(write_manifest(root, f"path\n{path.format(root=root)}\n"))
    assert source.sample_ids == [sample_id]
    if sample_id == "cat/0.png":
        np.testing.assert_array_equal(decode_image(source.read(0, 1)[0].fetch()), IMAGES[0])
    else:
        assert reason_of(source, sample_id) == "No such file or directory"


def test_a_link_in_a_manifest_that_leaves_the_root_is_reported_and_not_opened(root, outside):
    (root / "x.png").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    manifest = write_manifest(root, "path\nx.png\nfolder/secret.png\n")
    source = ManifestSource(manifest)
    with Canary(outside) as canary:
        for sample_id in source.sample_ids:
            assert "leads outside the root" in reason_of(source, sample_id)
        assert not canary.was_opened()
    followed = ManifestSource(manifest, follow_links=True)
    np.testing.assert_array_equal(decode_image(followed.read(1, 2)[0].fetch()), IMAGES[2])


def test_paths_may_be_relative_to_another_root(root):
    manifest = write_manifest(root.parent, "path,label\ncat/0.png,cat\n")
    np.testing.assert_array_equal(
        decode_image(ManifestSource(manifest, root=root).read(0, 1)[0].fetch()), IMAGES[0]
    )
    assert reason_of(ManifestSource(manifest), "cat/0.png") == "No such file or directory"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label\na.png,x\nb.png,y\na.png,x\n", "line 4: 'a.png' stands on line 2 already"),
        ("path,label\na.png,x\n./a.png,x\n", r"line 3: './a\.png' stands on line 2 already"),
        ("path,label\na.png,x\nb.png\n", "line 3: received 1 fields; expected the header's 2"),
        ("path,label\na.png,x\nb.png,y,z\n", "line 3: received 3 fields; expected the header's 2"),
        (
            "path,label\na.png,x\n\nb.png,\n",
            "line 4: received the label '' beside labels .*label_column=None",
        ),
        ("path,label\na.png,\nb.png, \nc.png,x\n", "line 2: received the label ''"),
        ("path,label\na.png,nan\nb.png,\n", "line 2: received the label 'nan'"),
        ("path,label,label\na.png,x,y\n", "2 columns 'label'; expected that column once"),
        ("path,path,label\na.png,b.png,y\n", "2 columns 'path'; expected that column once"),
        ("path,label\na.png,x\nb.png,NaN\n", "line 3: received the label 'NaN'"),
        (
            "path,label\na.png,x\nb.png,x \n",
            "line 3: received the label 'x '; expected a name without spaces",
        ),
        ("path,label\na.png,Cat\nb.png,cat\n", "the classes 'Cat' and 'cat'"),
        ('path,label\na.png,x\n"b.png,y\n', r"line \d: unexpected end of data; mend the line"),
        ('path,label\na.png,x\nb.png,"y"z\n', "line 3: .*; mend the line"),
        (f"path,label\na.png,x\n{'b' * 10_000_000},y\n", r"line 3: field larger than field limit"),
        (f"path\n../{'b' * 100_000}\n", "line 2: .* leaves"),
        (b"path,label\na.png,x\ncaf\xe9.png,y\n", "line 3: not UTF-8 text; save it as UTF-8"),
        ("path,label\na.png,x\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("name,label\na.png,x\n", "without a column 'path'; .*; choose from label, name"),
        ("Path,label\na.png,x\n", r"without a column 'path'; .*; did you mean Path\?"),
        ("path;label\na.png;x\n", "without a column 'path'"),
        ("path,label\n", "without rows"),
        ("\n\n", "without rows"),
        ("", "without rows"),
    ],
)
def test_a_manifest_that_is_not_sound_is_refused_with_its_line(tmp_path, text, reason):
    manifest = write_manifest(tmp_path, text)
    with pytest.raises(SourceError, match=reason) as caught:
        ManifestSource(manifest)
    assert "b" * 1000 not in str(caught.value)
    assert str(manifest) in str(caught.value) or "the classes" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"path,label\na.png,x\nb.png,y\n",
        b"path,label\r\na.png,x\r\nb.png,y\r\n",
        b"\xef\xbb\xbfpath,label\na.png,x\nb.png,y",
        b"path,label\n\na.png,x\n\n\nb.png,y\n\n",
        b'"path","label"\n"a.png","x"\n"b.png","y"\n',
        b"label,other,path\nx,,a.png\ny,1,b.png\n",
    ],
    ids=["plain", "CRLF", "byte order mark", "blank lines", "quoted", "other columns"],
)
def test_the_usual_dialects_of_csv_are_read(tmp_path, text):
    source = ManifestSource(write_manifest(tmp_path, text))
    assert source.sample_ids == ["a.png", "b.png"]
    assert (source.labels.tolist(), source.class_names) == ([0, 1], ["x", "y"])


def test_columns_may_have_other_names_and_hold_groups(tmp_path):
    manifest = write_manifest(tmp_path, "file,kind,cell\na.png,x,1\nb.png,y,1\nc.png,x,2\n")
    source = ManifestSource(manifest, path_column="file", label_column="kind", group_column="cell")
    assert source.sample_ids == ["a.png", "b.png", "c.png"]
    assert source.labels.tolist() == [0, 1, 0]
    assert source.groups == ["1", "1", "2"]


def test_a_manifest_without_labels_is_unlabelled_unless_a_column_was_named(tmp_path):
    manifest = write_manifest(tmp_path, "path\na.png\n")
    assert ManifestSource(manifest).labels.tolist() == [-1]
    with pytest.raises(SourceError, match="without a column 'kind'"):
        ManifestSource(manifest, label_column="kind")
    with pytest.raises(SourceError, match="without a column 'cell'"):
        ManifestSource(manifest, group_column="cell")


@pytest.mark.parametrize("column", ["label", "kind"])
@pytest.mark.parametrize("blank", ["", " ", '"\t"'])
def test_a_manifest_whose_labels_are_all_blank_is_unlabelled(tmp_path, column, blank):
    manifest = write_manifest(tmp_path, f"path,{column}\na.png,{blank}\nb.png,\n")
    source = ManifestSource(manifest, label_column=column)
    assert (source.labels.tolist(), source.class_names) == ([-1, -1], [])


@pytest.mark.parametrize("header", ["path,label", "label,path", "path,kind", "path,label,label"])
def test_labels_are_ignored_where_none_are_asked_for(tmp_path, header):
    columns = header.split(",")
    rows = [[name if column == "path" else label for column in columns] for name, label in ("ax", "b ")]
    manifest = write_manifest(tmp_path, "\n".join([header, *map(",".join, rows)]))
    source = ManifestSource(manifest, label_column=None)
    assert (source.sample_ids, source.labels.tolist(), source.class_names) == (["a", "b"], [-1, -1], [])


@pytest.mark.parametrize("name", ["none", "None"])
def test_a_class_in_a_manifest_may_be_called_none(tmp_path, name):
    manifest = write_manifest(tmp_path, f"path,label,cell\na.png,crack,1\nb.png,{name},none\n")
    source = ManifestSource(manifest, group_column="cell")
    assert source.class_names == sorted(["crack", name])
    assert source.groups == ["1", "none"]


def test_columns_that_nobody_asked_for_may_stand_twice(tmp_path):
    manifest = write_manifest(tmp_path, "path,note,label,note\na.png,1,x,2\nb.png,,y,\n")
    assert ManifestSource(manifest).class_names == ["x", "y"]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("", r"b\.png: its group is missing"), ("nan", "line 3: received the group 'nan'")],
)
def test_a_missing_group_is_refused(tmp_path, cell, reason):
    manifest = write_manifest(tmp_path, f"path,cell\na.png,1\nb.png,{cell}\n")
    with pytest.raises(SourceError, match=reason):
        ManifestSource(manifest, group_column="cell")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.csv", "No such file"), ("folder.csv", "a folder"), ("pipe.csv", "not a regular file")],
)
def test_a_manifest_that_is_no_file_is_refused_at_once(tmp_path, name, reason):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with time_limit(5), pytest.raises(SourceError, match=reason) as caught:
        ManifestSource(tmp_path / name)
    assert re.search(re.escape(str(tmp_path / name)), str(caught.value))


def test_a_manifest_may_be_a_link(tmp_path):
    write_manifest(tmp_path, "path,label\na.png,x\n")
    (tmp_path / "link.csv").symlink_to("manifest.csv")
    assert ManifestSource(tmp_path / "link.csv").sample_ids == ["a.png"]


# ------------------------------------------------------------------------------------ paths one by one


def test_paths_are_relative_to_the_working_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    source = PathSource(GOOD)
    np.testing.assert_array_equal(decode_image(source.read(1, 2)[0].fetch()), IMAGES[1])


def test_paths_of_any_kind_become_ids(root):
    assert PathSource([str(root / "cat"), root / "dog"]).sample_ids == [str(root / "cat"), str(root / "dog")]


def test_a_path_given_by_name_may_be_a_link_to_anywhere(root, outside):
    (root / "x.png").symlink_to(outside)
    np.testing.assert_array_equal(decode_image(PathSource([root / "x.png"]).read(0, 1)[0].fetch()), IMAGES[2])


@pytest.mark.parametrize("name", ["../outside/secret.png", "cat/../../outside/secret.png", "{outside}"])
def test_below_a_root_no_path_leads_outside(root, outside, name):
    name = name.format(outside=outside)
    source = PathSource([name], root=root)
    with Canary(outside) as canary:
        assert "leads outside the root" in reason_of(source, name)
        assert not canary.was_opened()


def test_each_folder_is_looked_up_once_for_the_files_read_together(root, monkeypatch):
    names = [f"{folder}/{index}.png" for folder in "ab" for index in range(5)]
    for name in names:
        write_image(root / name)
    looked_up = []
    original = os.path.realpath
    monkeypatch.setattr(
        os.path, "realpath", lambda path, **how: looked_up.append(str(path)) or original(path, **how)
    )
    for raw in PathSource(names, root=root).read(0, 10):
        raw.fetch()
    assert looked_up == [str(root), f"{root}/a", f"{root}/b"]


@pytest.mark.parametrize("name", ["a/..", "a/../..", "..", ".", ""])
def test_what_has_no_name_of_its_own_is_no_file(root, name):
    write_image(root / "a" / "0.png")
    assert reason_of(PathSource([name], root=root), name) in (
        "a folder, not a file",
        "leads outside the root, not opened (follow_links=True opens it)",
    )


def test_a_folder_whose_name_starts_like_the_roots_is_outside_it(root):
    name = f"../{root.name}2/x.png"
    write_image(root / name)
    assert "leads outside the root" in reason_of(PathSource([name], root=root), name)


def test_paths_keep_their_groups(root):
    assert PathSource(GOOD, groups=["g", "h"], root=root).groups == ["g", "h"]

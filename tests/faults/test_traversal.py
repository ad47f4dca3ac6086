"""T19: whatever a path says, a source with a root opens nothing outside it.

A child process sets an audit hook before it builds a source and fetches all its samples: any file that is
opened outside the root is a loss. So is a look at the secret that only the system sees, by inotify.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.contracts import IMAGES, Canary

CHILD = """
import json, os, sys
import featx.features.store  # noqa: F401 - what is imported later would be opened later
from featx.cli.options import make_unlabelled_source
from featx.errors import DecodeError, SourceError
from featx.images.decoding import decode_image
from featx.images.file_sources import FolderSource, ManifestSource, PathSource

how, root, paths = json.loads(sys.stdin.read())
real_root = os.path.realpath(root)
opened, library = [], [os.path.realpath(prefix) for prefix in (sys.base_prefix, sys.prefix, os.getcwd())]

def trap(event, arguments):
    if event not in ("open", "os.scandir", "os.listdir") or not isinstance(arguments[0], (str, bytes)):
        return
    folder, name = os.path.split(os.path.abspath(os.fsdecode(arguments[0])))
    place = os.path.join(os.path.realpath(folder), name)
    if event != "open" or not arguments[2] & os.O_NOFOLLOW:
        place = os.path.realpath(place)
    if not any(place == folder or place.startswith(folder + "/") for folder in (real_root, *library)):
        opened.append(place)

def outcomes_of(how, root, index, path):
    manifest = os.path.join(root, f"{index}.csv")
    try:
        source = {
            "manifest": lambda: ManifestSource(manifest),
            "manifest elsewhere": lambda: ManifestSource(f"{index}.csv", root="."),
            "predict": lambda: make_unlabelled_source(manifest),
            "folder": lambda: FolderSource(root),
            "paths": lambda: PathSource([path], root=root),
        }[how]()
    except SourceError as error:
        return [[path, "refused", str(error)]]
    outcomes = []
    for raw in source.read(0, len(source)):
        try:
            decode_image(raw.fetch(), raw.sample_id)
            outcomes.append([raw.sample_id, "decoded", ""])
        except DecodeError as error:
            outcomes.append([raw.sample_id, "failed", error.reason])
    return outcomes

if how == "manifest elsewhere":
    os.chdir(root)
sys.addaudithook(trap)
print(json.dumps([[outcomes_of(how, root, index, path) for index, path in enumerate(paths)], opened]))
"""

#: Twenty-five ways to say where a secret is, of which some need a link in the root to pass through.
FORMS = {
    "absolute": "{outside}/secret.png",
    "two slashes": "/{outside}/secret.png",
    "parent": "../outside/secret.png",
    "parent after a folder": "cat/../../outside/secret.png",
    "parent after a dot": "./.././outside/secret.png",
    "parent after a file": "cat/0.png/../../../outside/secret.png",
    "many parents": "../" * 40 + "{outside}/secret.png",
    "absolute through the root": "{root}/../outside/secret.png",
    "twin of the root": "../root2/secret.png",
    "encoded": "%2e%2e/outside/secret.png",
    "encoded whole": "..%2foutside%2fsecret.png",
    "drive": "C:\\secret.png",
    "drive with slashes": "C:/secret.png",
    "server": "\\\\server\\share\\secret.png",
    "back slashes": "..\\outside\\secret.png",
    "NUL": "../outside/secret.png\0.png",
    "address": "file://{outside}/secret.png",
    "home": "~/secret.png",
    "link to the file": "cat/link.png",
    "link to a link": "cat/chain.png",
    "circle": "cat/circle.png",
    "folder linked": "cat/linked/secret.png",
    "folder linked to itself": "cat/itself/itself/linked/secret.png",
    "parent of a link's folder": "cat/deep/../secret.png",
    "link by way of the system": "cat/system.png",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with links of every kind, and secrets around it."""
    base = Path(os.path.realpath(tmp_path_factory.mktemp("traversal")))
    secrets = [base / "outside/secret.png", base / "root2/secret.png", base / "outside/below/secret.png"]
    for index, path in enumerate([base / "root/cat/0.png", *secrets]):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[index]).save(path)
    cat = base / "root/cat"
    (cat / "link.png").symlink_to("../../outside/secret.png")
    (cat / "chain.png").symlink_to("link.png")
    (cat / "circle.png").symlink_to("circle.png")
    (cat / "linked").symlink_to("../../outside")
    (cat / "itself").symlink_to(".")
    (cat / "deep").symlink_to("../../outside/below")
    (cat / "system.png").symlink_to(f"/proc/self/root{base}/outside/secret.png")
    return base / "root"


def run(root, how, paths, code=CHILD):
    """What became of each path's samples, what was opened outside, and whether the secret was."""
    for index, path in enumerate(paths):
        quoted = path.replace('"', '""')
        (root / f"{index}.csv").write_text(f'path\n"{quoted}"\n')
    with Canary(root.parent / "outside/secret.png") as canary:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([how, str(root), paths]),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes, opened = json.loads(done.stdout)
        return outcomes, opened, canary.was_opened()


def check(root, how, paths, ledger):
    found, opened, seen = run(root, how, paths)
    if opened or seen:
        ledger.lose(f"{how}: opened {opened}, {seen}")
    for path, outcomes in zip(paths, found, strict=True):
        ledger.inject()
        for sample_id, outcome, reason in outcomes:
            if outcome == "decoded" and sample_id != "cat/0.png":
                ledger.lose(f"{how}, {path!r}: {sample_id} was decoded")
            if not reason.isprintable():
                ledger.lose(f"{how}, {path!r}: {reason!r}")
    return found


SAMPLE = ("parent", "absolute", "link to the file", "folder linked", "parent of a link's folder")


@pytest.mark.protocol("T19", "P20", "paths that lead outside the root, under an audit hook")
@pytest.mark.parametrize("how", ["manifest", "paths", "predict", "manifest elsewhere"])
@pytest.mark.parametrize("forms", [SAMPLE, pytest.param(tuple(FORMS), marks=pytest.mark.faults)], ids=len)
def test_no_path_opens_what_is_outside_the_root(root, how, forms, ledger):
    paths = [FORMS[form].format(outside=root.parent / "outside", root=root) for form in forms]
    found = check(root, how, paths, ledger)
    for path, outcomes in zip(paths, found, strict=True):
        assert [outcome for _, outcome, _ in outcomes] in (["failed"], ["refused"]), path


@pytest.mark.protocol("T19", "P20", "links in a folder that lead outside it")
@pytest.mark.parametrize("n_trials", [1, pytest.param(1, marks=pytest.mark.faults)])
def test_no_link_in_a_folder_opens_what_is_outside(root, ledger, n_trials):
    (outcomes,) = check(root, "folder", [""] * n_trials, ledger)
    links = ("link.png", "chain.png", "circle.png", "linked", "deep", "system.png")
    assert {sample_id: outcome for sample_id, outcome, _ in outcomes} == {
        "cat/0.png": "decoded",
        **dict.fromkeys((f"cat/{name}" for name in links), "failed"),
    }


def test_the_trap_notices_what_is_opened_outside(root):
    code = CHILD.replace("PathSource([path], root=root)", "PathSource([path], root=root, follow_links=True)")
    outcomes, opened, seen = run(root, "paths", ["cat/link.png"], code)
    assert outcomes[0][0][1] == "decoded"
    assert opened == [str(root.parent / "outside/secret.png")]
    assert seen

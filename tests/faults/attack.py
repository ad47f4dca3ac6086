"""One process that opens artefacts through every public entry point, under watch.

Run as ``python -m tests.faults.attack FOLDER '{"GROUP": ["NAME"]}'``, without names for all of a group; it
prints one JSON object a line, one for each artefact and entry point. Artefacts are built, and everything is
imported by opening honest files, before the watch begins. What is watched: Python's audit events, the folder
of secrets by inotify (so that libraries beneath Python are seen too), a file that payloads would make, peak
memory, and time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import featx
from featx.errors import FeatxError
from tests.contracts import Canary
from tests.faults import malicious, malicious_heads
from tests.faults.malicious import Artefact
from tests.faults.malicious_corpus import CORPUS, HONEST, WATCHED

LIMIT_S = 30
ROOT = Path(__file__).parents[2]

_RUNS_CODE = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "pickle.find_class",
    "code.__new__",
)
_REACHES_OUT = ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "ctypes.dlopen")


class Watch:
    """What the audit hook and the two canaries saw since the last reset."""

    def __init__(self, own: list[str]) -> None:
        self.is_on = False
        self.trespasses: list[str] = []
        self.artefact = ""
        library = [sys.prefix, sys.base_prefix, str(ROOT), "/proc/", "/sys/", "/usr/lib", "/dev/"]
        self._allowed = [os.path.realpath(path) for path in (*library, *own)]
        # Of the virtual environment that is a link.
        self._allowed += [os.path.realpath(path) for path in sys.path if path]
        self._canary = Canary(Path(os.environ["SECRET"]))
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open":
            self._see_open(args)
        elif event == "subprocess.Popen":
            # A parser in a process of its own is featx's, and is Python.
            if args[0] not in (sys.executable, os.path.realpath(sys.executable)):
                self._trespass(f"{event} {args[:2]}")
        elif event == "exec":
            name = getattr(args[0], "co_filename", "")
            if not self._is_allowed(name) and not name.startswith("<"):
                self._trespass(f"exec {name}")
        elif event.startswith(_RUNS_CODE) or (event in _REACHES_OUT and not self._is_library(args)):
            self._trespass(f"{event} {str(args)[:100]}")

    def _see_open(self, args: tuple[Any, ...]) -> None:
        path, mode, flags = args
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        # Asked not to follow a link, the system opens nothing.
        is_refused = flags & os.O_NOFOLLOW and isinstance(path, str) and Path(path).is_symlink()
        if isinstance(path, str) and not is_refused and not self._is_allowed(path):
            self._trespass(f"open {path} {mode} {flags}")

    def _is_allowed(self, path: str) -> bool:
        real = os.path.realpath(path)
        # Their suffix is another than the artefact's own, as for a journal's or a set-aside file's.
        return real.startswith((*self._allowed, os.path.realpath(self.artefact)))

    def _is_library(self, args: tuple[Any, ...]) -> bool:
        return isinstance(args[0], str) and (self._is_allowed(args[0]) or "/" not in args[0])

    def _trespass(self, what: str) -> None:
        self.trespasses.append(what)

    def start(self, artefact: Path) -> None:
        self._canary.was_opened()
        self.trespasses.clear()
        self.artefact = str(artefact)
        Path("/proc/self/clear_refs").write_text("5")
        self.is_on = True

    def stop(self) -> list[str]:
        self.is_on = False
        seen = list(dict.fromkeys(self.trespasses))[:10]
        if self._canary.was_opened():
            seen.append("a secret was opened")
        if Path("PWNED").exists() or list(Path(artefacts_folder()).rglob("PWNED")):
            seen.append("a payload ran")
        return seen


def artefacts_folder() -> str:
    return os.environ["ARTEFACTS"]


def peak_mib(field: str = "VmHWM") -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


# ----------------------------------------------------------------------------------- entry points


class RefusedError(Exception):
    """One line and exit code 1 from the command line."""


def command(*arguments: object) -> None:
    """The command line, in this process."""
    from featx.cli import app

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app([str(argument) for argument in arguments])
    except SystemExit as error:
        lines = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
        if error.code == 1 and len(lines) == 1:
            raise RefusedError(lines[0]) from None
        if error.code:
            message = f"exit code {error.code}: {err.getvalue()[-300:]}"
            raise RuntimeError(message) from None


def keras_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    options = ("--preprocessing", "unit")
    images, store = honest["images"], honest["store"]
    return {
        "FeatureExtractor": lambda path: featx.FeatureExtractor(path, preprocessing="unit").fit(),
        "load_exported": featx.load_exported,
        "featx extract --backbone": lambda path: command(
            "extract", images, "--backbone", path, *options, "--store", store
        ),
        "featx predict": lambda path: command("predict", path, images),
        "featx export": lambda path: command("export", path, honest["out"] / "m.onnx"),
    }


def head_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "load_head": featx.load_head,
        "ImageClassifier.load": featx.ImageClassifier.load,
        "featx evaluate": lambda path: command("evaluate", path, honest["features"]),
        "featx predict": lambda path: command("predict", path, honest["images"]),
        "featx export": lambda path: command("export", path, honest["out"] / "m.keras"),
    }


def answer_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "load_head": featx.load_head,
        "featx evaluate": lambda path: command("evaluate", path, honest["features"]),
    }


def spec_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "ImageClassifier.load": featx.ImageClassifier.load,
        "featx predict": lambda path: command("predict", path, honest["images"]),
        "featx export": lambda path: command("export", path, honest["out"] / "m.keras"),
    }


def numpy_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "as_source": featx.as_source,
        "as_value_source": featx.as_value_source,
        "featx extract": lambda path: command("extract", path, "--store", honest["store"]),
    }


def feature_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "FeatureSet.load": lambda path: featx.FeatureSet.load(path).X[:],
        "featx search": lambda path: command("search", path, "--head", "knn"),
        "featx evaluate": lambda path: command("evaluate", honest["model"], path),
    }


def image_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "HDF5Source": lambda path: featx.HDF5Source(path).read(0, 4)[0].fetch(),
        "as_value_source": lambda path: featx.as_value_source(path, dataset="images").read(0, 4)[0].fetch(),
        "featx extract": lambda path: command("extract", path, "--store", honest["store"]),
    }


def exported_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    return {
        "load_exported": lambda path: featx.load_exported(path).predict_on_batch(
            np.zeros((1, 16, 16, 3), np.uint8)
        ),
        "featx predict": lambda path: command("predict", path, honest["images"]),
    }


def graph_entries(_honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    from featx.features.engines import Settings, start_engine
    from featx.features.graph_files import read_graph

    return {"a graph of the store": lambda path: start_engine(read_graph(next(path.iterdir())), Settings(1))}


def checkpoint_entries(_honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    from featx.errors import FeatxWarning
    from featx.models.checkpoints import Checkpoint

    def load(path: Path) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = Checkpoint(path, {}).load()
        if found is None and caught and issubclass(caught[0].category, FeatxWarning):
            raise RefusedError(str(caught[0].message))

    return {"FineTuner(checkpoint=...)": load}


def journal_entries(_honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    X, y = malicious_heads.digits(n_classes=2)
    reference = featx.HeadSearch("knn", cv=3).fit(X, y)

    def search(path: Path) -> None:
        found = featx.HeadSearch("knn", cv=3, journal=path).fit(X, y)
        if found.best_score_ != reference.best_score_:
            message = "a journal changed a score"
            raise RuntimeError(message)

    return {"HeadSearch(journal=...)": search}


def store_entries(honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    extractor = featx.FeatureExtractor("MobileNetV2", input_size=(32, 32), weights=None)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    reference = featx.extract(images, extractor, store=honest["store"]).X[:]

    def extract(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            features = featx.extract(images, extractor, store=path)
            found = features.X[:]
            assert features.report.n_computed == len(images)
            featx.FeatureStore(path).prune(dry_run=True)
        np.testing.assert_allclose(found, reference, atol=1e-4)

    return {"featx.extract(store=...)": extract}


def watched_entries(_honest: dict[str, Path]) -> dict[str, Callable[[Path], Any]]:
    """What no entry point does: everything that the watch is there for."""

    def misbehave(path: Path) -> None:
        import pickle
        import socket
        import subprocess

        pickle.loads(path.read_bytes())
        subprocess.run(["true"], check=True)
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        os.close(os.open(malicious.secret("secret.txt"), os.O_RDONLY))
        exec(compile("1", "/somewhere/else.py", "exec"))

    return {"nothing of featx": misbehave}


ENTRIES = {
    "watched": watched_entries,
    "keras": keras_entries,
    "heads": head_entries,
    "answers": answer_entries,
    "specs": spec_entries,
    "npy": numpy_entries,
    "npz": numpy_entries,
    "features": feature_entries,
    "images": image_entries,
    "onnx": exported_entries,
    "litert": exported_entries,
    "saved_model": exported_entries,
    "graphs": graph_entries,
    "checkpoints": checkpoint_entries,
    "journals": journal_entries,
    "stores": store_entries,
}


# ------------------------------------------------------------------------------------------ a run


def honest_files(folder: Path) -> dict[str, Path]:
    """What the entry points need besides the artefact."""
    from tests.conftest import write_class_folder

    folder.mkdir()
    X, y = malicious_heads.digits(n_classes=2)
    features = featx.FeatureSet(X[:, 20:24], y, class_names=["cat", "dog"])
    features.save(folder / "features.h5")
    # Asked once, so that what scikit-learn finds out about the machine is known.
    malicious_heads.fitted("neighbors").predict(X[:1, 20:24])
    featx.save_head(malicious_heads.small_head(), folder / "model.featx", class_names=["cat", "dog"])
    write_class_folder(folder / "images", 4)
    (folder / "out").mkdir()
    return {
        "features": folder / "features.h5",
        "model": folder / "model.featx",
        "images": folder / "images",
        "out": folder / "out",
        "store": folder / "store",
    }


def tried(entry: Callable[[Path], Any], path: Path, watch: Watch) -> dict[str, Any]:
    """What came of one artefact at one entry point."""

    def late(*_: object) -> None:
        message = f"still at work after {LIMIT_S} s"
        raise RuntimeError(message)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    message, before, started = "", peak_mib("VmRSS"), time.perf_counter()
    watch.start(path)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            entry(path)
        outcome = "opened"
    except (FeatxError, RefusedError) as error:
        outcome, message = "refused", f"{error}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have come out
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        outcome, message = "escaped", f"{error!r:.200} at {where}"
    seconds = time.perf_counter() - started
    signal.alarm(0)
    trespasses = watch.stop()
    return {
        "outcome": outcome,
        "message": message,
        "seconds": round(seconds, 2),
        "mib": round(peak_mib() - before),
        "trespasses": trespasses,
    }


def built(artefact: Artefact, group: str, folder: Path, entry: str, same: Path | None = None) -> Path:
    suffix = {
        "keras": ".keras",
        "npy": ".npy",
        "npz": ".npz",
        "features": ".h5",
        "images": ".h5",
        "onnx": ".onnx",
    }
    suffix |= {"litert": ".tflite", "heads": ".featx", "answers": ".featx", "specs": ".featx"}
    place = folder / entry.replace("/", "_")
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{artefact.name.replace('/', '_')}{suffix.get(group, '')}"
    if same is not None and same.is_file():
        # Large ones take seconds to build.
        path.hardlink_to(same)
        return path
    artefact.build(path)
    # Keras calls a Lambda when a model of it is made.
    Path("PWNED").unlink(missing_ok=True)
    return path


def prepared(group: str, names: list[str], honest: dict[str, Path]) -> list[tuple[str, str, str, Any, Path]]:
    """Group, artefact, entry point, how it is called, and the file, of its own: some are set aside."""
    entries, place = ENTRIES[group](honest), Path(artefacts_folder()) / group
    for name, entry in entries.items():
        warm = built(Artefact("honest", HONEST[group]), group, place / "warm", name)
        with contextlib.suppress(Exception, SystemExit):
            entry(warm)
    chosen = [each for each in {**CORPUS, "watched": WATCHED}[group] if not names or each.name in names]
    trials = []
    for each in chosen:
        first = None
        for name, entry in entries.items():
            path = built(each, group, place, name, first)
            trials.append((group, each.name, name, entry, path))
            first = path
    return trials


def main() -> None:
    """Open what the command line names."""
    folder, groups = sys.argv[1:]
    honest = honest_files(Path(folder) / "honest")
    malicious.write_secrets()
    trials = [
        trial for group, names in json.loads(groups).items() for trial in prepared(group, names, honest)
    ]
    watch = Watch([tempfile.gettempdir(), folder + "/honest", os.environ["FEATX_CACHE"]])
    limit = int(peak_mib("VmSize") + 3 * 1024) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for group, artefact, name, entry, path in trials:
        found = tried(entry, path, watch)
        print(json.dumps({"group": group, "artefact": artefact, "entry": name, **found}), flush=True)


if __name__ == "__main__":
    main()

"""Every file that featx writes over another, in an old and a new version, and which of them is there.

Written by featx's own functions, in a child of `tests.faults.driver`. Where Keras would have to be loaded for
the bytes of a model, the bytes are made up and go the same way to the disk.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import featx
import featx.heads.journal
import featx.models.export
from featx.features.difference import _recalled as recalled_difference
from featx.features.engine_decisions import Decision, EngineRequest, _recalled, keep_decision
from featx.features.engines import Graph, Settings
from featx.features.precision_difference import PrecisionDifference
from featx.files import atomic_write, sha256_hex
from featx.folders import atomic_folder
from featx.heads.cells import Cell
from featx.heads.journal import Journal
from featx.insight.findings import Audit, Finding
from featx.insight.plots import plot_history
from featx.jobs import Predictions
from featx.models.checkpoints import Checkpoint

_TITLES = ("old", "new and longer")

# Old and new differ in their size too: a write that was cut short is neither.
_SIZES = (3_000, 5_000)


def content(version: int) -> bytes:
    return np.random.default_rng(version).bytes(_SIZES[version])


class Feature:
    """A feature file."""

    name = "features.h5"

    def write(self, path: Path, version: int) -> None:
        X = np.full((400, 64), version, np.float32)
        featx.FeatureSet(X, np.arange(400) % 2).save(path)

    def read(self, path: Path) -> int:
        return int(featx.FeatureSet.load(path).X.max())


class Head:
    """A model file."""

    name = "head.featx"

    def write(self, path: Path, version: int) -> None:
        head = LogisticRegression().fit(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
        head.intercept_[:] = version
        featx.save_head(head, path)

    def read(self, path: Path) -> int:
        return int(featx.load_head(path).intercept_[0])


class TrainingCheckpoint:
    """A state of a fine-tuning."""

    name = "run.ckpt"

    def write(self, path: Path, version: int) -> None:
        Checkpoint(path, {"epochs": 2}).save({"epoch": version}, {"w": np.full(3_000, version)})

    def read(self, path: Path) -> int:
        state, arrays = Checkpoint(path, {"epochs": 2}).load()
        assert (arrays["w"] == state["epoch"]).all()
        return state["epoch"]


class SearchJournal:
    """A journal: the new one is the old one and one cell more."""

    name = "journal"

    def write(self, path: Path, version: int) -> None:
        journal = self._open(path)
        journal.add([("candidate", Cell(0, version, 0.1, 0.1, {"score": 0.5}, ""))])
        # On disk for good, as far as whoever called can tell.
        assert journal.get("candidate", version, 0)

    def read(self, path: Path) -> int:
        journal = self._open(path)
        found = [journal.get("candidate", fold, 0) is not None for fold in (0, 1)]
        assert found[0]
        return int(found[1])

    def _open(self, path: Path) -> Journal:
        featx.heads.journal.problem_digest = lambda _problem: "0" * 64
        return Journal(path, None)


class Csv:
    """Predictions."""

    name = "predictions.csv"

    def write(self, path: Path, version: int) -> None:
        report: Any = SimpleNamespace()
        n_samples = 100 + 100 * version
        ids, labels = [f"{row}.png" for row in range(n_samples)], ["cat"] * n_samples
        probabilities = np.full((n_samples, 1), float(version))
        Predictions(ids, labels, probabilities, [""] * n_samples, ["cat"], report).save(path)

    def read(self, path: Path) -> int:
        return {101: 0, 201: 1}[len(path.read_text().splitlines())]


class Plot:
    """A plot of a report; drawn quickly, because drawing is not what is under test."""

    name = "history.svg"

    def write(self, path: Path, version: int) -> None:
        Figure.savefig = lambda _figure, file, **_: file.write(content(version))
        names = ("loss", "accuracy", "validation_loss", "validation_accuracy")
        plot_history({name: [0.5, 0.6] for name in names}, path)

    def read(self, path: Path) -> int:
        return [content(0), content(1)].index(path.read_bytes())


class Report:
    """A report of nothing but a title."""

    name = "report.html"

    def write(self, path: Path, version: int) -> None:
        featx.write_report(path, title=_TITLES[version])

    def read(self, path: Path) -> int:
        text = path.read_text(encoding="utf-8")
        if not text.endswith("</html>\n"):
            raise ValueError("cut short")
        return _TITLES.index(text.partition("<title>")[2].partition("</title>")[0])


class AuditCsv:
    """What an audit found."""

    name = "audit.csv"

    def write(self, path: Path, version: int) -> None:
        n_samples = 100 + 100 * version
        findings = tuple(Finding("outlier", (f"{row}.png",), 3.0, "far from all") for row in range(n_samples))
        Audit(n_samples, n_samples, {}, findings, {}, {}, {}, (), 1.0).save_csv(path)

    def read(self, path: Path) -> int:
        return {101: 0, 201: 1}[len(path.read_text(encoding="utf-8").splitlines())]


class KerasFile:
    """An exported model that is a file."""

    name = "model.keras"

    def write(self, path: Path, version: int) -> None:
        module = featx.models.export
        module._details_of = lambda _model, _images: (None, [])
        module.check_export_target = lambda _path, _format: "keras"
        module._WRITERS = {"keras": lambda _model, _details, to: to.write_bytes(content(version))}
        module._check_export = lambda _model, _path, _compared: 0.0
        featx.export_model(None, path)

    def read(self, path: Path) -> int:
        return [content(0), content(1)].index(path.read_bytes())


class SavedModel:
    """An exported model that is a folder."""

    name = "saved_model"

    def write(self, path: Path, version: int) -> None:
        with atomic_folder(path) as folder:
            (folder / "variables").mkdir()
            for name in ("saved_model.pb", "variables/data"):
                (folder / name).write_bytes(content(version))

    def read(self, path: Path) -> int:
        (version,) = {
            [content(0), content(1)].index((path / name).read_bytes())
            for name in ("saved_model.pb", "variables/data")
        }
        return version


class EngineDecision:
    """Which engine was chosen, and its graph: the first stays, so the old one here is none."""

    name = "store"
    old_is_absent = True
    graph = Graph("openvino", b"<net><layers/></net>", content(1))

    def write(self, path: Path, version: int) -> None:
        path.mkdir(exist_ok=True)
        if version == 0:
            return
        decision = Decision("openvino", 4, "float32", 0.0, "asked for", 1.0, {})
        engine: Any = SimpleNamespace(settings=Settings(4))
        keep_decision(self._request(path), decision, self.graph, engine)

    def read(self, path: Path) -> int:
        found = _recalled(self._request(path))
        if found is None:
            return 0
        assert found[1] == self.graph
        return 1

    def _request(self, path: Path) -> EngineRequest:
        return EngineRequest("openvino", "float32", 4, dict, path, 24)


class Difference:
    """What a precision changes."""

    name = "store"
    old_is_absent = True

    def write(self, path: Path, version: int) -> None:
        path.mkdir(exist_ok=True)
        if version == 0:
            return
        difference = PrecisionDifference("bfloat16", 24, 0.99, 0.98, None, None)
        record = {"labels": {"0" * 64: ""}, "difference": difference.to_json()}
        kept = json.dumps(record, sort_keys=True).encode()
        atomic_write(path / f"difference-{sha256_hex(kept)[:16]}.json", kept)

    def read(self, path: Path) -> int:
        source = SimpleNamespace(class_names=[], labels=[-1])
        embedded: Any = SimpleNamespace(source=source, digests={0: "0" * 64})
        return int(recalled_difference(embedded, path) is not None)


ARTEFACTS = {
    kind.__name__: kind()
    for kind in (
        Feature,
        Head,
        TrainingCheckpoint,
        SearchJournal,
        Csv,
        Plot,
        Report,
        AuditCsv,
        KerasFile,
        SavedModel,
        EngineDecision,
        Difference,
    )
}


def write(kind: str, folder: str, version: int) -> None:
    """Write one version over whatever is there."""
    artefact = ARTEFACTS[kind]
    artefact.write(Path(folder) / artefact.name, version)


def state(kind: str, folder: str) -> dict[str, Any]:
    """Which version is there, and what stands beside it."""
    artefact = ARTEFACTS[kind]
    version = artefact.read(Path(folder) / artefact.name)
    strays = [path.name for path in Path(folder).rglob(".featx-*")]
    return {"version": version, "strays": strays}

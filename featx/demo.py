"""The main job on a real data set: solar cells, defective or not.

ELPV (Deitsch et al., Solar Energy 185, 2019) holds 2,624 electroluminescence images of solar cells,
300 x 300 grey pixels, each with the probability that it is defective and the type of its wafer. The
protocol: defective means a probability above one half; a quarter is set aside, stratified by probability
and type. The paper's table, on 1,968 training cells: a support vector machine at 82.44 % accuracy (ROC
AUC 88.51 %), a fine-tuned VGG19 at 88.42 % (94.42 %).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.checks import require
from featx.features.extraction import extract
from featx.features.extractor import FeatureExtractor
from featx.features.feature_set import FeatureSet
from featx.features.store import FeatureStore
from featx.files import StrPath
from featx.heads.search import HeadSearch
from featx.images.sources import PathSource
from featx.insight.evaluation import Evaluation, evaluate
from featx.insight.report_data import ReportSamples
from featx.report_jobs import ReportOptions, write_search_report
from featx.search_jobs import SearchResult, search_features

#: The paper's table: what was fitted, accuracy, ROC AUC.
PUBLISHED = (
    ("SVM on hand-made features (paper)", 0.8244, 0.8851),
    ("VGG19, fine-tuned (paper)", 0.8842, 0.9442),
)

# The cells' own size: nothing is resized.
_INPUT_SIZE = (300, 300)


@dataclass(frozen=True)
class DemoResult:
    """What `run_demo` found.

    Attributes
    ----------
    features : FeatureSet
        With the extraction's report.
    result : SearchResult
    by_type : dict of str to Evaluation
        The test part's mono- and polycrystalline cells apart.
    source : PathSource
        The images.
    """

    features: FeatureSet
    result: SearchResult
    by_type: dict[str, Evaluation]
    source: PathSource

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            **self.result.to_dict(),
            "by_type": {name: evaluation.to_dict() for name, evaluation in self.by_type.items()},
            "features": self.features.report.to_dict(),
        }


def run_demo(
    *,
    store: StrPath | FeatureStore = "cache",
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: int = 0,
) -> DemoResult:
    """Embed the cells, search a head on three quarters of them, and score it on the fourth.

    Parameters
    ----------
    store : path-like or FeatureStore, default="cache"
    n_jobs : int, optional
        Candidates at once.
    random_state : int, default=0
        Seed of the split, the folds and the heads.
    verbose : int, default=0
        1 shows progress bars where stderr is a terminal.

    Returns
    -------
    DemoResult

    Raises
    ------
    MissingPackageError
        When the data set's package is not installed.
    """
    source, probability, wafer_type = _solar_cells()
    features = extract(source, FeatureExtractor(input_size=_INPUT_SIZE), store=store, verbose=verbose)
    strata = np.array(
        [f"{chance:.2f} {wafer}" for chance, wafer in zip(probability, wafer_type, strict=True)]
    )
    search = HeadSearch(n_jobs=n_jobs, random_state=random_state, verbose=verbose)
    result = search_features(features, search, strata=strata, random_state=random_state)
    test = result.test_rows
    whole = _evaluated(result, features, test, subgroups={"wafer": wafer_type[test]})
    by_type = {
        name: _evaluated(result, features, test[wafer_type[test] == name]) for name in ("mono", "poly")
    }
    return DemoResult(features, replace(result, test=whole), by_type, source)


def _evaluated(result: SearchResult, features: FeatureSet, rows: np.ndarray, **options: Any) -> Evaluation:
    names, groups = features.class_names, [features.groups[row] for row in rows]
    X, y = features.X[rows], features.y[rows]
    return evaluate(result.search, X, y, class_names=names, groups=groups, **options)


def write_demo_report(
    path: StrPath, found: DemoResult, options: ReportOptions | None = None
) -> ReportSamples:
    """Write the report of the demo, with the cells for pictures.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    found : DemoResult
    options : ReportOptions, optional

    Returns
    -------
    ReportSamples
        What it shows.
    """
    options = replace(options or ReportOptions(), images=found.source)
    return write_search_report(
        path, found.result, options, title="Solar cells (ELPV): defective or functional?"
    )


def _solar_cells() -> tuple[PathSource, np.ndarray, np.ndarray]:
    package = require("elpv_dataset", "demo")
    folder = Path(str(package.__file__)).parent / "data"
    columns = [("path", "U64"), ("probability", float), ("type", "U8")]
    table = np.genfromtxt(folder / "labels.csv", dtype=columns, encoding="utf-8")
    labels = np.where(table["probability"] > 0.5, "defective", "functional")
    source = PathSource(table["path"].tolist(), labels, root=folder)
    return source, table["probability"], table["type"]

"""audit_features(): what is questionable in a data set, from its features alone.

Of copies of the same bytes the first stands for all from then on: copies would be each other's neighbours,
hide that an image is far from all others, and vote for their own label. What is nearly a copy stays, in one
group, so that it is never asked about the other's label. Of an image with several views, the image itself is
audited.

Labels of the training part are judged by labels of that part alone: of a sample that is left out of training
because a label of the test part spoke against it, the absence tells the head that label. Random labels of
digits, whose true accuracy is 0.5, were so predicted at 0.566. What uses no labels, copies and outliers, is
looked for among all.

Nothing here looks at pixels: odd images are found by `featx.audit_jobs`, where the images are at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featx.checks import check_choice, check_positive, check_seed, explain, require
from featx.errors import HeadError
from featx.insight.audit_table import UNLABELLED, AuditTable, unbalanced_classes
from featx.insight.duplicates import NearDuplicates, exact_duplicates, near_copies, near_duplicates, united
from featx.insight.findings import (
    EVERYWHERE,
    KINDS,
    SUSPECTED_LABEL,
    TRAINING,
    Audit,
    Finding,
    in_order,
)
from featx.insight.label_errors import (
    METHODS,
    MOST_PROBABILITIES,
    out_of_fold_probabilities,
    suspected_labels,
)
from featx.insight.neighbors import Neighbors, nearest_neighbors
from featx.insight.outliers import Outliers, out_of_distribution, outliers
from featx.progress import progress_bar

_LEAST_SAMPLES = 10
_BLOCK_ROWS = 8192


def audit_features(
    features: Any,
    *,
    parts: Sequence[str] | np.ndarray | None = None,
    content: np.ndarray | None = None,
    n_neighbors: int = 20,
    label_method: str = "confident",
    max_samples: int = 100_000,
    random_state: int = 0,
    verbose: int = 0,
) -> Audit:
    """Find duplicates, suspected labels, outliers and unbalanced classes.

    Parameters
    ----------
    features : FeatureSet
        Anything with ``X``, ``y``, ``groups``, ``sample_ids``, ``class_names``, ``image_sha256`` and ``view``
        like one. Without labels, what needs none is audited.
    parts : sequence of str, length n_rows, optional
        What the data are parted into, such as "training" and "test"; "" is in no part. Duplicates in the
        training part and in another that has labels are leaks, and samples of other parts that are unlike
        the training part are found. Labels of the training part are judged by that part alone; those of
        others by all, and shown, not left out. The training part is the one that is called "training" or
        "train", else the first row's. Without parts, all labels are judged by all: a search that sets a test
        part aside refuses to leave such out.
    content : ndarray of shape (n_rows, n_pixels), optional
        What each image looks like, from `featx.make_miniatures`: copies that were compressed or resized are
        told by it where features cannot.
    n_neighbors : int, default=20
        Neighbours that a sample is compared with.
    label_method : {"confident", "cleanlab"}, default="confident"
        As for `featx.insight.label_errors.suspected_labels`.
    max_samples : int, default=100_000
        Of more different images, as many are drawn; exact duplicates are looked for among all.
    random_state : int, default=0
        Seed of the draw and of the folds.
    verbose : int, default=0
        1 shows a progress bar where stderr is a terminal.

    Returns
    -------
    Audit

    Raises
    ------
    HeadError
        When there are no samples, or the parts are not one a row.
    MissingPackageError
        When ``label_method="cleanlab"`` and it is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from featx import FeatureSet
    >>> X, y = load_digits(return_X_y=True)
    >>> y[7] = 3
    >>> audit = audit_features(FeatureSet(X.astype("float32"), y, image_sha256=["same"] * 2 + [""] * 1795))
    >>> [finding.sample_ids for finding in audit.of("exact_duplicate")]
    [('0', '1')]
    >>> "7" in [finding.sample_ids[0] for finding in audit.of("suspected_label")]
    True
    """
    started = perf_counter()
    check_choice("label_method", label_method, METHODS, HeadError)
    check_positive("n_neighbors", n_neighbors, HeadError)
    check_positive("max_samples", max_samples, HeadError)
    check_seed("random_state", random_state, HeadError)
    if label_method == "cleanlab":
        # What is absent is said before the work.
        require("cleanlab", "cleanlab")
    table = AuditTable.of(features, parts)
    if content is not None and len(content) != len(features.sample_ids):
        received = f"content of {len(content)} images for {len(features.sample_ids)} rows"
        raise HeadError(explain(received, "one a row", "pass NaN for images that are not there"))
    run = _Run(table, features.X, n_neighbors, label_method, random_state, content)
    steps = (
        run.find_exact_duplicates,
        lambda: run.draw(max_samples),
        run.find_near_duplicates,
        run.find_suspected_labels,
        run.find_outliers,
        run.find_unbalanced_classes,
    )
    with progress_bar("Auditing", len(steps), verbose, "steps") as advance:
        for step in steps:
            step()
            advance(1)
    return run.result(perf_counter() - started)


@dataclass
class _Run:
    """One audit: each step adds findings, notes and thresholds.

    Attributes
    ----------
    audited : ndarray of int
        Images of which the features are looked at; ``X`` holds those from `draw` on.
    """

    table: AuditTable
    X: np.ndarray
    n_neighbors: int
    label_method: str
    random_state: int
    content: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.audited = np.arange(len(self.table))
        self.n_drawn = len(self.table)
        self.neighbors: Neighbors | None = None
        self.near_pairs = np.empty((0, 2), np.intp)
        self.near_sets: list[np.ndarray] = []

    def find_exact_duplicates(self) -> None:
        """The same bytes; the first of each set goes on."""
        if not any(self.table.digests):
            self.notes.append("the images' digests are unknown: exact duplicates count as near ones")
        is_first = np.ones(len(self.table), bool)
        for rows in exact_duplicates(self.table.digests):
            indices = self.table.in_order(rows)
            is_first[indices[1:]] = False
            self._add_set("exact_duplicate", indices, 1.0, f"{len(indices)} images of the same bytes")
        self.audited = np.flatnonzero(is_first)

    def draw(self, max_samples: int) -> None:
        """Of too many images a share, and of those the ones with features that are numbers."""
        n_distinct = len(self.audited)
        if n_distinct > max_samples:
            random = np.random.default_rng(self.random_state)
            self.audited = np.sort(random.choice(self.audited, max_samples, replace=False))
            self.n_drawn = max_samples
            self.notes.append(
                f"{max_samples:,} of {n_distinct:,} different images were drawn (seed {self.random_state}); "
                "of the others, exact duplicates alone were looked for"
            )
        is_finite = np.ones(len(self.audited), bool)
        for start in range(0, len(self.audited), _BLOCK_ROWS):
            some = slice(start, start + _BLOCK_ROWS)
            is_finite[some] = np.isfinite(self.X[self.table.rows[self.audited[some]]]).all(axis=1)
        if not is_finite.all():
            bad = self.audited[~is_finite]
            self.notes.append(f"{len(bad):,} samples with features that are no numbers ({self._shown(bad)})")
            self.audited = self.audited[is_finite]
        rows = self.table.rows[self.audited]
        # The whole matrix is not copied.
        self.X = self.X if np.array_equal(rows, np.arange(len(self.X))) else self.X[rows]

    def find_near_duplicates(self) -> None:
        """Images whose features are nearer than neighbours' ordinarily are."""
        if len(self.audited) < _LEAST_SAMPLES:
            received = f"{len(self.audited)} different images"
            self.notes.append(f"{received} are too few to tell near duplicates and outliers: it takes 10")
            return
        self.neighbors = nearest_neighbors(self.X, self.n_neighbors)
        found: NearDuplicates = near_duplicates(self.neighbors, X=self.X)
        if self.content is not None:
            content = self.content[self.table.rows[self.audited]]
            if np.isfinite(content).all(axis=1).sum() >= _LEAST_SAMPLES:
                by_content = near_copies(content, n_neighbors=self.n_neighbors)
                found = united(found, by_content, len(self.audited))
        if not found.thresholds:
            self.notes.append("most images are alike: near duplicates could not be told from others")
        elif found.note:
            self.notes.append(found.note)
        self.thresholds |= {f"near_duplicate_{name}": value for name, value in found.thresholds.items()}
        self.near_pairs, self.near_sets = found.pairs, found.sets
        for rows, score, ratio in zip(found.sets, found.scores, found.ratios, strict=True):
            indices = self.table.in_order(self.audited[rows])
            what = f"{len(indices)} images nearly alike: two are at {ratio:.0%} of the usual distance"
            self._add_set("near_duplicate", indices, float(score), what)

    def find_suspected_labels(self) -> None:
        """Labels that models without the sample, and its neighbours, speak against."""
        codes = self.table.codes[self.audited]
        labelled = np.flatnonzero(codes != UNLABELLED)
        n_unlabelled = int((self.table.codes == UNLABELLED).sum())
        if n_unlabelled == len(self.table):
            self.notes.append("no sample has a label: suspected labels and class balance were not looked for")
            return
        if n_unlabelled:
            self.notes.append(f"{n_unlabelled:,} samples have no label to suspect")
        if not self.table.part_names:
            self._suspect_among(labelled, "")
            return
        is_training = self.table.rank[self.audited[labelled]] == 0
        self._suspect_among(labelled[is_training], f" in {self.table.part_names[0]}")
        if not is_training.all():
            self._suspect_among(labelled, "", is_shown=~is_training)

    def _suspect_among(self, rows: np.ndarray, where: str, is_shown: np.ndarray | None = None) -> None:
        """Judge the labels of some audited images by these alone; of a mask, show those in it."""
        codes = self.table.codes[self.audited[rows]]
        if len(np.unique(codes)) < 2:
            self.notes.append(f"one class only{where}: no label can be suspected")
            return
        if len(rows) * len(self.table.class_names) > MOST_PROBABILITIES:
            size = f"{len(rows):,} samples of {len(self.table.class_names):,} classes"
            self.notes.append(f"{size} are too many to suspect labels; lower max_samples")
            return
        probabilities = out_of_fold_probabilities(
            self.X if len(rows) == len(self.X) else self.X[rows],
            codes,
            self._groups()[rows],
            neighbors=self._neighbors_among(rows),
            random_state=self.random_state,
        )
        is_asked = np.ones(len(rows), bool) if is_shown is None else is_shown
        n_unjudged = int((np.isnan(probabilities).any(axis=1) & is_asked).sum())
        if n_unjudged:
            why = "all others of their class, or of all other classes, are in their group"
            self.notes.append(f"{n_unjudged:,} labels{where} could not be judged: {why}")
        found = suspected_labels(probabilities, codes, self.label_method)
        for row, score, code in zip(found.rows, found.scores, found.suggested, strict=True):
            if is_asked[row]:
                chances = probabilities[row, code], probabilities[row, codes[row]]
                index, suggested = int(self.audited[rows[row]]), self.table.class_names[code]
                self._add_suspect(index, suggested, score, chances, is_left_out=is_shown is None)

    def find_outliers(self) -> None:
        """Images far from their neighbours, and those of other parts far from the training part."""
        if self.neighbors is None:
            return
        found = outliers(self.neighbors, X=self.X, sets=self.near_sets)
        self._add_outliers("outlier", found, "its neighbours")
        if not self.table.part_names:
            return
        training = self.table.part_names[0]
        is_training = self.table.rank[self.audited] == 0
        if len(self.table.part_names) == 1:
            return
        if is_training.sum() < _LEAST_SAMPLES or is_training.all():
            few = f"too few different images in {training}, or in no other part"
            self.notes.append(f"{few}: nothing is out of distribution")
            return
        found = out_of_distribution(self.X, is_training, neighbors=self.neighbors)
        self._add_outliers("out_of_distribution", found, training)

    def find_unbalanced_classes(self) -> None:
        """Classes with few samples, or none where they are needed."""
        self.findings += unbalanced_classes(self.table)

    def result(self, seconds: float) -> Audit:
        """Everything found, by kind and score."""
        findings = in_order(self.findings)
        found = {sample_id for finding in findings for sample_id in finding.sample_ids}
        of_found = {name: index for index, name in enumerate(self.table.ids) if name in found}
        counts = {
            name: int((self.table.codes == code).sum()) for code, name in enumerate(self.table.class_names)
        }
        return Audit(
            len(self.table),
            self.n_drawn,
            counts,
            findings,
            {name: self.table.label(index) for name, index in of_found.items()},
            {name: self.table.parts[index] for name, index in of_found.items()},
            self.thresholds,
            tuple(self.notes),
            seconds,
        )

    def _add_set(self, kind: str, indices: list[int], score: float, what: str) -> None:
        """A set of duplicates, with what they are across and which to leave out."""
        ids = tuple(self.table.ids[index] for index in indices)
        labels = sorted({label for index in indices if (label := self.table.label(index))})
        across: tuple[str, ...] = ()
        if leaked := self.table.leaked(indices):
            across += ("parts",)
            what += f"; in {' and '.join(leaked)}: a leak"
        if len(labels) > 1:
            across += ("labels",)
            what += f"; called {' and '.join(map(repr, labels))}"
        excluded, scope = ids if "labels" in across else ids[1:], EVERYWHERE
        if across and kind == "near_duplicate":
            # What is nearly alike is not the same: the test part keeps it, or it would lose what is hard.
            scope = TRAINING
            excluded = tuple(self.table.ids[index] for index in indices if self.table.rank[index] == 0)
        self.findings.append(Finding(kind, ids, score, what, across, excluded, scope))

    def _add_suspect(
        self, index: int, suggested: str, score: float, chances: tuple[float, float], *, is_left_out: bool
    ) -> None:
        sample_id = self.table.ids[index]
        reason = (
            f"labelled {self.table.label(index)!r}, but {suggested!r} is likelier "
            f"({chances[0]:.0%} against {chances[1]:.0%})"
        )
        excluded = (sample_id,) if is_left_out else ()
        self.findings.append(Finding(SUSPECTED_LABEL, (sample_id,), float(score), reason, (), excluded))

    def _add_outliers(self, kind: str, found: Outliers, from_what: str) -> None:
        self.thresholds |= {f"{kind}_{name}": value for name, value in found.thresholds.items()}
        for row in found.rows:
            if kind == "out_of_distribution" and not self.table.parts[self.audited[row]]:
                continue
            sample_id = self.table.ids[self.audited[row]]
            reason = f"{found.ratios[row]:.1f} times as far from {from_what} as usual"
            excluded = (sample_id,) if KINDS[kind].scope else ()
            self.findings.append(Finding(kind, (sample_id,), float(found.scores[row]), reason, (), excluded))

    def _groups(self) -> np.ndarray:
        """Groups of the audited images, near duplicates in one."""
        n_images, members = len(self.audited), self.table.groups[self.audited]
        # Images and groups are points of a graph: who is connected belongs together.
        start = np.concatenate([np.arange(n_images), self.near_pairs[:, 0]])
        stop = np.concatenate([n_images + members, self.near_pairs[:, 1]])
        size = n_images + int(self.table.groups.max()) + 1
        graph = coo_array((np.ones(len(start)), (start, stop)), shape=(size, size))
        component: np.ndarray = connected_components(graph, directed=False)[1]
        return component[:n_images]

    def _neighbors_among(self, rows: np.ndarray) -> np.ndarray | None:
        """The neighbours of some rows, counted among these; -1 for others."""
        if self.neighbors is None:
            return None
        place = np.full(len(self.audited), -1)
        place[rows] = np.arange(len(rows))
        among: np.ndarray = place[self.neighbors.indices[rows]]
        return among

    def _shown(self, indices: np.ndarray) -> str:
        names = [self.table.ids[index] for index in indices[:3]]
        return ", ".join(names) + (", ..." if len(indices) > 3 else "")

"""The jobs behind ``--report``: one self-contained HTML file of a search, of an evaluation, of a comparison.

They put together what `featx.write_report` takes: the samples with their pictures, an audit, and where it all
comes from. A report includes an audit: it is a matter of seconds, and suspected labels and leaks are what a
score is best read beside.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import PurePath
from typing import Any

import numpy as np

from featx import __version__
from featx.comparison_jobs import ModelComparison
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.files import StrPath
from featx.heads.persistence import ModelFile
from featx.images.sources import as_source
from featx.insight.report import write_report
from featx.insight.report_data import ReportSamples
from featx.jobs import ModelEvaluation
from featx.model_inputs import as_head_takes
from featx.report_contents import (
    LEFT_OUT,
    NO_LABEL,
    TEST,
    TRAINING,
    Answers,
    answers_on,
    build_samples,
    named_classes,
    parts_of,
)
from featx.report_insights import audit_of, label_curves_of
from featx.search_jobs import SearchResult

_PACKAGES = {"Keras": "keras", "scikit-learn": "scikit-learn", "NumPy": "numpy", "Pillow": "pillow"}


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made of besides the results.

    Attributes
    ----------
    images : ImageSource, or anything that `featx.as_source` takes, optional
        The images; without them the report has no pictures, and says so.
    command : str, default=""
        What repeats the work, for the report to quote.
    random_state : int, default=0
        Seed of the audit and of the draw where the samples are more than a report shows.
    verbose : int, default=0
        1 tells on stderr how far it has come.
    projection : {"pca", "umap"}, default="pca"
        What lays out the map.
    """

    images: Any = None
    command: str = ""
    random_state: int = 0
    verbose: int = 0
    projection: str = "pca"


def write_search_report(
    path: StrPath, result: SearchResult, options: ReportOptions | None = None, **further: Any
) -> ReportSamples:
    """Write the report of a search: one HTML file, which needs nothing else.

    Parameters
    ----------
    path : path-like
        Created or replaced; it appears complete or not at all.
    result : SearchResult
    options : ReportOptions, optional
    **further
        Of `featx.write_report`, such as ``title``.

    Returns
    -------
    ReportSamples
        What it shows; ``notes`` say what it could not show.
    """
    options = options or ReportOptions()
    combined = combine_features(result.combined.feature_sets)
    parts = parts_of(combined, result.test_rows)
    is_left_out = (parts == TRAINING) & ~np.isin(np.arange(len(parts)), result.train_rows)
    parts[is_left_out] = LEFT_OUT
    names = named_classes(result.search, combined.aligned.class_names)
    answers = answers_on(result.search, combined, np.flatnonzero(np.isin(parts, (TEST, NO_LABEL))), names)
    provenance = _provenance(combined, options) | {"seed of the search": str(result.search.random_state)}
    contents = {"evaluation": result.test, "search": result.search, "provenance": provenance, **further}
    columns, notes = result.search.best_columns_, result.notes
    return _write(path, combined, parts, [answers], options, contents=contents, columns=columns, notes=notes)


def write_evaluation_report(
    path: StrPath,
    model: ModelFile,
    features: FeatureSet | Mapping[str, FeatureSet],
    found: ModelEvaluation,
    options: ReportOptions | None = None,
    **further: Any,
) -> ReportSamples:
    """Write the report of a saved model's evaluation.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    model : ModelFile
    features : FeatureSet, or mapping of str to FeatureSet
        As they were given to `featx.jobs.evaluate_model`.
    found : ModelEvaluation
        What that returned.
    options : ReportOptions, optional
    **further
        Of `featx.write_report`.

    Returns
    -------
    ReportSamples
    """
    options = options or ReportOptions()
    combined = combine_features(as_head_takes(model, features))
    parts = _parts_of_model(model, combined)
    asked = np.flatnonzero(np.isin(parts, _asked_parts(found.flatters)))
    answers = answers_on(found.head, combined, asked, _names_of_model(model))
    contents = {"evaluation": found.evaluation, "provenance": _provenance(combined, options), **further}
    # A file that does not say what its head was fitted on cannot clear these samples of it.
    contents["flatters"] = found.flatters if model.training_images else None
    return _write(path, combined, parts, [answers], options, contents=contents)


def write_comparison_report(
    path: StrPath,
    models: tuple[ModelFile, ModelFile],
    features: FeatureSet | Mapping[str, FeatureSet],
    found: ModelComparison,
    options: ReportOptions | None = None,
    **further: Any,
) -> ReportSamples:
    """Write the report of two saved models that were compared: figures, and pictures of where they differ.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    models : (ModelFile, ModelFile)
    features : FeatureSet, or mapping of str to FeatureSet
        As they were given to `featx.comparison_jobs.compare_models`.
    found : ModelComparison
        What that returned.
    options : ReportOptions, optional
    **further
        Of `featx.write_report`.

    Returns
    -------
    ReportSamples
    """
    options = options or ReportOptions()
    sides = [combine_features(as_head_takes(model, features)) for model in models]
    # Of a sample that either was fitted on, neither is asked: it tells nothing of the two.
    part_of = _parts_of_both(models, sides)
    asked = _asked_parts(found.flatters)
    is_asked = {name: part in asked for name, part in part_of.items()}
    answers: list[Answers] = []
    for model, combined in zip(models, sides, strict=True):
        rows = [row for row, name in enumerate(combined.aligned.sample_ids) if is_asked[name]]
        answers.append(answers_on(model.head, combined, np.array(rows, int), _names_of_model(model)))
    parts = np.array([part_of[name] for name in sides[0].aligned.sample_ids])
    provenance = _provenance(sides[0], options) | {"first model": found.a, "second model": found.b}
    heads = _told_apart(found.a, found.b)
    contents = {"comparison": found.comparison, "heads": heads, "provenance": provenance, **further}
    contents["flatters"] = None if found.unknown and not found.flatters else found.flatters
    return _write(path, sides[0], parts, answers, options, contents=contents)


def _write(
    path: StrPath,
    combined: Combination,
    parts: np.ndarray,
    answers: Sequence[Answers],
    options: ReportOptions,
    *,
    contents: dict[str, Any],
    columns: slice | np.ndarray = slice(None),
    notes: Sequence[str] = (),
) -> ReportSamples:
    source = None if options.images is None else as_source(options.images)
    drawing = {"random_state": options.random_state, "verbose": options.verbose}
    # What was left out is no part of what is reported on: its copies elsewhere are no leaks.
    kept = np.flatnonzero(parts != LEFT_OUT)
    audit = audit_of(combined, kept, parts, source, **drawing)
    curves, untold = label_curves_of(combined, kept, columns, **drawing)
    samples = build_samples(combined, parts, answers, audit=audit, source=source, **drawing)
    samples = replace(samples, notes=(*notes, *samples.notes, *untold))
    shown = {"projection": options.projection, "audit": audit, "samples": samples}
    write_report(path, **{**shown, **curves, **contents})
    return samples


def _parts_of_model(model: ModelFile, combined: Combination) -> np.ndarray:
    parts = parts_of(combined, ())
    aligned = combined.aligned
    is_seen = model.was_trained_on(aligned.image_sha256)
    is_excluded = model.was_excluded(aligned.image_sha256, aligned.sample_ids)
    return np.where((parts == NO_LABEL) | is_seen, parts, np.where(is_excluded, LEFT_OUT, TEST))


def _parts_of_both(models: Sequence[ModelFile], sides: Sequence[Combination]) -> dict[str, str]:
    """The part of each sample by its id, as it is to both models."""
    first, second = (
        dict(zip(combined.aligned.sample_ids, _parts_of_model(model, combined).tolist(), strict=True))
        for model, combined in zip(models, sides, strict=True)
    )
    left_out = {name for part_of in (first, second) for name, part in part_of.items() if part == LEFT_OUT}
    both = {name: second[name] if part == TEST else part for name, part in first.items()}
    return {name: LEFT_OUT if name in left_out and part == TEST else part for name, part in both.items()}


def _told_apart(a: str, b: str) -> tuple[str, str]:
    """Names of model files, with as many of their folders as tell them apart."""
    if a == b:
        return f"{a} (first)", f"{b} (second)"
    parts = PurePath(a).parts, PurePath(b).parts
    for n_parts in range(1, max(map(len, parts)) + 1):
        first, second = (str(PurePath(*of_path[-n_parts:])) for of_path in parts)
        if first != second:
            return first, second
    return a, b


def _asked_parts(flatters: bool) -> tuple[str, ...]:  # noqa: FBT001 - what it is about
    # Of a head that was fitted on all of them, the figures are of these, and so is what is shown.
    return (TRAINING, TEST, NO_LABEL) if flatters else (TEST, NO_LABEL)


def _names_of_model(model: ModelFile) -> list[str]:
    return [str(name) for name in model.known_names]


# -------------------------------------------------------------------------------------- provenance


def _provenance(combined: Combination, options: ReportOptions) -> dict[str, str]:
    """What the report is of, and what repeats it."""
    found = {"command": options.command} if options.command else {}
    found |= {"featx": __version__, "Python": platform.python_version()}
    found |= {name: version(package) for name, package in _PACKAGES.items()}
    found["seed"] = str(options.random_state)
    for name, features in combined.feature_sets.items():
        found[f"sha256 of {name}"] = features.features_sha256()
        if features.spec is not None:
            found[f"extraction spec of {name}"] = features.spec.to_json()
    return found

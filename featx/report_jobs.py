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
from typing import Any

import numpy as np

from featx import __version__
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.files import StrPath
from featx.heads.persistence import ModelFile
from featx.images.sources import as_source
from featx.insight.comparison import Comparison
from featx.insight.report import write_report
from featx.insight.report_data import ReportSamples
from featx.jobs import ModelEvaluation
from featx.model_inputs import as_head_takes
from featx.report_contents import NO_LABEL, TEST, Answers, answers_on, build_samples, named_classes, parts_of
from featx.search_jobs import SearchResult

_PACKAGES = {"Keras": "keras", "scikit-learn": "scikit-learn", "NumPy": "numpy", "Pillow": "pillow"}

_FLATTERS = "The head was fitted on all of these images: every figure here flatters it."


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
    """

    images: Any = None
    command: str = ""
    random_state: int = 0
    verbose: int = 0


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
    names = named_classes(result.search, combined.aligned.class_names)
    answers = answers_on(result.search, combined, np.flatnonzero(np.isin(parts, (TEST, NO_LABEL))), names)
    provenance = _provenance(combined, options) | {"seed of the search": str(result.search.random_state)}
    contents = {"evaluation": result.test, "search": result.search, "provenance": provenance, **further}
    return _write(path, combined, parts, [answers], options, contents=contents)


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
    # Of a head that was fitted on all of them, the figures are of these, and so is what is shown.
    asked = np.flatnonzero(np.isin(parts, (TEST, NO_LABEL)) | found.flatters)
    answers = answers_on(model.head, combined, asked, _names_of_model(model))
    notes = (_FLATTERS,) if found.flatters else ()
    contents = {"evaluation": found.evaluation, "provenance": _provenance(combined, options), **further}
    return _write(path, combined, parts, [answers], options, contents=contents, notes=notes)


def write_comparison_report(
    path: StrPath,
    models: Sequence[ModelFile],
    features: FeatureSet | Mapping[str, FeatureSet],
    comparison: Comparison,
    options: ReportOptions | None = None,
    **further: Any,
) -> ReportSamples:
    """Write the report of two saved models that were compared: figures, and the pictures where they differ.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    models : sequence of two ModelFile
    features : FeatureSet, or mapping of str to FeatureSet
        All that either takes.
    comparison : Comparison
    options : ReportOptions, optional
    **further
        Of `featx.write_report`.

    Returns
    -------
    ReportSamples
    """
    options = options or ReportOptions()
    answers: list[Answers] = []
    each = [combine_features(as_head_takes(model, features)) for model in models]
    # A sample that either was fitted on tells nothing of the two.
    parts = _parts_of_model(models[0], each[0])
    part_of = dict(zip(each[1].aligned.sample_ids, _parts_of_model(models[1], each[1]), strict=True))
    other = np.array([part_of[sample_id] for sample_id in each[0].aligned.sample_ids])
    parts = np.where(parts == TEST, other, parts)
    asked = {each[0].aligned.sample_ids[row] for row in np.flatnonzero(np.isin(parts, (TEST, NO_LABEL)))}
    for model, combined in zip(models, each, strict=True):
        rows = [row for row, name in enumerate(combined.aligned.sample_ids) if name in asked]
        answers.append(answers_on(model.head, combined, np.array(rows, int), _names_of_model(model)))
    contents = {"comparison": comparison, "provenance": _provenance(each[0], options), **further}
    return _write(path, each[0], parts, answers, options, contents=contents)


def _write(
    path: StrPath,
    combined: Combination,
    parts: np.ndarray,
    answers: Sequence[Answers],
    options: ReportOptions,
    *,
    contents: dict[str, Any],
    notes: Sequence[str] = (),
) -> ReportSamples:
    source = None if options.images is None else as_source(options.images)
    insights = _insights(combined, parts, options)
    drawing = {"random_state": options.random_state, "verbose": options.verbose}
    samples = build_samples(combined, parts, answers, audit=insights["audit"], source=source, **drawing)
    samples = replace(samples, notes=(*notes, *samples.notes))
    write_report(path, samples=samples, **insights, **contents)
    return samples


def _insights(combined: Combination, parts: np.ndarray, options: ReportOptions) -> dict[str, Any]:
    """What the features tell besides the results, as `featx.write_report` takes it."""
    return {"audit": None}


def _parts_of_model(model: ModelFile, combined: Combination) -> np.ndarray:
    parts = parts_of(combined, ())
    is_seen = model.was_trained_on(combined.aligned.image_sha256)
    return np.where((parts != NO_LABEL) & ~is_seen, TEST, parts)


def _names_of_model(model: ModelFile) -> list[str]:
    # A head that was saved alone knows its classes and no names for them.
    return [str(name) for name in model.class_names or model.head.classes_.tolist()]


# -------------------------------------------------------------------------------------- provenance


def _provenance(combined: Combination, options: ReportOptions) -> dict[str, str]:
    """What the report is of, and what repeats it."""
    found = {"command": options.command} if options.command else {}
    found |= {"featx": __version__, "Python": platform.python_version()}
    found |= {name: version(package) for name, package in _PACKAGES.items()}
    found["seed"] = str(options.random_state)
    for name, features in combined.feature_sets.items():
        found[f"features of {name}, sha256"] = features.features_sha256()
        if features.spec is not None:
            found[f"extraction spec of {name}"] = features.spec.to_json()
    return found

"""featx: embed images once with a frozen Keras backbone, then find the best scikit-learn head.

Everything public is reachable from here, and loaded when it is first used: ``import featx`` alone loads
no framework.

Examples
--------
>>> import featx
>>> featx.list_backbones("efficientnet_lite0")[0].n_features
1280
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives.
_HOMES = {
    "featx.errors": (
        "BackboneError",
        "ClusterError",
        "ConversionError",
        "DecodeError",
        "FeatxError",
        "FeatxWarning",
        "HeadError",
        "MissingPackageError",
        "ParityError",
        "SourceError",
        "StoreCorruptError",
        "StoreError",
        "StoreMismatchError",
    ),
    "featx.images.miniatures": ("make_miniatures",),
    "featx.images.sources": (
        "ArraySource",
        "DatasetSource",
        "FolderSource",
        "HDF5Source",
        "ImageSource",
        "ManifestSource",
        "PathSource",
        "as_source",
    ),
    "featx.images.value_sources": ("DatasetValueSource", "ValueSource", "as_value_source"),
    "featx.classifier": ("ImageClassifier",),
    "featx.distributed.searching": ("register_ray",),
    "featx.report_contents": ("report_samples",),
    "featx.distributed.extraction": ("RayCluster",),
    "featx.features.backbones": ("BackboneSpec", "list_backbones", "load_backbone", "register_backbone"),
    "featx.features.extraction": ("extract",),
    "featx.features.extractor": ("FeatureExtractor",),
    "featx.features.feature_set": ("FeatureSet",),
    "featx.features.fingerprint": ("ExtractionSpec",),
    "featx.features.store": ("FeatureStore",),
    "featx.features.taps": ("Tap", "list_taps"),
    "featx.heads.holdout": ("holdout_split",),
    "featx.heads.nested": ("NestedScores", "nested_scores"),
    "featx.heads.persistence": ("ModelFile", "load_head", "save_head"),
    "featx.heads.search": ("HeadSearch",),
    "featx.heads.spaces": ("HeadSpec", "list_heads", "register_head"),
    "featx.insight.audit": ("audit_features",),
    "featx.insight.comparison": ("Comparison", "compare"),
    "featx.insight.evaluation": ("Evaluation", "evaluate"),
    "featx.insight.exclusions": ("Exclusions", "read_exclusions"),
    "featx.insight.findings": ("Audit", "Finding"),
    "featx.insight.few_shot": ("FewShotCurve", "few_shot_curve"),
    "featx.insight.learning": ("LearningCurve", "learning_curve"),
    "featx.insight.ranking": ("FeatureRank", "rank_features"),
    "featx.insight.plots": ("plot_history",),
    "featx.insight.report": ("write_report",),
    "featx.models.attachment": ("attach_head",),
    "featx.models.augmentation": ("Augmentation",),
    "featx.models.finetuning": ("FineTuner",),
    "featx.models.conversion": ("Parity", "check_parity", "register_converter", "to_keras"),
    "featx.models.training": ("FineTuneResult",),
    "featx.models.export": ("ExportReport", "export_model"),
    "featx.models.exported": ("ExportedModel", "load_exported"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - one table says it all


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        message = f"module 'featx' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

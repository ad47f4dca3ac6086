"""The choice of what is extracted: a scikit-learn transformer from images to features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.checks import check_choice, check_positive, check_seed, explain
from featx.errors import BackboneError, StoreMismatchError
from featx.features.backbones import load_backbone
from featx.features.engines import ENGINES, KerasEngine, compile_engine
from featx.features.fingerprint import ExtractionSpec
from featx.features.frozen import OWN, Backbone, BackboneSpec, Weights, described_architecture
from featx.features.keras_models import weights_digest
from featx.features.store import FeatureStore
from featx.files import StrPath
from featx.images.decoding import RESIZE_RULE, pixels_sha256
from featx.images.sources import as_source

if TYPE_CHECKING:
    import keras


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Embeds images with a frozen backbone.

    As a transformer it takes anything that `featx.as_source` takes and returns features. With a
    ``store``, no image is embedded twice, in whatever folds and pipelines it comes along.

    Parameters
    ----------
    backbone : str, path-like, BackboneSpec or keras.Model, default="efficientnet_lite0"
        A registered name (`featx.list_backbones`), a ``.keras`` file, or a model of your own.
    pooling : {"avg", "max", "avg+max", "none"}, default="avg"
        How feature maps become vectors; "none" flattens them.
    taps : sequence of str, default=()
        Names of inner layers to keep in place of the output; "top" stands for the output.
    input_size : tuple of int, optional
        (height, width) that images are resized to, in pixels; by default the backbone's own.
    weights : {"imagenet", None}, default="imagenet"
        None initialises at random, the same way for the same ``random_state``.
    preprocessing : str, default="auto"
        "auto" is the registered backbone's own; a model of your own needs one of "none", "unit", "tf",
        "torch", "caffe", "lite" (`featx.features.frozen.PREPROCESSING`).
    n_views : int, default=1
        Views of each image. Only 1, the image itself, is computed so far.
    batch_size : int, default=32
        Images in a forward pass.
    precision : {"float32"}, default="float32"
        Of the forward pass.
    engine : {"auto", "keras"}, default="auto"
        What runs the forward pass.
    store : path-like or FeatureStore, optional
        Where features are kept. None keeps them nowhere: every call embeds anew.
    random_state : int, optional
        Seed of weights initialised at random.

    Attributes
    ----------
    spec_ : ExtractionSpec
        Everything that the features depend on.
    n_features_out_ : int

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("MobileNetV2", input_size=(32, 32), weights=None)
    >>> model = make_pipeline(extractor, LogisticRegression()).fit(images, [0, 1] * 4)
    >>> model.predict(images).shape
    (8,)
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] | BackboneSpec | keras.Model = "efficientnet_lite0",
        *,
        pooling: str = "avg",
        taps: Sequence[str] = (),
        input_size: tuple[int, int] | None = None,
        weights: Weights = "imagenet",
        preprocessing: str = "auto",
        n_views: int = 1,
        batch_size: int = 32,
        precision: str = "float32",
        engine: str = "auto",
        store: StrPath | FeatureStore | None = None,
        random_state: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.pooling = pooling
        self.taps = taps
        self.input_size = input_size
        self.weights = weights
        self.preprocessing = preprocessing
        self.n_views = n_views
        self.batch_size = batch_size
        self.precision = precision
        self.engine = engine
        self.store = store
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None) -> FeatureExtractor:  # noqa: ARG002 - scikit-learn's signature
        """Check the parameters and find out what will be extracted; no image is looked at.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self

        Raises
        ------
        BackboneError
            When a parameter is not usable.
        """
        check_positive("batch_size", self.batch_size, BackboneError)
        check_choice("n_views", self.n_views, (1,), BackboneError)
        check_choice("precision", self.precision, ("float32",), BackboneError)
        check_choice("engine", self.engine, ENGINES, BackboneError)
        check_seed("random_state", self.random_state, BackboneError)
        self._backbone = self._load_backbone()
        self.spec_ = _make_spec(self._backbone, self)
        self.n_features_out_ = self.spec_.n_features
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        X : ImageSource, path-like, sequence of path-like, ndarray, or data set
            n_samples images: anything that `featx.as_source` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        DecodeError
            At the first image that cannot be read: a transformer may not drop rows.
        """
        # `extract` takes an extractor and an extractor is a way to call it: one of them imports late.
        from featx.features.extraction import extract

        check_is_fitted(self)
        return extract(as_source(X).without_labels(), self, store=self.store).X

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002 - scikit-learn's
        """Names of the columns: ``<tap>:<pooling>_<index>``.

        Returns
        -------
        ndarray of shape (n_features,), object
        """
        check_is_fitted(self)
        blocks = self.spec_.feature_blocks
        return np.array(
            [f"{name}_{column}" for name, width in blocks for column in range(width)], dtype=object
        )

    @classmethod
    def from_spec(
        cls, spec: ExtractionSpec, backbone: StrPath | BackboneSpec | keras.Model | None = None, **params: Any
    ) -> FeatureExtractor:
        """An extractor that gives features of this spec.

        Parameters
        ----------
        spec : ExtractionSpec
            Of a feature file or a saved model.
        backbone : path-like, BackboneSpec or keras.Model, optional
            Needed when the features came from a model of your own.
        **params
            Further parameters, such as ``batch_size`` and ``store``.

        Returns
        -------
        FeatureExtractor
            Fitted.

        Raises
        ------
        StoreMismatchError
            When this installation gives other features; the message shows the fields that differ.

        Examples
        --------
        >>> spec = FeatureExtractor("efficientnet_lite0", pooling="max").fit().spec_
        >>> FeatureExtractor.from_spec(spec).pooling
        'max'
        """
        if spec.weights == OWN and backbone is None:
            received = "features of a model of your own"
            raise BackboneError(
                explain(received, "that model", "pass backbone=... (a keras.Model or .keras file)")
            )
        extractor = cls(
            spec.backbone if backbone is None else backbone,
            pooling=spec.pooling,
            taps=spec.taps,
            input_size=spec.input_size,
            weights=None if spec.weights == "random" else "imagenet",
            preprocessing=spec.preprocessing,
            random_state=spec.weights_seed,
            **params,
        ).fit()
        if differences := extractor.spec_.differences(spec):
            message = (
                "this installation would extract other features; install what made them, or extract anew"
            )
            raise StoreMismatchError(message, differences)
        return extractor

    @property
    def backbone_(self) -> Backbone:
        """The frozen backbone, loaded on first use.

        Raises
        ------
        StoreMismatchError
            When a model of your own is no longer the one that `fit` saw.
        """
        if not hasattr(self, "_backbone"):
            self._backbone = self._load_backbone()
        if self._backbone.weights == OWN:
            self._check_unchanged(self._backbone.base)
        return self._backbone

    def compile(self) -> KerasEngine:
        """The engine that runs the forward pass, built on first use."""
        return compile_engine(self.engine, self.backbone_.folded, self.batch_size)

    def _check_unchanged(self, base: keras.Model) -> None:
        """Features of a model that was trained on, or replaced on disk, must not go under the old key."""
        now = replace(
            self.spec_, weights_sha256=weights_digest(base), architecture=described_architecture(base)
        )
        if differences := now.differences(self.spec_):
            raise StoreMismatchError("the model changed since fit; fit the extractor again", differences)

    def _load_backbone(self) -> Backbone:
        return load_backbone(
            self.backbone,
            self.pooling,
            self.taps,
            self.input_size,
            weights=self.weights,
            preprocessing=self.preprocessing,
            random_state=self.random_state,
        )

    def __sklearn_clone__(self) -> FeatureExtractor:
        # The network is shared: it is frozen, large, and may be of a class that nobody can copy.
        return type(self)(**self.get_params(deep=False))

    def __getstate__(self) -> dict[str, Any]:
        # A worker process builds the network itself, if it needs it at all.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_backbone"}

    def __sklearn_tags__(self) -> Any:
        return tags_for_images(super().__sklearn_tags__())


def tags_for_images(tags: Any) -> Any:
    """scikit-learn's tags of an estimator that takes whatever `featx.as_source` does."""
    tags.input_tags.two_d_array = False
    tags.input_tags.three_d_array = True
    tags.input_tags.string = True
    tags.no_validation = True
    return tags


def _make_spec(backbone: Backbone, extractor: FeatureExtractor) -> ExtractionSpec:
    return ExtractionSpec(
        # What Keras or a user calls a model says nothing about its features.
        backbone=OWN if backbone.weights == OWN else backbone.spec.name,
        architecture=backbone.architecture,
        weights=backbone.weights,
        weights_seed=backbone.weights_seed,
        weights_sha256=backbone.weights_sha256,
        preprocessing=backbone.spec.preprocess,
        input_size=backbone.input_size,
        resize_rule=RESIZE_RULE,
        pixels_sha256=pixels_sha256(),
        pooling=backbone.pooling,
        taps=backbone.taps,
        feature_blocks=backbone.feature_blocks,
        n_views=extractor.n_views,
        precision=extractor.precision,
    )

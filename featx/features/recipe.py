"""The choice of what is extracted, settled into a spec: everything of an extractor but scikit-learn.

A run that finds every row in the store ends before scikit-learn could be imported; so what it needs lies
here, and `featx.features.extractor` makes an estimator of it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from featx.checks import check_positive, check_seed, explain
from featx.errors import BackboneError, SourceError, StoreMismatchError, printable
from featx.features.backbones import is_registered, load_backbone
from featx.features.fingerprint import ExtractionSpec
from featx.features.frozen import OWN, Backbone, BackboneSpec, Weights, described_architecture
from featx.features.keras_models import weights_digest
from featx.features.own_models import vocabulary_size
from featx.features.precision import resolve_precision
from featx.features.preparation import Preparation, preparation_of
from featx.features.store import FeatureStore
from featx.files import StrPath
from featx.images.base import ImageSource
from featx.images.decoding import RESIZE_RULE, pixels_sha256
from featx.images.sources import as_source
from featx.images.value_sources import as_value_source
from featx.images.views import DEFAULT_VIEWS, ViewRecipe

if TYPE_CHECKING:
    import keras


class ExtractionRecipe:
    """What is extracted: a backbone, how its samples are prepared, and what runs it.

    Parameters
    ----------
    backbone, pooling, taps, input_size, weights, preprocessing, inputs
        As for `featx.FeatureExtractor`, which says more.
    n_views, views, batch_size, precision, engine, store, random_state
        Likewise.

    Attributes
    ----------
    spec_ : ExtractionSpec
        Everything that the features depend on; once it is settled.
    n_features_out_ : int

    Examples
    --------
    >>> ExtractionRecipe("efficientnet_lite0").fit().spec_.n_features
    1280
    """

    def __init__(
        self,
        backbone: str | os.PathLike[str] | BackboneSpec | keras.Model = "efficientnet_lite0",
        *,
        pooling: str = "avg",
        taps: Sequence[str] = (),
        input_size: tuple[int, ...] | None = None,
        weights: Weights = "imagenet",
        preprocessing: str = "auto",
        inputs: str = "images",
        n_views: int = 1,
        views: str | Sequence[str] = DEFAULT_VIEWS,
        batch_size: int | str = 32,
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
        self.inputs = inputs
        self.n_views = n_views
        self.views = views
        self.batch_size = batch_size
        self.precision = precision
        self.engine = engine
        self.store = store
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
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
        if not isinstance(self.batch_size, str) or self.batch_size != "auto":
            check_positive("batch_size", self.batch_size, BackboneError)
        check_positive("n_views", self.n_views, BackboneError)
        check_seed("random_state", self.random_state, BackboneError)
        self._backbone = self._load_backbone()
        is_array = self._backbone.inputs == "arrays"
        self._vocabulary_size = vocabulary_size(self._backbone.base) if is_array else None
        self.spec_ = _make_spec(self._backbone, self)
        self.n_features_out_ = self.spec_.n_features
        return self

    def parameters(self) -> dict[str, Any]:
        """The parameters it was made with, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def source_of(self, samples: Any, labels: Any = None) -> ImageSource:
        """A source of the kind that the backbone takes.

        Parameters
        ----------
        samples : ImageSource, path-like, sequence, ndarray, data frame, or data set
            Of images, what `featx.as_source` takes; of arrays, what `featx.as_value_source` does.
        labels : array-like of shape (n_samples,), optional

        Returns
        -------
        ImageSource

        Raises
        ------
        SourceError
            When the samples are of the other kind, or arrays of another shape.
        """
        self._check_is_fitted()
        spec = self.spec_
        if spec.inputs == "images":
            source = as_source(samples, labels)
            if source.layout is not None:
                received = f"arrays ({source.layout}) for a backbone of images"
                remedy = "pass a model of your own and inputs='arrays'"
                raise SourceError(explain(received, "images", remedy))
            return source
        source = as_value_source(samples, labels)
        if source.layout is None or source.layout.shape != spec.input_size:
            received = f"samples of {source.layout}"
            expected = f"{spec.input_dtype} {spec.input_size}, as the model takes them"
            raise SourceError(explain(received, expected, "reshape, pad or cut them"))
        return source

    @property
    def preparation(self) -> Preparation:
        """What becomes of a sample before the network."""
        return preparation_of(self.spec_, self._vocabulary_size)

    @classmethod
    def from_spec(
        cls, spec: ExtractionSpec, backbone: StrPath | BackboneSpec | keras.Model | None = None, **params: Any
    ) -> Self:
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
        >>> spec = ExtractionRecipe("efficientnet_lite0", pooling="max").fit().spec_
        >>> ExtractionRecipe.from_spec(spec).pooling
        'max'
        """
        if spec.weights == OWN and backbone is None:
            received = "features of a model of your own"
            raise BackboneError(
                explain(received, "that model", "pass backbone=... (a keras.Model or .keras file)")
            )
        if backbone is None and not is_registered(spec.backbone):
            # A file that names another file does not get it opened.
            received = f"features of the backbone {printable(spec.backbone[:100])!r}"
            expected = "a registered one (featx.list_backbones)"
            raise BackboneError(explain(received, expected, "register it, or pass backbone=..."))
        extractor = cls(
            spec.backbone if backbone is None else backbone,
            pooling=spec.pooling,
            taps=spec.taps,
            input_size=spec.input_size,
            weights=None if spec.weights == "random" else "imagenet",
            preprocessing=spec.preprocessing,
            inputs=spec.inputs,
            n_views=spec.n_views,
            # Of one view nothing is said of the others.
            views=spec.views or DEFAULT_VIEWS,
            precision=spec.precision,
            random_state=spec.weights_seed if spec.view_seed is None else spec.view_seed,
            **params,
        ).fit()
        if differences := extractor.spec_.differences(spec):
            message = (
                "this installation would extract other features; install what made them, or extract anew"
            )
            raise StoreMismatchError(message, differences)
        return extractor

    def with_views(self, n_views: int) -> Self:
        """The same with another number of views; the network is shared, and not loaded again.

        Parameters
        ----------
        n_views : int
            1 is the image itself.

        Returns
        -------
        FeatureExtractor
            Fitted.

        Raises
        ------
        BackboneError
            When there are not so many views of these kinds.

        Examples
        --------
        >>> extractor = ExtractionRecipe("efficientnet_lite0", n_views=4).fit()
        >>> plain = extractor.with_views(1)
        >>> plain.spec_ == extractor.spec_.of_one_view(), plain.backbone_ is extractor.backbone_
        (True, True)
        """
        self._check_is_fitted()
        check_positive("n_views", n_views, BackboneError)
        other = type(self)(**{**self.parameters(), "n_views": n_views})
        spec = _make_spec(self.backbone_, other)
        other.__dict__.update(_backbone=self.backbone_, _vocabulary_size=self._vocabulary_size)
        other.__dict__.update(spec_=spec, n_features_out_=spec.n_features)
        return other

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

    @property
    def fixed_batch_size(self) -> int | None:
        """Images in a forward pass, or None where that is found by measuring."""
        return None if isinstance(self.batch_size, str) else int(self.batch_size)

    def _check_is_fitted(self) -> None:
        if not hasattr(self, "spec_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")

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
            inputs=self.inputs,
            random_state=self.random_state,
        )


def _make_spec(backbone: Backbone, choice: ExtractionRecipe) -> ExtractionSpec:
    recipe, is_image = _recipe(choice), backbone.inputs == "images"
    return ExtractionSpec(
        # What Keras or a user calls a model says nothing about its features.
        backbone=OWN if backbone.weights == OWN else backbone.spec.name,
        architecture=backbone.architecture,
        weights=backbone.weights,
        weights_seed=backbone.weights_seed,
        weights_sha256=backbone.weights_sha256,
        preprocessing=backbone.spec.preprocess,
        input_size=backbone.input_size,
        resize_rule=RESIZE_RULE if is_image else "",
        pixels_sha256=pixels_sha256() if is_image else "",
        pooling=backbone.pooling,
        taps=backbone.taps,
        feature_blocks=backbone.feature_blocks,
        n_views=int(choice.n_views),
        views=() if recipe is None else recipe.kinds,
        view_seed=None if recipe is None else recipe.seed,
        precision=resolve_precision(choice.precision, choice.engine),
        inputs=backbone.inputs,
        input_dtype=backbone.input_dtype,
    )


def _recipe(choice: ExtractionRecipe) -> ViewRecipe | None:
    """How views are made, or None where there is but the image itself."""
    if choice.n_views == 1:
        return None
    if choice.inputs == "arrays":
        received = f"n_views={choice.n_views} of arrays"
        raise BackboneError(explain(received, "one, as views are made of images", "leave n_views out"))
    kinds = (choice.views,) if isinstance(choice.views, str) else tuple(choice.views)
    recipe = ViewRecipe(kinds, int(choice.random_state or 0))
    recipe.check_n_views(choice.n_views)
    return recipe

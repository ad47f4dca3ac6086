"""ImageClassifier: an extractor and a head behind one fit and predict, on images or arrays of any kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from featx.checks import explain
from featx.embedding import averaging, embed, extractors_of, images_of
from featx.errors import ConversionError, HeadError, SourceError, naming
from featx.features.extractor import FeatureExtractor, tags_for_images
from featx.features.feature_set import FeatureSet
from featx.features.store import FeatureStore
from featx.files import StrPath
from featx.fitting import fit_head
from featx.heads.persistence import ModelFile
from featx.heads.search import HeadSearch
from featx.heads.spaces import HeadSpec
from featx.images.base import UNLABELLED, ImageSource
from featx.models.attachment import attach_head, check_takes_images
from featx.models.conversion import to_keras
from featx.models.prediction import ScoresImages
from featx.models.probe import fine_tune_probe
from featx.models.samples import Labelled, known_classes

if TYPE_CHECKING:
    import keras

    from featx.features.frozen import BackboneSpec
    from featx.models.finetuning import FineTuner

# Parameters that a search of its own is given.
_OF_A_SEARCH = ("scoring", "cv", "n_jobs", "random_state", "verbose")


class ImageClassifier(ScoresImages, BaseEstimator):
    """Classifies images: embeds them with a frozen backbone, and finds the head that does best on that.

    Parameters
    ----------
    backbone : str, path-like, BackboneSpec, keras.Model or FeatureExtractor, default="efficientnet_lite0"
        What embeds the images. Pass a `FeatureExtractor` to choose pooling, input size or arrays as inputs;
        with ``n_views``, the head learns from every view, and answers by the mean over an image's views.
    head : str, HeadSpec, estimator or HeadSearch, default="search"
        "search" is a `HeadSearch` over every head; a head's name or spec searches that one alone; an
        estimator is fitted as it is; a `HeadSearch` is used with its own settings.
    store : path-like, FeatureStore or None, default="cache"
        Where features are kept.
    scoring : str or callable, default="accuracy"
        What the search maximises.
    cv : int, default=5
        Folds of the search. Copies of one image are never parted.
    on_error : {"raise", "skip"}, default="raise"
        What `fit` does about an image that cannot be used: stop, or leave it out with its label.
    n_jobs : int, optional
        Candidates at once.
    random_state : int, optional
        Seed of the folds and the heads.
    verbose : int, default=0
        1 shows progress bars where stderr is a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class names, or the integers that were passed as ``y``.
    extractors_ : list of FeatureExtractor
        One; several after `load` of a model that ``featx search`` found on several feature files together.
    extractor_ : FeatureExtractor
        The one.
    head_ : estimator
        Fitted; knows the classes as 0, 1 and so on.
    search_ : HeadSearch or None
        With its leaderboard, when there was a search.
    training_images_, excluded_images_ : list of str
        Of the images that the head was fitted on, and of those that a search left out; see `ModelFile`.
    report_ : ExtractionReport
        Of the images that `fit` embedded; lists those left out.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> dark, light = rng.integers(0, 120, (10, 32, 32, 3)), rng.integers(120, 256, (10, 32, 32, 3))
    >>> images = np.concatenate([dark, light]).astype(np.uint8)
    >>> extractor = FeatureExtractor("MobileNetV2", input_size=(32, 32), weights=None)
    >>> classifier = ImageClassifier(extractor, "logistic_regression", store=getfixture("tmp_path"))
    >>> classifier.fit(images, ["dark"] * 10 + ["light"] * 10).predict(images[:2])
    array(['dark', 'dark'], dtype='<U5')
    """

    def __init__(
        self,
        backbone: str
        | os.PathLike[str]
        | BackboneSpec
        | keras.Model
        | FeatureExtractor = "efficientnet_lite0",
        head: str | HeadSpec | BaseEstimator | HeadSearch = "search",
        *,
        store: StrPath | FeatureStore | None = "cache",
        scoring: Any = "accuracy",
        cv: int = 5,
        on_error: Literal["raise", "skip"] = "raise",
        n_jobs: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.store = store
        self.scoring = scoring
        self.cv = cv
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, images: Any, y: Sequence[Any] | np.ndarray | None = None) -> ImageClassifier:
        """Embed the images and fit the head.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set
            n_samples images: a folder of class folders, a CSV manifest, paths, arrays: anything that
            `featx.as_source` takes; of an extractor of arrays, that `featx.as_value_source` takes.
        y : array-like of shape (n_samples,), optional
            Classes, as strings or integers; by default those that the source carries.

        Returns
        -------
        self

        Raises
        ------
        SourceError
            When images or labels cannot be used.
        HeadError
            When the labels cannot serve a head.
        """
        extractor = self.backbone
        if not isinstance(extractor, FeatureExtractor):
            extractor = FeatureExtractor(extractor)
        self.extractors_: list[FeatureExtractor] = [clone(extractor).fit()]
        source = self._source_of(images, y)
        if (source.labels == UNLABELLED).all():
            remedy = "pass y, or a folder with one subfolder a class"
            raise SourceError(explain("images without labels", "a label for each", remedy))
        if y is not None:
            check_classification_targets(np.asarray(y))
        features = self._extract(source, self.extractors_, self.on_error)
        self.report_ = features.report
        rows = np.flatnonzero(features.y != UNLABELLED)
        # A class may have lost all its images, and the head must not know it then.
        present, labels = np.unique(features.y[rows], return_inverse=True)
        self.classes_ = known_classes(y, features.class_names)[present]
        # Once each, however many rows it has.
        digests = dict.fromkeys(features.image_sha256[row] for row in rows)
        self.training_images_, self.excluded_images_ = list(digests), list[str]()
        options = {name: getattr(self, name) for name in _OF_A_SEARCH}
        names = self.classes_.astype(str).tolist()
        self.head_, self.search_ = fit_head(self.head, features, rows, labels, names, **options)
        return self

    def predict(self, images: Any) -> np.ndarray:
        """Classify images.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        DecodeError
            At the first image that cannot be read: a prediction may not drop rows.
        """
        check_is_fitted(self)
        features = self._features_of(images)
        return self.named(averaging(self.head_, images_of(features)).predict(features.X))

    def predict_proba(self, images: Any) -> np.ndarray:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        HeadError
            When the head has no probabilities.
        """
        check_is_fitted(self)
        if not hasattr(self.head_, "predict_proba"):
            received = f"the head {type(self.head_).__name__}, which has no probabilities"
            raise HeadError(explain(received, "one with predict_proba", "wrap it in CalibratedClassifierCV"))
        features = self._features_of(images)
        return np.asarray(averaging(self.head_, images_of(features)).predict_proba(features.X))

    def save(self, path: StrPath) -> None:
        """Write the classifier to one model file, without pickles and without the backbone's weights.

        Parameters
        ----------
        path : path-like
            Created or replaced.
        """
        check_is_fitted(self)
        specs = [extractor.spec_.to_json() for extractor in self.extractors_]
        ModelFile(
            self.head_,
            class_names=self.classes_.tolist(),
            extraction_spec=specs[0] if len(specs) == 1 else None,
            extraction_specs=specs if len(specs) > 1 else (),
            training_images=self.training_images_,
            excluded_images=self.excluded_images_,
        ).save(path)

    @classmethod
    def load(
        cls,
        path: StrPath,
        *,
        backbone: StrPath | BackboneSpec | keras.Model | None = None,
        store: StrPath | FeatureStore | None = "cache",
        n_views: int | None = None,
        **params: Any,
    ) -> ImageClassifier:
        """Open a model file that `save` or ``featx search`` wrote.

        Parameters
        ----------
        path : path-like
        backbone : path-like, BackboneSpec or keras.Model, optional
            Needed when the features came from a model of your own.
        store : path-like, FeatureStore or None, default="cache"
            Where features are kept.
        n_views : int, optional
            Views of each image to average over; by default as many as the head was fitted on.
        **params
            Of `FeatureExtractor`, which the file leaves open: ``batch_size``, ``engine``.

        Returns
        -------
        ImageClassifier
            Fitted.

        Raises
        ------
        StoreError
            When the file is not a model that featx trusts.
        StoreMismatchError
            When this installation would give other features than those the head was fitted on.
        """
        model = ModelFile.load(path)
        if not model.specs or not model.class_names:
            received = f"{path}, a head without class names or an extraction spec"
            raise HeadError(explain(received, "a model for images", "load it with featx.load_head"))
        with naming(path):
            extractors = extractors_of(model.specs, backbone, n_views=n_views, **params)
        classifier = cls(extractors[0].backbone, model.head, store=store)
        classifier.extractors_ = extractors
        classifier.classes_ = np.array(model.class_names)
        classifier.training_images_ = list(model.training_images)
        classifier.excluded_images_ = list(model.excluded_images)
        classifier.head_, classifier.search_ = model.head, None
        return classifier

    @property
    def extractor_(self) -> FeatureExtractor:
        """The extractor, where there is one; its backbone is what a Keras model is made of."""
        if len(self.extractors_) > 1:
            names = " and ".join(extractor.spec_.backbone for extractor in self.extractors_)
            remedy = "search one of the feature files alone, or with --combine none or parts"
            received = f"a head on the features of {len(self.extractors_)} extractions ({names})"
            raise ConversionError(explain(received, "features of one", remedy))
        return self.extractors_[0]

    def to_keras(self) -> keras.Model:
        """One Keras model that classifies as this classifier does an image of one view: backbone and head.

        Returns
        -------
        keras.Model
            From uint8 images (n, height, width, 3) at the backbone's input size to probabilities
            (n, n_classes), or to decisions where the head has no probabilities; see `featx.attach_head`.

        Raises
        ------
        ConversionError
            When the head has no equal in Keras, or takes features of several extractions.
        """
        check_is_fitted(self)
        names = [str(name) for name in self.classes_]
        return attach_head(self.extractor_.backbone_, to_keras(self.head_), names)

    def fine_tune(
        self,
        images: Any,
        y: Sequence[Any] | np.ndarray | None = None,
        *,
        groups: Sequence[str] | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
        validation_data: Any = None,
        **options: Any,
    ) -> FineTuner:
        """Train backbone and head end to end, from this classifier's head; the better model comes back.

        The head is fitted once more, on the training part alone: one that knows the validation images
        could not be judged by them. It sees each image as it is, without further views; see
        `featx.Augmentation` for those.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set
        y : array-like of shape (n_samples,), optional
            Classes; by default those that the source carries.
        groups : sequence of str of length n_samples, optional
            Never parted; by default those of the source. Nor are copies of an image.
        sample_weight : array-like of shape (n_samples,), optional
            Of the fine-tuning; the head is fitted without.
        validation_data : images, or tuple (images, y), optional
            Images to decide by, in place of a share of ``images``.
        **options
            ``validation_size``, by default 0.2, and those of `featx.FineTuner`.

        Returns
        -------
        FineTuner
            Fitted.

        Raises
        ------
        ConversionError
            As `to_keras`, or when an option cannot be used.
        HeadError
            When labels are not this classifier's, or cannot be split.
        """
        check_is_fitted(self)
        backbone = check_takes_images(self.extractor_.backbone_)
        labelled = Labelled(self._source_of(images, y), self.classes_, groups, sample_weight)
        return fine_tune_probe(
            self.head_,
            backbone,
            labelled,
            self._extract(labelled.source, [self.extractor_.with_views(1)]),
            validation_data=validation_data,
            **{"verbose": self.verbose, **options},
        )

    def named(self, predicted: np.ndarray) -> np.ndarray:
        """What the head predicted, as the classes that the user knows.

        Parameters
        ----------
        predicted : ndarray of shape (n_samples,)
            Among ``head_.classes_``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Among `classes_`.
        """
        return np.asarray(self.classes_[np.searchsorted(self.head_.classes_, predicted)])

    def _features_of(self, images: Any) -> FeatureSet:
        # What a source says of its labels, rightly or wrongly, has no say in a prediction.
        return self._extract(self._source_of(images).without_labels(), self.extractors_)

    def _source_of(self, images: Any, y: Any = None) -> ImageSource:
        return self.extractors_[0].source_of(images, y)

    def _extract(
        self, source: Any, extractors: list[FeatureExtractor], on_error: Literal["raise", "skip"] = "raise"
    ) -> FeatureSet:
        return embed(source, extractors, store=self.store, on_error=on_error, verbose=self.verbose)

    def __sklearn_clone__(self) -> ImageClassifier:
        # As for an extractor: the network is shared, everything else is not.
        params = self.get_params(deep=False)
        is_estimator = isinstance(self.backbone, FeatureExtractor)
        shared = {} if is_estimator else {"backbone": params.pop("backbone")}
        return type(self)(**shared, **{name: clone(value, safe=False) for name, value in params.items()})

    def __sklearn_tags__(self) -> Any:
        return tags_for_images(super().__sklearn_tags__())

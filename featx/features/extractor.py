"""The choice of what is extracted as a scikit-learn transformer, from images to features."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.checks import explain
from featx.errors import BackboneError
from featx.features.recipe import ExtractionRecipe


class FeatureExtractor(TransformerMixin, ExtractionRecipe, BaseEstimator):
    """Embeds images, or arrays of any kind, with a frozen backbone.

    As a transformer it takes anything that `featx.as_source` takes and returns features. With a
    ``store``, no image is embedded twice, in whatever folds and pipelines it comes along.

    Parameters
    ----------
    backbone : str, path-like, BackboneSpec or keras.Model, default="efficientnet_lite0"
        A registered name (`featx.list_backbones`), a ``.keras`` file, or a model of your own.
    pooling : str, default="avg"
        How feature maps become vectors: "avg", "max", "gem" (the generalized mean with the exponent 3), or
        "none", which flattens them; several joined by "+", such as "avg+max", stand side by side.
    taps : sequence of str, default=()
        Names of inner layers to keep in place of the output (`featx.list_taps`); "top" stands for the
        output. A tap may have a pooling of its own: ``"block_10:max"``.
    input_size : tuple of int, optional
        (height, width) that images are resized to, in pixels; by default the backbone's own. Of arrays, the
        shape of one sample, where the model leaves it open.
    weights : {"imagenet", None}, default="imagenet"
        None initialises at random, the same way for the same ``random_state``.
    preprocessing : str, default="auto"
        "auto" is the registered backbone's own; a model of your own needs one of "none", "unit", "tf",
        "torch", "caffe", "lite" (`featx.features.frozen.PREPROCESSING`).
    inputs : {"images", "arrays"}, default="images"
        What samples are. A model of your own may take arrays of any shape and type, such as spectrograms,
        token ids or rows of a table: anything that `featx.as_value_source` takes, as it is.
    n_views : int, default=1
        Views of each image, each a row of its group. The first is the image itself.
    views : str or sequence of str, default=("flip", "crop")
        What the other views are made by: any of "flip", "quarter_turn", "crop", "shift", "zoom", "colour".
    batch_size : int or "auto", default=32
        Images in a forward pass. "auto" doubles 32 for as long as that is faster and fits.
    precision : {"float32", "bfloat16", "float16", "auto"}, default="float32"
        Of the forward pass; it is in the spec. "auto" is bfloat16 where the hardware has it.
    engine : {"auto", "keras", "onnx", "openvino"}, default="auto"
        What runs the forward pass; "auto" is the fastest that is installed and gives Keras's features.
    store : path-like or FeatureStore, optional
        Where features are kept. None keeps them nowhere: every call embeds anew.
    random_state : int, optional
        Seed of weights initialised at random, and of the views.

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

    def transform(self, X: Any) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        X : ImageSource, path-like, sequence of path-like, ndarray, or data set
            n_samples images or arrays: anything that `source_of` takes.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        DecodeError
            At the first image that cannot be read: a transformer may not drop rows.
        BackboneError
            With several views: a transformer may not add rows either.
        """
        # `extract` takes an extractor and an extractor is a way to call it: one of them imports late.
        from featx.features.extraction import extract

        check_is_fitted(self)
        if self.spec_.n_views > 1:
            received = f"n_views={self.spec_.n_views} in a transformer"
            raise BackboneError(explain(received, "one row an image", "pass the extractor to featx.extract"))
        source = self.source_of(X).without_labels()
        return extract(source, self, store=self.store, measure_precision=False).X

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

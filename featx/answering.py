"""A head's answers on features, block by block: a matrix larger than the memory passes through it.

Every view of an image is in one block, so that an image is answered once, by the mean over its views. Where a
cluster is at hand and the head is slow enough for that to pay, the blocks are answered there; the answers are
those that the head gives here, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from featx.heads.averaging import ViewAverage

if TYPE_CHECKING:
    from featx.features.feature_set import FeatureSet

# To send a block of 4 MB, and have its answers back, takes this process a fifth of that.
_PAYS_FROM_BLOCK_S = 0.05
# Processes that start on the cluster import scikit-learn first.
_PAYS_FROM_S = 10.0


class Block(NamedTuple):
    """Some rows of a feature matrix.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    images : ndarray of shape (n_rows,), int, or None
        Image of each row, from 0; None where every row is an image itself.
    """

    X: np.ndarray
    images: np.ndarray | None = None


class BlockAnswers(NamedTuple):
    """What a head says of the images of a block.

    Attributes
    ----------
    labels : ndarray of shape (n_images,)
        Among the head's ``classes_``.
    probabilities : ndarray of shape (n_images, n_classes) or None
        None of a head without probabilities.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None


def blocks_of(features: FeatureSet) -> Iterator[Block]:
    """Every row of a feature set, in order, in blocks of bounded size.

    Parameters
    ----------
    features : FeatureSet
        As `featx.extract` gives it: the views of an image stand together, as many of each.

    Yields
    ------
    Block

    Examples
    --------
    >>> from featx import FeatureSet
    >>> features = FeatureSet(np.zeros((4, 1), np.float32), view=np.array([0, 1, 0, 1]))
    >>> [block.images for block in blocks_of(features)]
    [array([0, 0, 1, 1])]
    """
    n_views = int(features.view.max(initial=0)) + 1
    for _, X in features.rows.blocks(multiple_of=n_views):
        yield Block(X, None if n_views == 1 else np.arange(len(X)) // n_views)


def answer(head: BaseEstimator, block: Block) -> BlockAnswers:
    """What a fitted head says of a block.

    Parameters
    ----------
    head : estimator
        Fitted; with a score for each class, where there are several views.
    block : Block

    Returns
    -------
    BlockAnswers

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> head = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> answer(head, Block(np.array([[1.0], [3.0], [6.0]]), np.array([0, 0, 1]))).labels
    array([0, 1])
    """
    asked = head if block.images is None else ViewAverage(head, block.images)
    has_probabilities = hasattr(asked, "predict_proba")
    return BlockAnswers(
        np.asarray(asked.predict(block.X)),
        np.asarray(asked.predict_proba(block.X)) if has_probabilities else None,
    )


def answers_on(
    features: FeatureSet, head: BaseEstimator, *, cluster: str | None = None
) -> Iterator[BlockAnswers]:
    """A head's answers on every image of a feature set, in order, block by block.

    Parameters
    ----------
    features : FeatureSet
    head : estimator
        Fitted.
    cluster : str, optional
        Address of a Ray cluster to send blocks to, if the first one shows that it pays: a linear head is
        done with a block before it is sent.

    Yields
    ------
    BlockAnswers

    Raises
    ------
    ClusterError
        When no cluster answers, or its machines fail again and again.
    """
    blocks = blocks_of(features)
    for first in blocks:
        started = perf_counter()
        answered = answer(head, first)
        block_s = perf_counter() - started
        yield answered
        if cluster is not None and _pays(block_s, n_left=len(features) / len(first.X) - 1):
            from featx.distributed.prediction import answers_on_ray

            yield from answers_on_ray(head, blocks, address=cluster)
            return
        # Not asked again: a block that was slow by chance says nothing of the others.
        break
    for block in blocks:
        yield answer(head, block)


def _pays(block_s: float, *, n_left: float) -> bool:
    """Whether a cluster answers sooner, reading aside: each block is read here either way."""
    return block_s > _PAYS_FROM_BLOCK_S and n_left * block_s > _PAYS_FROM_S

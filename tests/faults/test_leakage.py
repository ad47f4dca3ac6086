"""Labels drawn by lot: whatever featx scores on them is chance, and what would leak is shown to.

Images are noise, their features real: featx embeds them, their views, their copies and their near-copies.
"""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import (
    ArraySource,
    FeatureExtractor,
    HeadSearch,
    HeadSpec,
    ImageClassifier,
    ManifestSource,
    extract,
    holdout_split,
    nested_scores,
)
from featx.embedding import images_of
from tests.conftest import TINY

N_IMAGES, N_CLASSES = 200, 10
CHANCE = 1 / N_CLASSES

#: A fold's images are guessed one by one, but one image may be the nearest of several: more than a binomial's
#: 0.021, as measured.
DEVIATION = 0.03

N_SEEDS_BY_CLASSIFIER = 5

#: Of every seed, by what was scored: their mean tells of a leak that no single score does.
SCORES: dict[str, list[float]] = {}

NEAREST = HeadSpec("nearest", make_pipeline(StandardScaler(), KNeighborsClassifier(1)), {})
#: What looks at the labels or at all rows stands inside, where a fold fits it anew.
SELECTED = HeadSpec(
    "selected",
    make_pipeline(
        VarianceThreshold(), StandardScaler(), SelectKBest(k=100), PCA(10), LogisticRegression(max_iter=200)
    ),
    {},
)

each_seed = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(1, 20))]
)


def drawn(seed):
    """Images of noise, and their classes, equally large."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (N_IMAGES, 8, 8, 3)).astype(np.uint8)
    return images, rng.permutation(np.arange(N_IMAGES) % N_CLASSES)


def embedded(source, **options):
    return extract(source, FeatureExtractor(TINY, **options), store=None)


def at_chance(ledger, score, what):
    ledger.inject()
    SCORES.setdefault(what, []).append(score)
    if abs(score - CHANCE) > 3 * DEVIATION:
        ledger.lose(f"{what}: {score:.3f}")


def leaks(ledger, score, what):
    """The wrong way must break the bound that the right way keeps, or that shows nothing."""
    if score < CHANCE + 3 * DEVIATION:
        ledger.lose(f"{what} does not leak ({score:.3f}): the test has no power")


def scored(features, spec, seed, **options):
    search = HeadSearch(spec, cv=5, random_state=seed, refit=False)
    return search.fit(features.X, features.y, features.groups, **options).best_score_


def by_classifier(ledger, source, extractor, spec, seed):
    """The same from the images on, which embeds them anew: for some of the seeds."""
    if seed < N_SEEDS_BY_CLASSIFIER:
        classifier = ImageClassifier(extractor, spec, store=None, random_state=seed).fit(source)
        at_chance(ledger, classifier.search_.best_score_, f"{spec.name}, by ImageClassifier")


def carelessly(features, spec, seed):
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_score(spec.estimator, features.X, features.y, cv=folds).mean()


@each_seed
@pytest.mark.protocol("T14", "P15", "views of images whose labels are drawn by lot")
def test_views_teach_nothing(seed, ledger):
    images, y = drawn(seed)
    # Each image shifted by a little, and so nearest to itself.
    extractor = FeatureExtractor(TINY, n_views=4, views="shift", pooling="none")
    source = ArraySource(images, y)
    features = extract(source, extractor, store=None)
    leaks(ledger, carelessly(features, NEAREST, seed), "a fold that parts views")
    at_chance(ledger, scored(features, NEAREST, seed), "views, grouped")
    at_chance(ledger, scored(features, NEAREST, seed, images=images_of(features)), "views, averaged")
    train, test = holdout_split(features.y, features.groups, test_size=0.25, random_state=seed)
    if set(np.array(features.image_sha256)[train]) & set(np.array(features.image_sha256)[test]):
        ledger.lose("an image on both sides of a holdout split")
    by_classifier(ledger, source, extractor, NEAREST, seed)


@each_seed
@pytest.mark.protocol("T14", "P15", "copies of images whose labels are drawn by lot")
def test_copies_teach_nothing(seed, ledger):
    images, y = drawn(seed)
    copied = np.random.default_rng(seed).permutation(np.r_[np.arange(N_IMAGES), np.arange(N_IMAGES)])
    source = ArraySource(images[copied], y[copied])
    features = embedded(source)
    assert features.report.n_cached == N_IMAGES
    leaks(ledger, carelessly(features, NEAREST, seed), "a fold that parts copies")
    at_chance(ledger, scored(features, NEAREST, seed), "copies")
    by_classifier(ledger, source, FeatureExtractor(TINY), NEAREST, seed)


@each_seed
@pytest.mark.protocol("T14", "P15", "near-copies, known by a group, whose labels are drawn by lot")
def test_near_copies_teach_nothing(seed, ledger, tmp_path):
    images, y = drawn(seed)
    paths, labels, groups = [], [], []
    for index, pixels in enumerate(images):
        for suffix, options in ((".png", {}), (".jpg", {"quality": 95}), (".webp", {"quality": 95})):
            path = tmp_path / f"{index}{suffix}"
            content = io.BytesIO()
            Image.fromarray(pixels).resize((16, 16)).save(
                content, suffix[1:].replace("jpg", "jpeg"), **options
            )
            path.write_bytes(content.getvalue())
            paths.append(path)
            labels.append(y[index])
            groups.append(f"scene {index}")
    order = np.random.default_rng(seed).permutation(len(paths))
    (tmp_path / "m.csv").write_text(
        "path,label,scene\n" + "".join(f"{paths[row]},{labels[row]},{groups[row]}\n" for row in order)
    )
    features = embedded(ManifestSource(tmp_path / "m.csv", group_column="scene"))
    leaks(ledger, carelessly(features, NEAREST, seed), "a fold that parts near-copies")
    at_chance(ledger, scored(features, NEAREST, seed), "near-copies")


@each_seed
@pytest.mark.protocol("T14", "P15", "selection, scaling and PCA on labels drawn by lot")
def test_what_is_fitted_is_fitted_within_a_fold(seed, ledger):
    images, y = drawn(seed)
    source = ArraySource(images, y)
    extractor = FeatureExtractor(TINY, pooling="none", taps=("first", "second"))
    features = extract(source, extractor, store=None)
    assert features.n_features > 3 * N_IMAGES
    outside = make_pipeline(VarianceThreshold(), StandardScaler(), SelectKBest(k=100)).fit_transform(
        features.X, y
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    leaks(
        ledger,
        cross_val_score(LogisticRegression(max_iter=200), outside, y, cv=folds).mean(),
        "a selection outside the folds",
    )
    at_chance(ledger, scored(features, SELECTED, seed), "a selection inside")
    by_classifier(ledger, source, extractor, SELECTED, seed)
    # Of many candidates the best is a little too good; nested, it is not.
    search = HeadSearch(["knn", "ridge"], cv=3, random_state=seed)
    at_chance(ledger, nested_scores(search, features.X, y, features.groups, cv=3).mean, "a search, nested")


@pytest.mark.faults
@pytest.mark.protocol("T14", "P15", "the mean over all seeds")
def test_the_mean_over_seeds_is_no_better_than_chance(ledger):
    # Runs last, after the seeds.
    assert SCORES
    for what, scores in SCORES.items():
        ledger.inject()
        if np.mean(scores) > CHANCE + 3 * DEVIATION / len(scores) ** 0.5:
            ledger.lose(f"{what}: {np.mean(scores):.3f} in the mean of {len(scores)} seeds")

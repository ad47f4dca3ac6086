"""The measures against plain loops and scikit-learn, every group left out, and on degenerate input."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from featx.insight import separability as module
from featx.insight.separability import (
    Spectrum,
    centroid_accuracy,
    knn_accuracy,
    log_evidence,
    ridge_decisions,
    ridge_scores,
    standardise,
)


def digits(n_samples, n_columns=64, seed=0):
    """Real, many classes, with constant columns; more samples than features or fewer."""
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))[:n_samples]
    return standardise(X[rows, :n_columns]), np.unique(y[rows], return_inverse=True)[1]


each_grouping = pytest.mark.parametrize("is_grouped", [False, True], ids=["alone", "in groups"])


def members_of(is_grouped, n_samples):
    """Group of each sample: its own, or of one to six samples, whatever their class."""
    if not is_grouped:
        return np.arange(n_samples)
    groups = np.random.default_rng(0).integers(0, n_samples // 3, n_samples)
    return np.unique(groups, return_inverse=True)[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_columns_are_scaled_as_the_heads_scale_them(dtype):
    X = load_digits().data.astype(dtype)
    expected = StandardScaler().fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(standardise(X), expected, atol=1e-5)


# ------------------------------------------------------------------------------------------------- LogME


def naive_evidence(Z, target):
    """The density of a target's contrasts, which no intercept moves, at the alpha and beta that a general
    optimiser finds from several starts."""
    n_samples = len(Z)
    contrasts = np.linalg.svd(np.ones((1, n_samples)))[2][1:]
    kernel = contrasts @ Z.astype(np.float64) @ Z.T.astype(np.float64) @ contrasts.T
    y = contrasts @ target

    def loss(logs):
        alpha, beta = np.exp(logs)
        return -multivariate_normal.logpdf(y, cov=kernel / alpha + np.eye(len(y)) / beta)

    starts = [(np.log(Z.shape[1]) + shift, 2.0) for shift in (0, 4)]
    return -min(minimize(loss, start, method="Nelder-Mead").fun for start in starts) / len(y)


def fixed_point_evidence(Z, target, n_iterations=500):
    """Algorithm 1 of You et al. 2021 with explicit inverses, for the centred target and n - 1 samples."""
    Z, n_samples, n_features = Z.astype(np.float64), len(Z) - 1, Z.shape[1]
    alpha = beta = 1.0
    for _ in range(n_iterations):
        precision = alpha * np.eye(n_features) + beta * Z.T @ Z
        mean = beta * np.linalg.solve(precision, Z.T @ target)
        gamma = n_features - alpha * np.trace(np.linalg.inv(precision))
        residual = ((Z @ mean - target) ** 2).sum()
        alpha, beta = gamma / (mean @ mean), (n_samples - gamma) / residual
    precision = alpha * np.eye(n_features) + beta * Z.T @ Z
    mean = beta * np.linalg.solve(precision, Z.T @ target)
    evidence = n_features * np.log(alpha) + n_samples * np.log(beta / (2 * np.pi))
    evidence -= beta * ((Z @ mean - target) ** 2).sum() + alpha * mean @ mean
    return (evidence - np.linalg.slogdet(precision)[1]) / (2 * n_samples)


@pytest.mark.parametrize("evidence", [naive_evidence, fixed_point_evidence])
@pytest.mark.parametrize(("n_samples", "n_columns"), [(50, 20), (30, 64)], ids=["tall", "wide"])
def test_the_evidence_is_the_best_of_the_model(evidence, n_samples, n_columns):
    Z, codes = digits(n_samples, n_columns)
    # Remainders are hard to tell from few pixels: the optimum is neither all signal nor all noise.
    codes %= 3
    targets = np.eye(3)[codes] - np.eye(3)[codes].mean(axis=0)
    expected = np.mean([evidence(Z, target) for target in targets.T])
    assert log_evidence(Spectrum.of(Z, codes)) == pytest.approx(expected, abs=1e-6)


def test_features_that_say_nothing_have_the_evidence_of_noise():
    codes = np.arange(40) % 2
    of_noise = -(np.log(2 * np.pi * 10 / 39) + 1) / 2
    constant = np.zeros((40, 3), np.float32)
    assert log_evidence(Spectrum.of(constant, codes)) == pytest.approx(of_noise)
    # Orthogonal to the classes.
    column = standardise(np.repeat([[0.0], [1.0]], 20, axis=0))
    assert log_evidence(Spectrum.of(column, codes)) == pytest.approx(of_noise, abs=1e-4)


def test_features_that_are_the_classes_have_finite_evidence():
    codes = np.arange(40) % 2
    spectrum = Spectrum.of(standardise(np.eye(2)[codes]), codes)
    assert log_evidence(spectrum) > 5
    assert np.isfinite(log_evidence(spectrum))


@pytest.mark.parametrize(("n_samples", "n_columns"), [(200, 64), (40, 64)], ids=["tall", "wide"])
def test_the_spectrum_is_a_singular_value_decomposition(n_samples, n_columns, monkeypatch):
    # Several blocks to a Gram matrix.
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1000)
    Z, codes = digits(n_samples, n_columns)
    spectrum = Spectrum.of(Z, codes)
    expected = np.linalg.svd(Z.astype(np.float64), compute_uv=False) ** 2
    expected = expected[expected > 1e-10 * expected[0]]
    np.testing.assert_allclose(spectrum.values[::-1], expected, rtol=1e-5)
    np.testing.assert_allclose(spectrum.basis.T @ spectrum.basis, np.eye(len(expected)), atol=1e-6)
    np.testing.assert_allclose((spectrum.basis * spectrum.values) @ spectrum.basis.T, Z @ Z.T, atol=1e-3)


# ------------------------------------------------------------------------------------ what is left out


@each_grouping
@pytest.mark.parametrize("n_neighbors", [1, 5])
def test_neighbours_are_those_of_scikit_learn(is_grouped, n_neighbors, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 300 * 64)
    Z, codes = digits(300)
    members = members_of(is_grouped, 300)
    head = KNeighborsClassifier(n_neighbors, metric="cosine", algorithm="brute", weights="distance")
    expected = cross_val_score(head, Z, codes, groups=members, cv=LeaveOneGroupOut())
    # The accuracy of a group is its own mean.
    sizes = np.bincount(members)
    assert knn_accuracy(Z, codes, members, n_neighbors) == pytest.approx((expected * sizes).sum() / 300)


def test_copies_do_not_vouch_for_each_other():
    codes = np.arange(60) % 3
    Z = standardise(np.random.default_rng(0).normal(size=(60, 20)))
    twice, codes_twice = np.repeat(Z, 2, axis=0), np.repeat(codes, 2)
    together = np.repeat(np.arange(60), 2)
    assert knn_accuracy(twice, codes_twice, np.arange(120), 1) == 1.0
    for measure in (knn_accuracy, centroid_accuracy):
        assert measure(twice, codes_twice, together) < 0.6
    spectrum = Spectrum.of(twice, codes_twice)
    assert ridge_scores(spectrum, codes_twice, together)[0] < 0.6


def test_fewer_neighbours_where_a_group_leaves_fewer():
    Z, codes = digits(12)
    members = np.r_[np.zeros(9, int), 1, 2, 3]
    assert 0 <= knn_accuracy(Z, codes, members, 5) <= 1


@each_grouping
def test_centroids_are_taken_without_each_group(is_grouped, monkeypatch):
    # A few cells at once.
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 64 * 50)
    Z, codes = digits(300)
    members = members_of(is_grouped, 300)
    n_hits = 0
    for train, test in LeaveOneGroupOut().split(Z, groups=members):
        centroids = [Z[train][codes[train] == label].mean(axis=0) for label in range(10)]
        distances = np.linalg.norm(Z[test][:, None] - np.array(centroids), axis=2)
        n_hits += (distances.argmin(axis=1) == codes[test]).sum()
    assert centroid_accuracy(Z, codes, members) == n_hits / 300


@each_grouping
@pytest.mark.parametrize("n_samples", [150, 50], ids=["tall", "wide"])
def test_ridge_is_fitted_anew_without_each_group(is_grouped, n_samples, monkeypatch):
    monkeypatch.setattr(module, "_PENALTIES", np.array([0.3]))
    Z, codes = digits(n_samples)
    members = members_of(is_grouped, n_samples)
    spectrum = Spectrum.of(Z, codes)
    penalty = 0.3 * spectrum.values.mean()
    expected = np.empty_like(spectrum.targets)
    for train, test in LeaveOneGroupOut().split(Z, groups=members):
        ridge = Ridge(penalty, fit_intercept=False).fit(Z[train].astype(np.float64), spectrum.targets[train])
        expected[test] = ridge.predict(Z[test])
    found = ridge_decisions(spectrum, members)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    shares = np.bincount(codes) / n_samples
    accuracy, roc_auc = ridge_scores(spectrum, codes, members)
    assert accuracy == ((expected + shares).argmax(axis=1) == codes).mean()
    areas = [roc_auc_score(codes == label, expected[:, label]) for label in range(10)]
    assert roc_auc == pytest.approx(np.mean(areas))


def test_the_penalty_is_the_one_with_the_least_error(monkeypatch):
    Z, codes = digits(150)
    spectrum, members = Spectrum.of(Z, codes), np.arange(150)
    chosen = ridge_decisions(spectrum, members)
    errors = []
    for penalty in module._PENALTIES:
        monkeypatch.setattr(module, "_PENALTIES", np.array([penalty]))
        errors.append(((ridge_decisions(spectrum, members) - spectrum.targets) ** 2).sum())
    assert ((chosen - spectrum.targets) ** 2).sum() == min(errors)
    assert len(set(errors)) == len(errors)


def test_noise_is_at_chance():
    # An intercept fitted without the sample would put it in the other class each time.
    codes = np.arange(200) % 2
    Z = standardise(np.random.default_rng(0).normal(size=(200, 30)))
    accuracy, roc_auc = ridge_scores(Spectrum.of(Z, codes), codes, np.arange(200))
    assert 0.4 < accuracy < 0.6
    assert 0.4 < roc_auc < 0.6


def test_constant_features_are_no_obstacle():
    codes, members = np.arange(30) % 3, np.arange(30)
    Z = standardise(np.ones((30, 4)))
    assert ridge_scores(Spectrum.of(Z, codes), codes, members) == (pytest.approx(1 / 3), 0.5)
    assert 0 <= knn_accuracy(Z, codes, members) <= 1
    assert centroid_accuracy(Z, codes, members) == pytest.approx(1 / 3)


def test_easy_features_score_high():
    X, y = load_iris(return_X_y=True)
    Z, members = standardise(X), np.arange(len(y))
    accuracy, roc_auc = ridge_scores(Spectrum.of(Z, y), y, members)
    assert accuracy > 0.75
    assert roc_auc > 0.9
    assert knn_accuracy(Z, y, members) > 0.8

#!/usr/bin/env python
"""Search heads of your own choosing on a feature file, and score the best on a part set aside.

    featx extract photos/ --out f.h5
    .venv/bin/python scripts/grid_search.py f.h5 --out m.featx

Edit HEADS: any scikit-learn classifier, in a Pipeline if it wants its features scaled.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import featx

HEADS = [
    "logistic_regression",  # one of featx's own, with its default grid
    featx.HeadSpec(
        "pca_logistic_regression",
        Pipeline([("scale", StandardScaler()), ("pca", PCA()), ("head", LogisticRegression(max_iter=2000))]),
        {"pca__n_components": [0.8, 0.95], "head__C": [0.01, 0.1, 1.0]},
    ),
    featx.HeadSpec(
        "polynomial_svm",
        Pipeline([("scale", StandardScaler()), ("head", SVC(kernel="poly", degree=2))]),
        {"head__C": [0.1, 1.0, 10.0]},
    ),
]


def main() -> None:
    """Parse the command line and search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--out", type=Path, help="model file to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    features = featx.FeatureSet.load(options.features)
    labelled = np.flatnonzero(features.y >= 0)
    groups = np.array(features.groups)
    # Copies of one image, and whatever you grouped, stay on one side of every split.
    parts = featx.holdout_split(features.y[labelled], groups[labelled], random_state=options.seed)
    train, test = (labelled[part] for part in parts)
    search = featx.HeadSearch(HEADS, n_jobs=-1, random_state=options.seed, verbose=1)
    search.fit(features.X[train], features.y[train], groups[train])
    for candidate in search.leaderboard()[:10]:
        print(f"{candidate['mean_test_score']:.4f}  {candidate['head']}  {candidate['params']}")

    names = [features.class_names[label] for label in search.classes_]
    scores = featx.evaluate(
        search, features.X[test], features.y[test], class_names=names, groups=groups[test]
    )
    low, high = scores.accuracy_ci
    print(f"held out: accuracy {scores.accuracy:.4f} [{low:.3f}, {high:.3f}] on {scores.n_samples} samples")
    if options.out:
        featx.save_head(
            search,
            options.out,
            class_names=names,
            extraction_spec=features.spec and features.spec.to_json(),
            training_images=[features.image_sha256[row] for row in train],
        )
        print(f"wrote {options.out}: featx predict {options.out} FOLDER")


if __name__ == "__main__":
    main()

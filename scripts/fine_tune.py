#!/usr/bin/env python
"""From a folder of images to a fine-tuned, exported classifier, scored on images it never saw.

    .venv/bin/python scripts/fine_tune.py photos/ --unfreeze last:2 --epochs 10 --out model.keras

Linear probe first, then fine-tuning from it. Kill it whenever you like: with --checkpoint it goes on where it
was, and ends with the same weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import featx


def main() -> None:
    """Parse the command line, probe, fine-tune, score and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, help="folder with one subfolder a class, or a CSV manifest")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", choices=["imagenet", "none"], default="imagenet")
    parser.add_argument("--input-size", type=int, help="side in pixels; default: the backbone's own")
    parser.add_argument("--unfreeze", default="last:1", help="none, last:N blocks, or all")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--flip", action="store_true", help="augment by horizontal flips")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("model.keras"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    source = featx.as_source(options.images)
    extractor = featx.FeatureExtractor(
        options.backbone,
        weights=None if options.weights == "none" else "imagenet",
        input_size=options.input_size and (options.input_size, options.input_size),
    )
    # The test part is set aside before anything is fitted; copies of an image are on one side of it.
    features = featx.extract(source, extractor, verbose=1)
    labelled, groups = np.flatnonzero(features.y >= 0), np.array(features.groups)
    parts = featx.holdout_split(features.y[labelled], groups[labelled], random_state=options.seed)
    train, test = (labelled[part] for part in parts)

    classifier = featx.ImageClassifier(extractor, random_state=options.seed, n_jobs=-1, verbose=1)
    classifier.fit(source.select(train))
    tuner = classifier.fine_tune(
        source.select(train),
        unfreeze=options.unfreeze,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        augmentation=featx.Augmentation("horizontal") if options.flip else None,
        checkpoint=options.checkpoint,
        random_state=options.seed,
    )
    result = tuner.result_
    print(f"validation part: frozen {result.frozen.accuracy:.4f}, fine-tuned {result.finetuned.accuracy:.4f}")
    print(f"kept: {result.kept}")

    y = np.array(features.class_names)[features.y[test]]
    scores = {name: np.mean(each.predict(source.select(test)) == y) for name, each in
              (("linear probe", classifier), (result.kept, tuner))}  # fmt: skip
    for name, accuracy in scores.items():
        print(f"test part, {name}: accuracy {accuracy:.4f} on {len(test)} images")

    report = featx.export_model(tuner.model_, options.out)
    print(f"wrote {report.path}; largest difference {report.max_abs_difference:.1e}")


if __name__ == "__main__":
    main()

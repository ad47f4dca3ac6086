#!/usr/bin/env python
"""Embed folders of images with several backbones, one feature file for each pair.

    .venv/bin/python scripts/bulk_embed.py photos/ more_photos/ --backbone efficientnet_lite0 --out features/

Interrupt it whenever you like and run it again: nothing is embedded twice. Images that cannot be read are
listed at the end; they never stop the rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import featx


def main() -> None:
    """Parse the command line and embed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--backbone", action="append", help="repeatable; default: efficientnet_lite0")
    parser.add_argument("--weights", choices=["imagenet", "none"], default="imagenet")
    parser.add_argument("--input-size", type=int, help="side in pixels; default: the backbone's own")
    parser.add_argument("--out", type=Path, default=Path("features"))
    options = parser.parse_args()

    for folder in options.folders:
        for name in options.backbone or ["efficientnet_lite0"]:
            extractor = featx.FeatureExtractor(
                name,
                weights=None if options.weights == "none" else "imagenet",
                input_size=options.input_size and (options.input_size, options.input_size),
            )
            features = featx.extract(folder, extractor, on_error="skip", verbose=1)
            path = options.out / f"{folder.name}-{name}.h5"
            features.save(path)
            report = features.report
            print(
                f"{path}: {len(features)} rows, {report.n_computed} embedded, {report.n_cached} cached, "
                f"{report.n_failed} failed, {report.images_per_second:.0f} images/s"
            )
            for failure in report.failed:
                print(f"  {failure.sample_id}: {failure.reason}")


if __name__ == "__main__":
    main()

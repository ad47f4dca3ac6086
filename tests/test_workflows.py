"""The README's recipes, which are the workflows of transfer-learning tutorials, run on tiny data.

With random weights, because ImageNet's have to be downloaded, and on small images; everything else is as it
stands there.
"""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import featx
from tests.conftest import make_images, write_class_folder

README = (Path(__file__).parent.parent / "README.md").read_text()
RECIPES = re.findall(r"```python recipe\n(.*?)```", README, flags=re.DOTALL)
TITLES = re.findall(r"^\*\*\d\. (.*?)[:;,.]", README, flags=re.MULTILINE)

# So that random features are no obstacle: a linear classifier on thumbnails does better than they do.
pytestmark = pytest.mark.filterwarnings(
    "ignore:negative transfer:featx.errors.FeatxWarning",
    # Too few images for a multi-layer perceptron to converge, and nobody asks it to.
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning",
)


@pytest.fixture
def namespace(tmp_path, monkeypatch):
    """Folders and arrays as the recipes name them, and a featx that downloads no weights."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("photos", 0), ("train", 1), ("validation", 2)):
        write_class_folder(tmp_path / name, 24, seed)
    untrained = partial(featx.FeatureExtractor, weights=None, input_size=(48, 48))

    def classifier(backbone, *arguments, **options):
        extractor = backbone if isinstance(backbone, featx.FeatureExtractor) else untrained(backbone)
        return featx.ImageClassifier(extractor, *arguments, **options)

    offline = {**{name: getattr(featx, name) for name in featx.__all__}}
    offline |= {"FeatureExtractor": untrained, "ImageClassifier": classifier}
    images, y = make_images(60, size=(32, 32)), np.arange(60) % 10
    return {
        "featx": SimpleNamespace(**offline),
        "MLPClassifier": __import__("sklearn.neural_network").neural_network.MLPClassifier,
        "x_train": images[:50],
        "y_train": y[:50],
        "x_test": images[50:],
        "y_test": y[50:],
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=TITLES)
def test_a_recipe_runs(recipe, namespace, capsys):
    assert len(RECIPES) == len(TITLES) == 5
    exec(compile(recipe, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    result = namespace["tuner"].result_
    assert result.kept in ("frozen", "finetuned")
    assert result.kept == "frozen" or result.finetuned.rank > result.frozen.rank
    if "last:2" in recipe and "none" in recipe:
        trainable = [int(line.split()[1]) for line in printed.splitlines()]
        memory = [int(line.split()[2]) for line in printed.splitlines()]
        assert trainable == sorted(trainable)
        assert memory == sorted(memory)

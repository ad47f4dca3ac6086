"""A head that came out of a file answers, or it is said what is wrong with it."""

import pytest
from sklearn.preprocessing import StandardScaler

from featx import StoreCorruptError, load_head
from featx.heads.soundness import unsoundness
from featx.heads.spaces import resolve_heads
from tests.faults.malicious_heads import ANSWERS, digits, fitted

# What only shows in a search for neighbours, or in training, does no harm to an answer.
ANSWERED = {"unknown metric", "votes of no class", "optimizer of words"}


@pytest.mark.parametrize("spec", resolve_heads("default"), ids=lambda spec: spec.name)
def test_every_default_head_is_sound(spec):
    assert unsoundness(spec.estimator.fit(*digits(n_classes=3))) is None


@pytest.mark.parametrize("kind", ["columns", "neighbors", "network", "plain"])
def test_heads_of_own_steps_are_sound(kind):
    assert unsoundness(fitted(kind)) is None


def test_what_is_no_classifier_is_not_asked():
    assert unsoundness(StandardScaler().fit([[0.0]])) is None


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - ANSWERED))
def test_a_head_of_hostile_attributes_is_refused_on_loading(name, tmp_path):
    (tmp_path / "m.featx").write_bytes(ANSWERS[name]())
    with pytest.raises(StoreCorruptError, match=r"m\.featx is damaged: its head (does|takes|has) "):
        load_head(tmp_path / "m.featx")

"""The demo's protocol, on the real cells; the whole of it runs in the slow suite."""

import numpy as np
import pytest

from featx.demo import _solar_cells, run_demo

pytest.importorskip("elpv_dataset", reason="the extra demo is not installed")


def test_the_cells_are_the_published_ones():
    source, probability, wafer_type = _solar_cells()
    assert len(source) == 2624
    assert source.class_names == ["defective", "functional"]
    assert int((source.labels == 0).sum()) == 821
    np.testing.assert_array_equal(source.labels == 0, probability > 0.5)
    assert {name: int((wafer_type == name).sum()) for name in ("mono", "poly")} == {
        "mono": 1074,
        "poly": 1550,
    }
    assert source.read(0, 1)[0].fetch().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_demo_reaches_its_figures_and_embeds_once(tmp_path):
    first = run_demo(store=tmp_path, n_jobs=2)
    assert first.features.report.n_computed == 2624
    assert first.result.test.n_samples == 656
    assert first.result.test.accuracy >= 0.845
    assert first.result.test.roc_auc >= 0.89
    assert {name: part.n_samples for name, part in first.by_type.items()} == {"mono": 268, "poly": 388}
    subgroups = {group.value: group.n_samples for group in first.result.test.subgroups}
    assert subgroups == {"mono": 268, "poly": 388}
    second = run_demo(store=tmp_path, n_jobs=2)
    assert second.features.report.n_computed == 0
    assert second.features.report.seconds < first.features.report.seconds / 10
    assert second.result.test == first.result.test

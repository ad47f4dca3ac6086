"""How far samples are prepared ahead."""

import numpy as np

from featx.features import execution
from featx.features.execution import n_samples_ahead
from featx.features.preparation import ArrayPreparation


def test_as_much_is_prepared_ahead_whatever_a_sample_takes():
    def ahead(shape, n_views):
        return n_samples_ahead(ArrayPreparation(shape, "uint8"), 32, n_views) * n_views * np.prod(shape)

    most = execution._BYTES_AHEAD
    assert ahead((224, 224, 3), 1) <= most
    assert ahead((224, 224, 3), 8) <= most
    # A batch at least, however large its rows.
    assert ahead((10_000_000,), 1) == 32 * 10_000_000

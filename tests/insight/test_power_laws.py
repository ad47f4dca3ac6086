"""Power laws: found again where the curve is one, bounded where it is none."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from featx.insight.power_laws import fit_power_laws

SIZES = np.array([50, 100, 200, 400, 800])


@pytest.mark.parametrize(("ceiling", "gap", "rate"), [(0.9, 1.0, 0.5), (0.75, 0.5, 0.25), (0.99, 2.0, 1.0)])
def test_a_law_is_found_again(ceiling, gap, rate):
    laws = fit_power_laws(SIZES, (ceiling - gap * SIZES**-rate)[None])
    assert (laws.ceiling[0], laws.gap[0], laws.rate[0]) == pytest.approx((ceiling, gap, rate))
    assert laws.at(np.array([3200]))[0, 0] == pytest.approx(ceiling - gap * 3200.0**-rate)


def test_noise_leaves_as_little_as_a_solver_does():
    rng = np.random.default_rng(0)
    curve = 0.85 - 1.2 / np.sqrt(SIZES) + rng.normal(0, 0.004, 5)

    def law(n, ceiling, gap, rate):
        return ceiling - gap * n**-rate

    bounds = (0, -10, 0.1), (1, 10, 1.5)
    solved, _ = curve_fit(law, SIZES, curve, p0=(0.8, 1.0, 0.5), sigma=1 / np.sqrt(SIZES), bounds=bounds)
    laws = fit_power_laws(SIZES, curve[None])
    errors = [
        SIZES @ (curve - fitted) ** 2
        for fitted in (law(SIZES, *solved), law(SIZES, laws.ceiling, laws.gap, laws.rate))
    ]
    # Rates are tried in steps.
    assert errors[0] <= errors[1] < 1.1 * errors[0]
    assert laws.at(np.array([3200]))[0, 0] == pytest.approx(law(3200.0, *solved), abs=0.002)


def test_curves_are_fitted_each_for_itself():
    curves = np.stack([0.9 - SIZES**-0.5, 0.7 - 0.4 * SIZES**-0.3])
    together = fit_power_laws(SIZES, curves).at(np.array([1600]))
    alone = [fit_power_laws(SIZES, curve[None]).at(np.array([1600]))[0] for curve in curves]
    assert together == pytest.approx(np.stack(alone))


def test_no_law_goes_above_1():
    steep = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    laws = fit_power_laws(SIZES, steep[None])
    assert laws.ceiling[0] == 1.0
    assert 0.9 < laws.at(np.array([1600, 10**9]))[0, 0] < 1.0


def test_flat_and_falling_curves_stay_so():
    flat, falling = np.full(5, 0.7), 0.7 + 0.5 / SIZES
    laws = fit_power_laws(SIZES, np.stack([flat, falling]))
    assert laws.at(np.array([3200]))[0, 0] == pytest.approx(0.7)
    assert laws.gap[1] < 0

"""The rule in all its branches. For n = 3, t(0.975, 2 degrees) = 4.302653."""

import numpy as np
import pytest

from segrepro.verdict import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Evidence, decide, holm


def evidence(differences, direction="greater", margin=0.5):
    return Evidence("", np.array(differences, dtype=float), direction, margin)


def verdict(differences, direction="greater", margin=0.5):
    return decide([evidence(differences, direction, margin)])[0]


def test_interval_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, standard error 1 / sqrt(3)."""
    low, high = evidence([1, 2, 3]).interval
    assert low == pytest.approx(2 - 4.302653 / 3**0.5, rel=1e-6)
    assert high == pytest.approx(2 + 4.302653 / 3**0.5, rel=1e-6)


@pytest.mark.parametrize("direction", ["greater", "less", "equivalent", "not_greater", "nonzero"])
def test_an_undefined_effect_decides_nothing(direction):
    assert verdict([np.nan, np.nan, np.nan], direction) == INCONCLUSIVE


def spread(mean, half):
    """Three differences whose 95 % interval is mean +- half."""
    step = half * 3**0.5 / 4.302653
    return [mean - step, mean, mean + step]


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (0.1, 2.0, "greater", REPRODUCED),
        (0.1, 0.3, "greater", REPRODUCED),  # within the margin, but above zero
        (-0.1, 2.0, "greater", INCONCLUSIVE),
        (-0.1, 0.4, "greater", NOT_REPRODUCED),  # wholly short of the margin
        (-2.0, -1.0, "greater", NOT_REPRODUCED),
        (-2.0, -0.1, "less", REPRODUCED),
        (-2.0, 0.1, "less", INCONCLUSIVE),
        (-0.4, 0.1, "less", NOT_REPRODUCED),
        (1.0, 2.0, "less", NOT_REPRODUCED),
        (-0.4, 0.4, "equivalent", REPRODUCED),
        (-0.4, 0.6, "equivalent", INCONCLUSIVE),
        (-0.6, 0.6, "equivalent", INCONCLUSIVE),
        (0.6, 2.0, "equivalent", NOT_REPRODUCED),
        (-2.0, -0.6, "equivalent", NOT_REPRODUCED),
        (-2.0, 0.4, "not_greater", REPRODUCED),
        (-0.1, 0.6, "not_greater", INCONCLUSIVE),
        (0.1, 0.6, "not_greater", NOT_REPRODUCED),
        (0.1, 0.3, "nonzero", REPRODUCED),
        (-2.0, -0.1, "nonzero", REPRODUCED),
        (-0.1, 0.4, "nonzero", NOT_REPRODUCED),  # next to nothing
        (-0.1, 2.0, "nonzero", INCONCLUSIVE),
    ],
)
def test_one_comparison(low, high, direction, expected):
    differences = spread((low + high) / 2, (high - low) / 2)
    assert evidence(differences).interval == pytest.approx((low, high), abs=1e-6)
    assert verdict(differences, direction) == expected


def test_one_seed_is_inconclusive():
    assert verdict([3.0]) == INCONCLUSIVE
    assert np.isnan(evidence([3.0]).interval).all()


def test_seeds_that_agree_exactly():
    assert verdict([1.0, 1.0, 1.0]) == REPRODUCED
    assert verdict([0.0, 0.0, 0.0]) == NOT_REPRODUCED
    assert verdict([0.0, 0.0, 0.0], "equivalent") == REPRODUCED
    assert evidence([1.0, 1.0, 1.0]).interval == (1.0, 1.0)


def test_holm_by_hand():
    """0.01 x 3 = 0.03; 0.02 x 2 = 0.04; 0.03 x 1 = 0.03, raised to 0.04 because it cannot fall."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.02]), [0.04, 0.03, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.04]), [0.04])


def test_all_of_needs_every_comparison():
    sure, likely, unsure, short = [5, 5.01, 4.99], spread(1.0, 0.99), spread(1.0, 3.0), [-1, -1.01, -0.99]
    assert decide([evidence(sure), evidence(sure)])[0] == REPRODUCED
    assert decide([evidence(sure), evidence(likely)])[0] == REPRODUCED  # Holm: the larger p is not multiplied
    assert decide([evidence(likely), evidence(likely)])[0] == INCONCLUSIVE  # each alone would be reproduced
    assert decide([evidence(likely)])[0] == REPRODUCED
    outcome, decisive = decide([evidence(sure), evidence(unsure)])
    assert (outcome, decisive.effect) == (INCONCLUSIVE, pytest.approx(1.0))
    outcome, decisive = decide([evidence(sure), evidence(short), evidence(unsure)])
    assert (outcome, decisive.effect) == (NOT_REPRODUCED, pytest.approx(-1.0))


def test_a_small_certain_effect_does_not_fail_an_open_claim():
    """The first lies between zero and the margin, so it is reproduced; alone the second is inconclusive."""
    small, open_ = evidence([0.20, 0.22, 0.18, 0.21, 0.19]), evidence([3, -1, 2, 4, -2])
    assert [decide([one])[0] for one in (small, open_)] == [REPRODUCED, INCONCLUSIVE]
    assert decide([small, open_]) == (INCONCLUSIVE, open_)
    failed = evidence([-3, -3.1, -2.9, -3.2, -2.8])
    assert decide([small, open_, failed]) == (NOT_REPRODUCED, failed)


def test_all_of_against_is_corrected_too():
    barely_short = spread(0.0, 0.49)
    assert verdict(barely_short) == NOT_REPRODUCED
    assert decide([evidence(barely_short), evidence([5, 5.01, 4.99])])[0] == INCONCLUSIVE

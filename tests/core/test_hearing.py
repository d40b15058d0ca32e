"""What is taken to sound: hand-computed strengths, rivals, and the agreement of ear and eye."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.pipeline.hearing import HearingSettings, listen

SETTINGS = HearingSettings(faint=0.04, steepness=1.5, rival_below=0.5, empty_below=0.25)
SEEN = np.array([1.0, 0.5, 0.0], dtype=np.float32)


def heard(*weights: float) -> np.ndarray:
    return np.array(weights, dtype=np.float32)


def test_a_weight_at_faint_counts_half() -> None:
    # Odds (0.96 / 0.04)^1.5 = 24^1.5 of the strongest, 1 at `faint`: a logistic of the log weight.
    strength = listen(heard(0.96, 0.04, 0.0), SEEN, SETTINGS).strength
    strongest = 24**1.5 / (1 + 24**1.5)
    np.testing.assert_allclose(strength, [1.0, 0.5 / strongest, 0.0], rtol=1e-5)


def test_the_count_falls_by_the_power_of_the_weight() -> None:
    # A quarter of `faint`: odds (1/4)^1.5 = 1/8, so a ninth. Four times `faint`: 8/9.
    strength = listen(heard(0.83, 0.16, 0.01), SEEN, SETTINGS).strength
    odds = (0.83 / 0.04) ** 1.5
    np.testing.assert_allclose(strength[1:] * odds / (1 + odds), [8 / 9, 1 / 9], rtol=1e-5)


def test_steepness_makes_a_step_of_it() -> None:
    weights = heard(0.9, 0.07, 0.03)
    flat, steep = (
        listen(weights, SEEN, HearingSettings(faint=0.05, steepness=power)).strength
        for power in (0.5, 20.0)
    )
    assert 0.4 < flat[2] < flat[1] < 0.8
    assert steep[1] > 0.99
    assert steep[2] < 0.01


def test_the_strongest_is_one_and_the_order_stays() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        weights = rng.dirichlet(np.full(8, 0.3)).astype(np.float32)
        strength = listen(weights, weights, HearingSettings()).strength
        assert strength.dtype == np.float32
        assert strength.max() == 1.0
        assert strength.min() >= 0
        assert strength.argmax() == weights.argmax()
        assert (np.diff(strength[np.argsort(weights)]) >= 0).all()


def test_both_sources_of_a_mix_sound_fully_while_a_trace_does_not() -> None:
    """As shipped: their number is decided here, so a second source must not be halved."""
    strength = listen(heard(0.6, 0.395, 0.005), SEEN, HearingSettings()).strength
    assert strength[1] > 0.95
    assert strength[2] < 0.15


def test_a_group_is_a_rival_the_less_it_is_heard() -> None:
    hearing = listen(heard(0.95, 0.04, 0.01), SEEN, SETTINGS)
    # 1 - strength / 0.5 where that is positive.
    assert hearing.silence[0] == 0.0
    assert hearing.silence[1] == 0.0
    assert hearing.silence[2] == pytest.approx(1 - hearing.strength[2] / 0.5, abs=1e-6)
    assert 0.7 < hearing.silence[2] < 0.8
    assert listen(heard(1.0, 0.0, 0.0), SEEN, SETTINGS).silence.tolist() == [0.0, 1.0, 1.0]


def test_agreement_is_the_cosine_of_heard_and_seen() -> None:
    # (0.8, 0.2, 0) . (0.3, 0.4, 0) = 0.32; norms sqrt(0.68) and 0.5.
    hearing = listen(heard(0.8, 0.2, 0.0), heard(0.3, 0.4, 0.0), SETTINGS)
    assert hearing.agreement == pytest.approx(0.32 / (0.68**0.5 * 0.5), abs=1e-6)
    assert listen(heard(0.0, 1.0, 0.0), heard(0.0, 0.2, 0.0), SETTINGS).agreement == pytest.approx(
        1.0, abs=1e-6
    )
    assert listen(heard(0.0, 0.0, 1.0), SEEN, SETTINGS).agreement == 0.0


def test_being_seen_does_not_make_a_group_sound() -> None:
    weights = heard(0.7, 0.25, 0.05)
    there = listen(weights, heard(1.0, 1.0, 1.0), SETTINGS)
    gone = listen(weights, heard(1.0, 0.0, 0.0), SETTINGS)
    np.testing.assert_array_equal(there.strength, gone.strength)
    assert there.agreement != gone.agreement


def test_nothing_heard_or_nothing_seen_is_no_division_by_zero() -> None:
    with np.errstate(all="raise"):
        deaf = listen(heard(0.0, 0.0, 0.0), SEEN, SETTINGS)
        blind = listen(heard(1.0, 0.0, 0.0), heard(0.0, 0.0, 0.0), SETTINGS)
    assert deaf.strength.tolist() == [0.0, 0.0, 0.0]
    assert deaf.silence.tolist() == [1.0, 1.0, 1.0]
    assert deaf.agreement == 0.0
    assert blind.agreement == 0.0
    assert blind.strength[0] == 1.0

"""Balance: shares of sources, crops and perceived groups, as near to proportional as bounds leave them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from sana_bench.data.balance import Cell, balanced_weights, check_balance, groups_of, picture_weights
from sana_bench.data.raking import Margin, rake
from sana_bench.data.samples import People, Picture
from sana_bench.data.shares import repetition_note, shares_of
from sana_bench.errors import ConfigError, DataError
from sana_bench.train_config import BalanceSection

FEMININE, MASCULINE = {"gender": "feminine"}, {"gender": "masculine"}


def bound(group: str, low: float = 0.0, high: float = 1.0) -> BalanceSection:
    return BalanceSection(group=group, min_share=low, max_share=high)


def pictures(*kinds: tuple[int, dict[str, str]], source: str = "people", crop: bool = False) -> list[Picture]:
    """So many pictures of one source with each of some perceived groups."""
    box = (0, 0, 32, 32) if crop else None
    return [Picture(source=source, path=Path("a.png"), content="0", name=f"{kind}_{number}", text="", size=(64, 64), crop=box, people=People(groups=groups))
            for kind, (count, groups) in enumerate(kinds) for number in range(count)]


def share(chosen: list[Picture], weights_N: np.ndarray, group: str) -> float:
    """Among those in which the attribute is perceived."""
    perceived_N = np.array([group.partition("=")[0] in picture.people.groups for picture in chosen])
    of_group_N = np.array([group in groups_of(picture, ("gender", "age", "skin_tone")) for picture in chosen])
    return weights_N[of_group_N].sum() / weights_N[perceived_N].sum()


def test_without_bounds_every_picture_of_a_source_is_drawn_equally_and_sources_have_their_shares():
    chosen = pictures((10, FEMININE), (30, MASCULINE)) + pictures((5, {}), source="general")
    weights = picture_weights(chosen, {"people": 0.7, "general": 0.3}, (), 0.0)
    np.testing.assert_allclose(weights, [0.7 / 40] * 40 + [0.3 / 5] * 5, rtol=1e-12)


def test_crops_have_their_share_of_each_source_that_has_any():
    chosen = pictures((10, {})) + pictures((4, {}), crop=True) + pictures((5, {}), source="general")
    weights = picture_weights(chosen, {"people": 0.6, "general": 0.4}, (), 0.25)
    np.testing.assert_allclose(weights, [0.45 / 10] * 10 + [0.15 / 4] * 4 + [0.4 / 5] * 5, rtol=1e-12)


def test_a_share_of_zero_draws_no_crops_and_counts_nobody_on_them():
    chosen = pictures((10, MASCULINE)) + pictures((4, FEMININE), crop=True)
    np.testing.assert_array_equal(picture_weights(chosen, {"people": 1.0}, (), 0.0)[10:], 0)
    with pytest.raises(DataError, match="no image is perceived as such"):
        picture_weights(chosen, {"people": 1.0}, [bound("gender=feminine", 0.2)], 0.0)


def test_one_bound_scales_its_group_to_it_and_leaves_the_undetermined_alone():
    """10 and 70 of 80 perceived become 40 and 40 where at least half is asked for; 20 of 100 stay undetermined."""
    chosen = pictures((10, FEMININE), (70, MASCULINE), (20, {}))
    weights = picture_weights(chosen, {"people": 1.0}, [bound("gender=feminine", 0.5)], 0.0)
    np.testing.assert_allclose(weights, [0.04] * 10 + [0.4 / 70] * 70 + [0.01] * 20, rtol=1e-9)


def test_a_bound_that_holds_already_changes_nothing():
    chosen = pictures((40, FEMININE), (40, MASCULINE), (20, {}))
    weights = picture_weights(chosen, {"people": 1.0}, [bound("gender=feminine", 0.4, 0.6)], 0.0)
    np.testing.assert_allclose(weights, 0.01, rtol=1e-9)


def test_of_three_groups_the_two_without_bounds_keep_their_ratio():
    chosen = pictures((60, {"skin_tone": "light"}), (30, {"skin_tone": "medium"}), (10, {"skin_tone": "dark"}))
    weights = picture_weights(chosen, {"people": 1.0}, [bound("skin_tone=dark", 0.4)], 0.0)
    assert [share(chosen, weights, f"skin_tone={tone}") for tone in ("light", "medium", "dark")] == pytest.approx([0.4, 0.2, 0.4], abs=1e-9)


def test_a_share_of_nothing_leaves_a_group_out():
    chosen = pictures((60, {"age": "under_30"}), (40, {"age": "over_50"}))
    weights = picture_weights(chosen, {"people": 1.0}, [bound("age=under_30", 0.0, 0.0)], 0.0)
    np.testing.assert_allclose(weights, [0] * 60 + [1 / 40] * 40, rtol=1e-9)


def test_sources_stay_exact_under_bounds_across_them():
    """All that is feminine in one source must make up for the other, and both sources keep their shares."""
    chosen = pictures((20, FEMININE), (40, MASCULINE)) + pictures((30, MASCULINE), (70, {}), source="general")
    weights = picture_weights(chosen, {"people": 0.75, "general": 0.25}, [bound("gender=feminine", 0.5, 0.6)], 0.0)
    assert weights[:60].sum() == pytest.approx(0.75, abs=1e-15) and share(chosen, weights, "gender=feminine") == pytest.approx(0.5, abs=1e-9)
    assert weights[90:].sum() == pytest.approx(0.25 * 0.7, abs=1e-9)


def margins_of(labels: list[np.ndarray], low: list[np.ndarray], high: list[np.ndarray]) -> list[Margin]:
    return [Margin(*each) for each in zip(labels, low, high, strict=True)]


def by_optimizer(prior_C: np.ndarray, margins: list[Margin]) -> np.ndarray:
    """The same projection by a general optimizer: least sum w log(w / prior) under linear constraints. Some margin has shares with sum 1, not bounds."""
    constraints = []
    for margin in margins:
        of_class_KC = np.eye(len(margin.low_K))[margin.labels_C].T
        equal_K = margin.low_K == margin.high_K
        constraints += [{"type": "eq", "fun": lambda w, a=of_class_KC[equal_K], b=margin.low_K[equal_K]: a @ w - b},
                        {"type": "ineq", "fun": lambda w, a=of_class_KC[~equal_K], b=margin.low_K[~equal_K]: a @ w - b},
                        {"type": "ineq", "fun": lambda w, a=of_class_KC[~equal_K], b=margin.high_K[~equal_K]: b - a @ w}]
    constraints = [each for each in constraints if np.size(each["fun"](prior_C))]
    found = minimize(lambda w: float(np.sum(w * np.log(w / prior_C))), prior_C, jac=lambda w: np.log(w / prior_C) + 1, method="SLSQP",
                     bounds=[(1e-9, 1)] * len(prior_C), constraints=constraints, options={"maxiter": 500, "ftol": 1e-15})
    assert found.success, found.message
    return found.x


@pytest.mark.parametrize("seed", range(12))
def test_raking_with_bounds_is_the_projection_that_an_optimizer_finds(seed):
    """Cells of 2 strata x 2 x 3 classes; bounds a little around the shares of other random weights, so that they can be met and several bind."""
    random = np.random.default_rng(seed)
    labels = [np.array(each) for each in zip(*product(range(3), range(2), range(2)), strict=True)]
    prior_C, other_C = random.dirichlet(np.full(12, 2.0)), random.dirichlet(np.full(12, 2.0))
    shares = [np.bincount(each, other_C) for each in labels]
    low = [shares[0] - 0.02, shares[1] - 0.05, shares[2]]
    high = [shares[0] + 0.03, shares[1] + 0.05, shares[2]]
    margins = margins_of(labels, low, high)
    weights_C, expected_C = rake(prior_C, margins), by_optimizer(prior_C, margins)
    np.testing.assert_allclose(weights_C, expected_C, atol=2e-6)
    binding = sum(int((np.abs(margin.shares(weights_C) - edge) < 1e-9).sum()) for margin in margins[:2] for edge in (margin.low_K, margin.high_K))
    assert binding >= 1, "no bound binds: this is plain iterative proportional fitting"


@given(st.lists(st.integers(1, 60), min_size=8, max_size=8), st.lists(st.floats(0.05, 1), min_size=8, max_size=8), st.floats(0.0, 0.1))
def test_bounds_that_can_be_met_are_met_whatever_the_counts(counts, other, room):
    """Cells of two sources, two presentations and two tones; bounds around the shares of other weights of the same strata."""
    cells = [Cell((source, False), frozenset({f"gender={gender}", f"skin_tone={tone}"}))
             for source, gender, tone in product("ab", ("feminine", "masculine"), ("light", "dark"))]
    other_C = np.array(other)
    other_C = np.concatenate([0.4 * other_C[:4] / other_C[:4].sum(), 0.6 * other_C[4:] / other_C[4:].sum()])
    balance = []
    for group in ("gender=feminine", "skin_tone=dark"):
        reachable = other_C[[group in cell.groups for cell in cells]].sum()
        balance.append(bound(group, max(reachable - room, 0), min(reachable + room, 1)))
    weights_C = balanced_weights(cells, counts, {("a", False): 0.4, ("b", False): 0.6}, balance)
    assert weights_C.min() >= 0 and weights_C[:4].sum() == pytest.approx(0.4, abs=1e-12) and weights_C[4:].sum() == pytest.approx(0.6, abs=1e-12)
    for each in balance:
        reached = weights_C[[each.group in cell.groups for cell in cells]].sum()
        assert each.min_share - 1e-3 <= reached <= each.max_share + 1e-3


def test_problems_of_the_settings_come_together_with_near_names():
    balance = [bound("gender=femininine", 0.2), bound("age=over_50", 0.6), bound("age=under_30", 0.6), bound("age=over_50", 0.1)]
    with pytest.raises(ConfigError) as error:
        check_balance(balance)
    assert 'Did you mean "gender=feminine"?' in str(error.value) and "age=over_50 has 2 entries" in str(error.value)
    with pytest.raises(ConfigError, match="add up to 1.2"):
        check_balance(balance[1:3])
    with pytest.raises(ConfigError, match="all groups of gender, add up to 0.7 and leave 0.3 to none"):
        check_balance([bound("gender=feminine", 0, 0.3), bound("gender=masculine", 0, 0.4)])
    check_balance([bound("gender=feminine", 0.5, 0.5), bound("gender=masculine", 0.5, 0.5), bound("age=over_50", 0, 0.1)])


@pytest.mark.parametrize(("balance", "message"), [
    ([bound("skin_tone=dark", 0.1)], "min_share 0.1 of skin_tone=dark, and no image is perceived as such.*Perceived are: no skin_tone at all"),
    ([bound("age=over_50", 0.1)], "min_share 0.1 of age=over_50.*Perceived are: age=under_30"),
    ([bound("age=under_30", 0, 0.4)], "allows age=under_30 0.4 at most, and there are images of no other group of age"),
    ([bound("gender=feminine", 0.9)], r"gender=feminine reaches 75\.0%, and min_share is 90\.0%")])
def test_bounds_that_these_pictures_cannot_meet_say_so(balance, message):
    chosen = pictures((20, FEMININE | {"age": "under_30"}), (40, MASCULINE)) + pictures((30, MASCULINE), source="general")
    with pytest.raises(DataError, match=f"(?s){message}"):
        picture_weights(chosen, {"people": 0.75, "general": 0.25}, balance, 0.0)


def test_a_source_without_pictures_is_named():
    with pytest.raises(DataError, match="general, which has a share of 0.25"):
        picture_weights(pictures((3, {})), {"people": 0.75, "general": 0.25}, (), 0.0)


def test_a_share_of_crops_where_there_are_none_is_refused():
    with pytest.raises(DataError, match="crop_share is 0.2, and there is no zoomed crop.*max_enlargement"):
        picture_weights(pictures((3, {})), {"people": 1.0}, (), 0.2)


def test_an_attribute_that_nobody_shows_bounds_nothing():
    weights = picture_weights(pictures((4, {})), {"people": 1.0}, [bound("gender=feminine", 0, 0.5)], 0.0)
    np.testing.assert_allclose(weights, 0.25)


def test_shares_before_and_after_are_those_of_images_and_draws():
    chosen = pictures((2, FEMININE), (6, MASCULINE), (2, {})) + pictures((5, {}), source="general") + pictures((3, FEMININE), crop=True)
    draws = np.array([3, 3] + [1] * 6 + [2, 2] + [1] * 5 + [1] * 3)
    shares = {each.name: (each.before, each.after) for each in shares_of(chosen, draws)}
    assert shares == {"source=people": (pytest.approx(10 / 15), pytest.approx(19 / 24)), "source=general": (pytest.approx(5 / 15), pytest.approx(5 / 24)),
                      "gender=feminine": (pytest.approx(2 / 8), pytest.approx(9 / 15)), "gender=masculine": (pytest.approx(6 / 8), pytest.approx(6 / 15)),
                      "crops": (pytest.approx(3 / 18), pytest.approx(3 / 24))}
    assert repetition_note(shares_of(chosen, draws)).startswith("gender=feminine: 25.0% of the images and 60.0% of the samples, so that each is seen 2.4 times")


def test_one_source_of_nobody_has_no_shares_and_no_note():
    shares = shares_of(pictures((4, {})), np.ones(4))
    assert shares == () and repetition_note(shares) == ""


def test_few_crops_with_a_large_share_are_noted():
    chosen = pictures((18, MASCULINE)) + pictures((2, MASCULINE), crop=True)
    weights = picture_weights(chosen, {"people": 1.0}, (), 0.4)
    assert repetition_note(shares_of(chosen, weights)).startswith("crops: 10.0% of the images and 40.0% of the samples, so that each is seen 4.0 times")


def test_equal_draws_leave_nothing_to_note():
    chosen = pictures((2, FEMININE), (6, MASCULINE))
    assert repetition_note(shares_of(chosen, np.ones(8))) == ""


def test_weights_depend_on_the_pictures_and_not_on_their_order():
    chosen = pictures((3, FEMININE | {"age": "over_50"}), (9, MASCULINE), (4, MASCULINE | {"age": "under_30"}), (2, {}))
    balance = [bound("gender=feminine", 0.3), bound("age=under_30", 0.2, 0.5)]
    order = np.random.default_rng(0).permutation(len(chosen))
    weights, shuffled = (picture_weights(each, {"people": 1.0}, balance, 0.0) for each in (chosen, [chosen[index] for index in order]))
    np.testing.assert_allclose(weights[order], shuffled, rtol=1e-9)
    assert all(np.ptp(alike) == 0 for alike in np.split(weights, [3, 12, 16]))

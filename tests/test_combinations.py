"""The papers' methods two by two."""

import pytest
from factories import make_run

from segrepro import ledger
from segrepro.analysis.combinations import PAPERS, configuration_of, gains, obstacle


def test_pairs_that_want_one_slot_say_which():
    assert "each replaces 'main_loss'" in obstacle("dropclass", "lff")
    assert "each replaces" in obstacle("dropclass", "essnet")
    assert obstacle("lff", "essnet")
    assert obstacle("region_rebalance", "fbnet") == obstacle("fbnet", "fbnet") == ""


@pytest.mark.parametrize("first", PAPERS)
@pytest.mark.parametrize("second", PAPERS)
def test_what_can_be_combined_is_in_the_ledger(first, second):
    if not obstacle(first, second):
        methods = ledger.configuration(configuration_of(first, second)).methods
        assert sorted(methods) == sorted({first, second})
        assert ledger.configurations_needed("synthetic")[configuration_of(first, second)] >= 3


def test_gains_are_paired_by_seed(tmp_path):
    """The pair gains 10 points in seed 0 and 20 in seed 1; its seed 2 has no baseline."""
    ious = {"plain": [0.2, 0.3], "dropclass+fbnet": [0.3, 0.5, 0.9]}
    runs = {name: [make_run(tmp_path, seed=seed, methods=ledger.configuration(name).methods, ious=[iou] * 3)
                   for seed, iou in enumerate(values)] for name, values in ious.items()}  # fmt: skip
    table = gains(lambda name: runs.get(name, [])).set_index(["first", "second"])
    assert len(table) == 12  # five alone and seven pairs
    assert table.loc[("dropclass", "fbnet"), "gain"] == pytest.approx(15)
    assert table.loc[("dropclass", "fbnet"), "seeds"] == 2
    assert table.loc[("dropclass", "fbnet"), "low"] < 0 < table.loc[("dropclass", "fbnet"), "high"]
    assert table.loc[("lff", "fbnet")].isna()["gain"]

"""Tables of scores, on runs whose counts are made up."""

import numpy as np
import pytest
from factories import make_run

from segrepro.analysis import scores


def test_summary_and_classes_by_hand(tmp_path):
    names = ["road", "car"]
    before, after = np.array([[6, 2], [2, 0]]), np.array([[6, 2], [0, 2]])
    runs = {
        "plain": [make_run(tmp_path / f"p{s}", matrix=before, names=names, rare=["car"], seed=s) for s in (0, 1)],
        "dropclass": [make_run(tmp_path / "d", matrix=after, names=names, rare=["car"], methods=["dropclass"])],
    }
    table = scores.summary(runs)
    assert table.loc["Plain", "mIoU"] == "30.0 ± 0.0"  # road 6/10, car 0/4
    assert table.loc["Plain", "rare mIoU"] == "0.0 ± 0.0"
    assert table.loc["DropClass", "pixel accuracy"] == "80.0"
    classes = scores.by_class(runs)
    assert list(classes.index)[-2:] == ["rare", "all"]
    assert classes.loc["car", "Δ DropClass"] == pytest.approx(50)  # 2/4
    assert classes.loc["all", "Δ DropClass"] == pytest.approx((100 * 6 / 8 - 60 + 50) / 2)

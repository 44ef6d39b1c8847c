"""Tables of scores, on runs whose counts are made up."""

import numpy as np
import pandas as pd
import pytest
from factories import make_run

from segrepro import plots
from segrepro.analysis import scores
from segrepro.errors import InputError


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


def test_where_no_class_is_named_rare_it_is_the_rarer_half(tmp_path):
    matrix = np.array([[6, 2], [2, 0]])  # road 6/10, car 0/4; the second class is the rarer one
    names = ["road", "car"]
    runs = {"plain": [make_run(tmp_path / str(s), matrix=matrix, names=names, rare=(), seed=s) for s in (0, 1)]}
    assert scores.summary(runs).loc["Plain", ["mIoU", "rare mIoU"]].tolist() == ["30.0 ± 0.0", "0.0 ± 0.0"]
    assert scores.by_class(runs).loc["rare", "Plain"] == 0


def test_an_empty_table_says_so():
    assert scores.as_text(pd.DataFrame()).to_numpy().tolist() == [["nothing recorded yet"]]


def test_whole_images_have_no_iou(tmp_path):
    with pytest.raises(InputError, match="colored_digits has one label an image"):
        scores.summary({"plain": [make_run(tmp_path, dataset="colored_digits")]})


def board_of(*rows):
    return pd.DataFrame(rows, columns=["id", "data", "verdict"])


def test_coverage_counts_a_claim_once_for_each_kind_of_data():
    board = board_of(
        ("dropclass-C1", "synthetic", "reproduced"),
        ("dropclass-C1", "camvid", "inconclusive (n = 3)"),
        ("lff-C3", "colored_mnist", "not reproduced"),
        ("lff-C3", "bar", "not reproduced"),
        ("dropclass-C2", "synthetic", "not judged"),
        ("lff-C12", "any", "reproduced"),
        ("lff-C9", "-", "not judged"),
    )
    table = scores.coverage(board)
    assert list(table) == ["claims", "judged", "computed", "embedded data", "real data", "as in the paper"]
    assert table.loc["takes a training"].tolist() == [3, 2, 0, 1, 2, 1]
    assert table.loc["takes much data or memory"].tolist() == [1, 0, 0, 0, 0, 0]
    assert table.loc["exact: arithmetic, no training"].tolist() == [1, 1, 1, 0, 0, 0]
    assert table.loc["all"].tolist() == [5, 3, 1, 1, 2, 1]


def test_verdicts_are_drawn_in_the_order_of_the_data_sets():
    board = board_of(("a", "camvid", "reproduced"), ("b", "-", "not judged"), ("c", "synthetic", "inconclusive"),
                     ("d", "any", "reproduced"))  # fmt: skip
    (axes,) = plots.verdict_counts(board).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["any data", "synthetic", "camvid", "no data yet"]
    assert axes.yaxis_inverted()
    other = board[board["data"] == "synthetic"].assign(data="synthetic (architecture pspnet)")
    (axes,) = plots.verdict_counts(pd.concat([board, other])).axes
    assert [label.get_text() for label in axes.get_yticklabels()][1:3] == [
        "synthetic",
        "synthetic (architecture pspnet)",
    ]

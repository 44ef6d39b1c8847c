import numpy as np
import pytest
from splits import ArraySplit

from segrepro.datasets.base import IGNORE
from segrepro.datasets.statistics import Statistics, class_statistics

# Pixels of class 0: 3 + 2, of class 1: 1 + 0, of class 2: 0 + 1; one pixel is ignored.
SPLIT = ArraySplit([[[0, 0], [0, 1]], [[0, 0], [2, IGNORE]]])


def test_counts_by_hand():
    statistics = class_statistics(SPLIT)
    assert statistics.pixel_counts.tolist() == [5, 1, 1]
    assert statistics.presence.tolist() == [[True, True, False], [True, False, True]]
    assert statistics.images == 2
    assert statistics.image_counts.tolist() == [2, 1, 1]
    assert statistics.co_occurrence.tolist() == [[2, 1, 1], [1, 1, 0], [1, 0, 1]]
    assert statistics.pixel_frequency.tolist() == [5 / 7, 1 / 7, 1 / 7]
    assert statistics.pif == 5
    assert statistics.rif == 2


def test_classes_that_never_occur_are_named_and_left_out():
    split = ArraySplit([[[0, 0], [0, 1]]], classes=4)
    with pytest.warns(UserWarning, match="2 classes never occur.*class 2, class 3"):
        statistics = class_statistics(split)
    assert statistics.pif == 3
    assert statistics.rif == 1
    assert statistics.pixel_counts.tolist() == [3, 1, 0, 0]


def test_only_ignored_pixels():
    with pytest.warns(UserWarning, match="3 classes never occur"):
        statistics = class_statistics(ArraySplit([np.full((2, 2), IGNORE)]))
    assert np.isnan(statistics.pif)
    assert statistics.pixel_frequency.tolist() == [0, 0, 0]


def test_the_cache_saves_the_pass(tmp_path, monkeypatch):
    first = class_statistics(SPLIT, tmp_path / "statistics")
    monkeypatch.setattr(ArraySplit, "__getitem__", None)  # any reading of the split would fail now
    again = class_statistics(SPLIT, tmp_path / "statistics")
    assert np.array_equal(first.pixel_counts, again.pixel_counts)
    assert np.array_equal(first.presence, again.presence)
    assert again.pixel_counts.dtype == np.int64
    assert again.presence.dtype == bool


def test_other_content_is_counted_on_its_own(tmp_path):
    class_statistics(SPLIT, tmp_path)
    other = class_statistics(ArraySplit([[[0, 1], [2, 2]]]), tmp_path)
    assert other.pixel_counts.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00\xff",
        '{"pixel_counts": [5, 1, 1]}',
        '{"pixel_counts": [5, 1], "classes_of_images": [[0], [1]]}',
        '{"pixel_counts": [1, 2, 3], "classes_of_images": [[0]]}',
        '{"pixel_counts": [5, 1, 1], "classes_of_images": [[0], [7]]}',
        '{"pixel_counts": ["x", 1, 1], "classes_of_images": [[0], [1]]}',
    ],
)
def test_a_damaged_cache_is_named_and_written_anew(tmp_path, damage):
    expected = class_statistics(SPLIT, tmp_path)
    (path,) = tmp_path.iterdir()
    good = path.read_text()
    path.write_text(damage)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        again = class_statistics(SPLIT, tmp_path)
    assert np.array_equal(again.presence, expected.presence)
    assert path.read_text() == good


def test_many_classes():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 10_000, (16, 16)) for _ in range(4)]
    with pytest.warns(UserWarning, match="never occur"):
        statistics = class_statistics(ArraySplit(labels, classes=10_000))
    assert statistics.pixel_counts.sum() == 4 * 256
    assert statistics.image_counts.tolist() == [sum(int((array == c).any()) for array in labels) for c in range(10_000)]


def test_co_occurrence_is_symmetric_with_image_counts_on_the_diagonal():
    presence = np.random.default_rng(0).random((50, 7)) < 0.4
    statistics = Statistics(presence.sum(0), presence)
    assert np.array_equal(statistics.co_occurrence, statistics.co_occurrence.T)
    assert np.array_equal(statistics.co_occurrence.diagonal(), statistics.image_counts)

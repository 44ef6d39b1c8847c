import hashlib

import numpy as np
import pandas as pd
import pytest

from segrepro.datasets import synthetic
from segrepro.datasets.synthetic import SyntheticScenes
from segrepro.errors import InputError
from segrepro.files import PAPERS

CLASSES = SyntheticScenes.classes
# SHA-256 of image and label bytes of scenes 0 to 19 of seed 0. If a change to the drawing is meant, raise
# synthetic.VERSION with them.
HASHES = {
    (64, 128): "1f3ce73d293696d2831d3ec4b205bcc41df388ad83b55b9a4e226fdcc7d7f25f",
    (90, 121): "eaf3d0586a7cf4af4aa81502d172d196647e6b3934963d05d9dfaaea687783d4",
}


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """The 500 scenes that the class shares are stated for."""
    split = SyntheticScenes(seed=0, count=500, size=(128, 256))
    return [split[index] for index in range(500)]


@pytest.fixture(scope="module")
def counts(scenes) -> np.ndarray:
    """(500, 19): pixels of each class in each scene."""
    return np.stack([np.bincount(labels.ravel(), minlength=19) for _, labels in scenes])


@pytest.mark.parametrize("size", HASHES)
def test_scenes_are_the_same_bits_everywhere(size):
    digest = hashlib.sha256()
    split = SyntheticScenes(count=20, size=size)
    for index in range(20):
        image, labels = split[index]
        assert image.shape == (*size, 3)
        assert labels.shape == size
        assert (image.dtype, labels.dtype) == (np.uint8, np.int16)
        digest.update(image.tobytes() + labels.astype("<i2").tobytes())
    assert digest.hexdigest() == HASHES[size]


def test_order_of_access_does_not_matter():
    split = SyntheticScenes(count=5, first=3)
    later = split[4]
    np.testing.assert_array_equal(SyntheticScenes(count=1, first=7)[0][0], later[0])


@pytest.mark.parametrize("size", [(64, 128), (100, 160), (256, 512)])
def test_a_scene_is_the_same_at_any_size(scenes, size):
    rows = (np.arange(size[0]) + 0.5) * 128 // size[0]
    columns = (np.arange(size[1]) + 0.5) * 256 // size[1]
    split = SyntheticScenes(count=10, size=size)
    for index in range(10):
        expected = scenes[index][1][np.ix_(rows.astype(int), columns.astype(int))]
        assert (split[index][1] == expected).mean() > 0.93


def test_pixel_shares_are_those_of_table_1(counts):
    table = pd.read_csv(PAPERS / "tables" / "dropclass_table1.csv")
    target = table[table.metric == "pixel_pct"].drop_duplicates("class").set_index("class").value
    share = 100 * counts.sum(0) / counts.sum()
    off = {
        name: (round(value, 2), target[name])
        for name, value in zip(CLASSES.names, share, strict=True)
        if abs(value / target[name] - 1) > 0.35
    }
    assert off == {}


def test_how_often_classes_occur(counts):
    occurrence = (counts > 0).mean(0)
    assert occurrence.min() >= 0.03
    assert occurrence[CLASSES.indices(CLASSES.rare)].max() <= 0.4


def test_every_pixel_has_a_label(scenes):
    assert all(labels.min() >= 0 for _, labels in scenes)


def test_layout_is_that_of_a_street(scenes):
    labels = np.stack([labels for _, labels in scenes[:100]])
    road, sky = CLASSES.indices(["road", "sky"])
    assert (labels[:, -10:, 100:150] == road).mean() > 0.8
    assert not (labels[:, :40] == road).any()
    assert not (labels[:, 64:] == sky).any()


def _touching(labels: np.ndarray, name: str, others: tuple[str, ...]) -> bool:
    """Whether a pixel of `name` lies within three pixels of one of the others."""
    near = np.pad(np.isin(labels, CLASSES.indices(others)), 3)
    height, width = labels.shape
    grown = np.any([near[r : r + height, c : c + width] for r in range(7) for c in range(7)], axis=0)
    return bool((grown & (labels == CLASSES.names.index(name))).any())


@pytest.fixture(scope="module")
def placed() -> dict[float, list[np.ndarray]]:
    """Labels of 50 scenes, rich in rare things, with everything anywhere (0) and in its place (1)."""
    splits = {value: SyntheticScenes(count=50, size=(128, 256), rarity=0.4, co_location=value) for value in (0.0, 1.0)}
    return {value: [split[index][1] for index in range(50)] for value, split in splits.items()}


@pytest.mark.parametrize(
    ("name", "others"),
    [("rider", ("bicycle", "motorcycle")), ("traffic sign", ("pole",)), ("traffic light", ("pole",))],
)
def test_co_location_puts_things_where_they_belong(placed, name, others):
    """At 1 nearly all stand with their companion (something nearer may hide it), at 0 fewer, by chance."""
    label = CLASSES.names.index(name)
    share = {
        value: np.mean([_touching(labels, name, others) for labels in scenes if (labels == label).sum() > 20])
        for value, scenes in placed.items()
    }
    assert share[1.0] > 0.85
    assert share[0.0] < 0.65


def test_co_location_keeps_persons_off_the_road(placed):
    road, person = CLASSES.indices(["road", "person"])
    standing = {
        value: sum(((labels[:-1] == person) & (labels[1:] == road)).sum() for labels in scenes)
        for value, scenes in placed.items()
    }
    assert standing[0.0] > 3 * standing[1.0]


def test_co_location_leaves_the_street_as_it_is(placed):
    stuff = CLASSES.indices(["building", "sky"])
    for loose, tight in zip(placed[0.0], placed[1.0], strict=True):
        assert (np.isin(loose, stuff) == np.isin(tight, stuff)).mean() > 0.75


def test_rarity_thins_out_the_rare_classes_only(counts):
    rare = CLASSES.indices(CLASSES.rare)
    split = SyntheticScenes(count=100, size=(64, 128), rarity=4)
    thinned = np.stack([np.bincount(split[index][1].ravel(), minlength=19) for index in range(100)]) > 0
    usual = counts[:100] > 0
    assert thinned[:, rare].sum() < 0.4 * usual[:, rare].sum()
    common = CLASSES.indices(["person", "car", "pole"])
    np.testing.assert_allclose(thinned[:, common].mean(0), usual[:, common].mean(0), atol=0.1)


def test_rarity_below_one_makes_them_more_frequent():
    split = SyntheticScenes(count=30, rarity=0.01)
    bus = CLASSES.names.index("bus")
    assert sum((split[index][1] == bus).any() for index in range(30)) >= 25


@pytest.mark.parametrize("name", CLASSES.names)
def test_without_a_class_the_rest_stays(scenes, name):
    label = CLASSES.names.index(name)
    having = [index for index in range(500) if (scenes[index][1] == label).any()][:6]
    split = SyntheticScenes(count=500, size=(128, 256)).without(name)
    for index in having:
        (image, labels), (image_without, labels_without) = scenes[index], split[index]
        assert not (labels_without == label).any()
        np.testing.assert_array_equal(labels_without[labels != label], labels[labels != label])
        np.testing.assert_array_equal(image_without[labels != label], image[labels != label])


def test_what_a_removed_ground_or_sky_shows(scenes):
    for name, behind in (("road", "sidewalk"), ("sidewalk", "road"), ("sky", "building")):
        removed, shown = CLASSES.indices([name, behind])
        labels = SyntheticScenes(count=1, size=(128, 256)).without(name)[0][1]
        assert (labels[scenes[0][1] == removed] == shown).mean() > 0.8


def test_lighting_and_texture_vary(scenes):
    road = CLASSES.names.index("road")
    tones = np.array([image[labels == road].mean() for image, labels in scenes[:100]])
    assert tones.std() > 12
    assert np.mean([image[labels == road].std() for image, labels in scenes[:100]]) > 5


def test_train_and_validation_are_different_scenes():
    data = synthetic.load(train_scenes=30, val_scenes=20)
    assert (len(data.train), len(data.val), data.name) == (30, 20, "synthetic")
    seen = {data.train[index][0].tobytes() for index in range(30)}
    assert seen.isdisjoint(data.val[index][0].tobytes() for index in range(20))
    assert "scene 1000000 (seed 0)" in data.val.source(0)


def test_fingerprint_tells_apart_what_differs():
    usual = {"seed": 0, "first": 0, "count": 4, "size": (64, 128), "co_location": 0.9, "rarity": 1.0, "without": None}
    other = {"seed": 1, "first": 4, "count": 5, "size": (64, 64), "co_location": 0.5, "rarity": 2.0, "without": "car"}
    changed = {SyntheticScenes(**usual | {key: value}).fingerprint for key, value in other.items()}
    assert len(changed | {SyntheticScenes(**usual).fingerprint}) == len(other) + 1
    assert (
        SyntheticScenes(**usual).fingerprint == SyntheticScenes(**usual | {"rarity": 1, "size": [64, 128]}).fingerprint
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"co_location": 1.5}, "co_location is 1.5"),
        ({"co_location": float("nan")}, "co_location is nan"),
        ({"rarity": 0}, "rarity is 0"),
        ({"rarity": float("inf")}, "rarity is inf"),
        ({"train_scenes": 0}, "count is 0"),
        ({"size": (8, 128)}, "at least 16 pixels"),
        ({"scene_seed": -1}, "scene_seed is -1"),
    ],
)
def test_values_out_of_range_are_named(options, said):
    with pytest.raises(InputError, match=said):
        synthetic.load(**options)


def test_an_unknown_class_cannot_be_left_out():
    with pytest.raises(InputError, match="'lorry'.*truck"):
        SyntheticScenes(count=1).without("lorry")


def test_scenes_end():
    with pytest.raises(IndexError):
        SyntheticScenes(count=2)[2]

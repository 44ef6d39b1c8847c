"""The many-class scenes: the same bits everywhere, Zipf's law, classes that look the same however many there are."""

import hashlib

import numpy as np
import pytest

from segrepro import datasets
from segrepro.datasets.many_classes import ManyClasses
from segrepro.datasets.statistics import class_statistics
from segrepro.errors import InputError

# SHA-256 of image and label bytes of scenes 0 to 4 of seed 0 at 32 x 64. If a change to the drawing is meant, raise
# many_classes.VERSION with them.
HASHES = {
    19: "77cd1d57be26451f5b7402b2def885474d69cb45e7edff4190bac36eb44549e0",
    10_000: "0f5bb3b90fbb9c32c755918711f7ca6a11b90dc6b2a95deb68dda50478f6c41f",
}


def scenes(classes, count=5, size=(32, 64), **options):
    return ManyClasses(
        **{"classes": classes, "seed": 0, "first": 0, "count": count, "size": size, "name": "x", **options}
    )


@pytest.mark.parametrize("classes", HASHES)
def test_scenes_are_the_same_bits_everywhere(classes):
    digest = hashlib.sha256()
    split = scenes(classes)
    for index in range(5):
        image, labels = split[index]
        assert (image.shape, labels.shape) == ((32, 64, 3), (32, 64))
        assert (image.dtype, labels.dtype) == (np.uint8, np.int16)
        np.testing.assert_array_equal(split.labels(index), labels)
        digest.update(image.tobytes() + labels.astype("<i2").tobytes())
    assert digest.hexdigest() == HASHES[classes]


def test_a_scene_depends_on_its_number_alone():
    np.testing.assert_array_equal(scenes(19, first=3)[1][0], scenes(19, first=4)[0][0])
    assert (scenes(19)[0][1] != scenes(19)[1][1]).any()
    assert (scenes(19)[0][1] != scenes(19, seed=1)[0][1]).any()


def test_frequencies_follow_zipf():
    """Of 4 classes, 12/25, 6/25, 4/25 and 3/25 of the patches; their pixels within the noise of 400 scenes."""
    split = scenes(4, count=400, size=(16, 32))
    frequency = class_statistics(split).pixel_frequency
    np.testing.assert_allclose(frequency, np.array([12, 6, 4, 3]) / 25, atol=0.02)


def test_a_class_looks_the_same_among_few_and_many():
    """Each pixel is one of its class's two colours, up to the noise of -16 to 15; the colours are shared."""
    few, many = scenes(19), scenes(10_000)
    assert few.classes.colours == many.classes.colours[:19]
    image, labels = few[0]
    biggest = np.bincount(labels.ravel()).argmax()
    pixels = image[labels == biggest].astype(int)
    first = np.abs(pixels - few.classes.colours[biggest]).max(1) <= 16
    assert 0.3 < first.mean() < 0.7
    assert np.ptp(pixels[~first], axis=0).max() <= 31


def test_the_data_set_by_name():
    data = datasets.load("many_classes", classes=150, train_scenes=3, val_scenes=2, size=(32, 64))
    assert (len(data.classes), len(data.train), len(data.val)) == (150, 3, 2)
    assert data.classes.rare == data.classes.names[75:]
    assert data.train.fingerprint != data.val.fingerprint
    assert "150 classes" in data.val.source(0)
    with pytest.raises(IndexError):
        data.val[2]


def test_one_class_is_a_data_set():
    assert (scenes(1)[0][1] == 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": 0}, "classes is 0; give a whole number from 1 to 10000"),
        ({"classes": 10_001}, "classes is 10001"),
        ({"size": (8, 64)}, "size is .* at least 16"),
        ({"train_scenes": 0}, "count is 0"),
        ({"scene_seed": -1}, "scene_seed is -1"),
    ],
)
def test_wrong_options_are_named(options, says):
    with pytest.raises(InputError, match=says):
        datasets.load("many_classes", **options)

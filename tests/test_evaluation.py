"""From scores to counts: by hand, or against a loop that does the same thing literally."""

from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import torch
from splits import ArraySplit
from torch.nn.functional import avg_pool2d, one_hot

from segrepro import evaluation, metrics, runs
from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError

CPU = torch.device("cpu")
MEAN = (123.675, 40.4, 10.0)


class Colours(torch.nn.Module):
    """Stands in for a trained learner. Three classes, the scores are the three channels of the image.

    context: how far around a pixel they are averaged, 0 for the pixel alone. The plain head scores in reverse order.
    """

    def __init__(self, *, multiple: int = 4, context: int = 0):
        super().__init__()
        self.network = SimpleNamespace(multiple=multiple, pools=False, mean=torch.tensor(MEAN).view(1, 3, 1, 1))
        self.frozen, self.trained = torch.nn.BatchNorm2d(3).eval(), torch.nn.BatchNorm2d(3)
        self.context, self.modes, self.seen = context, [], []

    def predict(self, images, *, head=None):
        assert images.dtype == torch.uint8
        assert images.shape[-2] % self.network.multiple == images.shape[-1] % self.network.multiple == 0
        self.modes.append(any(module.training for module in self.modules()))
        self.seen.append(images)
        scores = avg_pool2d(images.float(), 2 * self.context + 1, stride=1, padding=self.context)
        return scores.flip(1) if head else scores


def assert_as_made(learner: Colours) -> None:
    assert [learner.training, learner.trained.training, learner.frozen.training] == [True, True, False]


def random_split(sizes=((6, 7), (6, 7), (6, 7), (5, 9)), seed=0) -> ArraySplit:
    """Random labels, some to be ignored, and images that show the right class in two of three pixels."""
    rng = np.random.default_rng(seed)
    labels = [rng.integers(IGNORE, 3, size) for size in sizes]
    shown = [np.where(rng.random(array.shape) < 2 / 3, array, rng.integers(0, 3, array.shape)) for array in labels]
    noise = [rng.integers(0, 100, (*array.shape, 3)) for array in labels]
    pairs = zip(shown, noise, strict=True)
    images = [(150 * np.eye(3, dtype=int)[array] + extra).astype(np.uint8) for array, extra in pairs]
    return ArraySplit(labels, images)


def padded_prediction(learner: Colours, image: np.ndarray) -> np.ndarray:
    """Classes (H, W) of one image, padded here with black to sides that the network takes."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % learner.network.multiple), (0, -width % learner.network.multiple), (0, 0)))
    scores = learner.predict(torch.from_numpy(padded).permute(2, 0, 1)[None])
    return scores[0, :, :height, :width].argmax(0).numpy()


def literal_counts(labels: np.ndarray, predictions: np.ndarray, classes: int = 3) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    for label, prediction in zip(labels.ravel(), predictions.ravel(), strict=True):
        if label != IGNORE:
            counts[label, prediction] += 1
    return counts


def test_count_by_hand():
    labels = torch.tensor([[[0, 0, 1], [1, 2, IGNORE]], [[IGNORE, IGNORE, IGNORE], [2, 2, 2]]])
    predictions = torch.tensor([[[0, 1, 1], [1, 0, 2]], [[0, 1, 2], [2, 2, 0]]])
    expected = [[[1, 1, 0], [0, 2, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0], [1, 0, 2]]]
    assert evaluation.count(labels, predictions, 3).tolist() == expected


@pytest.mark.parametrize("context", [0, 1])
def test_counts_equal_a_loop_over_pixels(context):
    """The sides are no multiples of 4, one image has another size, and batches of 2 do not divide 4 images evenly."""
    split, learner = random_split(), Colours(context=context)
    expected = sum(literal_counts(labels, padded_prediction(learner, image)) for image, labels in split)
    assert (expected > 0).all()
    np.testing.assert_array_equal(evaluation.confusion_counts(learner, split, device=CPU, batch_size=2), expected)


def test_the_plain_head_is_counted_when_asked_for():
    split, learner = random_split(), Colours()
    counts = evaluation.confusion_counts(learner, split, device=CPU)
    plain = evaluation.confusion_counts(learner, split, device=CPU, head="plain_head")
    np.testing.assert_array_equal(plain, counts[:, ::-1])  # the order of channels is reversed, and with it the winner


def test_scores_have_the_size_of_the_image():
    images = torch.randint(0, 256, (2, 3, 9, 13), dtype=torch.uint8)
    scores = evaluation.predictor(Colours(multiple=8))(images)
    assert torch.equal(scores, images.float())


@pytest.mark.parametrize("how", [{"inference": "multi_scale"}, {"inference": "sliding_window", "crop_size": (8, 10)}])
def test_an_image_of_one_colour_has_the_same_probabilities_at_every_scale_and_in_every_window(how):
    images = torch.tensor([3, 1, 2], dtype=torch.uint8).view(1, 3, 1, 1).repeat(1, 1, 21, 22)
    scores = evaluation.predictor(Colours(multiple=1), **how)(images)
    expected = torch.tensor([3.0, 1.0, 2.0]).softmax(0).view(1, 3, 1, 1).expand(1, 3, 21, 22)
    torch.testing.assert_close(scores, expected)


def test_multi_scale_puts_mirrored_predictions_back():
    """Left half one class, right half another: away from the border the mean over scales and mirror images is sure."""
    images = torch.zeros(1, 3, 16, 32, dtype=torch.uint8)
    images[:, 0, :, :16], images[:, 2, :, 16:] = 50, 50
    scores = evaluation.predictor(Colours(), inference="multi_scale")(images)
    assert (scores[0, 0, :, :12] > 0.99).all()
    assert (scores[0, 2, :, 20:] > 0.99).all()


def test_multi_scale_sees_each_scale_and_its_mirror_image():
    learner, seen = Colours(multiple=1), []
    learner.predict = lambda images, head: (seen.append(images), images.float())[1]
    image = torch.arange(8 * 12, dtype=torch.uint8).view(1, 1, 8, 12).repeat(1, 3, 1, 1)
    evaluation.predictor(learner, inference="multi_scale")(image)
    assert [tuple(x.shape[-2:]) for x in seen[::2]] == [(4, 6), (6, 9), (8, 12), (10, 15), (12, 18), (14, 21)]
    assert all(torch.equal(one.flip(-1), other) for one, other in zip(seen[::2], seen[1::2], strict=True))


@pytest.mark.parametrize("window", [(8, 8), (5, 7), (3, 40), (40, 40)])
def test_windows_of_a_pixel_wise_predictor_change_nothing(window):
    """Windows within the image, longer than it in one direction, and larger than it."""
    images = torch.randint(0, 8, (2, 3, 13, 18), dtype=torch.uint8)
    scores = evaluation.predictor(Colours(), inference="sliding_window", crop_size=window)(images)
    torch.testing.assert_close(scores, images.float().softmax(1))


def test_overlapping_windows_are_averaged_by_hand():
    """Windows of 3 over 4 pixels start at 0 and 1. A window's own first column is of class 0, the others of class 1."""
    learner = Colours(multiple=1)
    learner.predict = lambda images, head: (
        100.0 * one_hot(torch.tensor([0, 1, 1]).expand(1, images.shape[-2], 3), 2).permute(0, 3, 1, 2)
    )
    scores = evaluation.predictor(learner, inference="sliding_window", crop_size=(3, 3))(torch.zeros(1, 3, 3, 4).byte())
    expected = torch.tensor([[1, 0.5, 0, 0], [0, 0.5, 1, 1]]).view(1, 2, 1, 4).expand(1, 2, 3, 4)
    torch.testing.assert_close(scores, expected)


def test_windows_cover_everything_and_overlap_by_a_third():
    assert evaluation._window_starts(10, 6) == [0, 4]
    assert evaluation._window_starts(6, 6) == evaluation._window_starts(5, 6) == [0]
    for window in range(2, 30):
        for whole in range(window + 1, 100):
            starts = evaluation._window_starts(whole, window)
            steps = np.diff(starts)
            assert (starts[0], starts[-1] + window) == (0, whole)
            assert min(steps) > 0
            assert window - max(steps) >= window / 3
            # One window fewer could not do it, even if all its steps were the longest allowed.
            assert (len(starts) - 2) * (window * 2 // 3) + window < whole


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"inference": "whole"}, "inference: unknown 'whole'; valid: single_scale, multi_scale, sliding_window"),
        ({"inference": "sliding_window"}, "sliding_window needs crop_size"),
    ],
)
def test_impossible_inference_is_an_error(how, says):
    with pytest.raises(InputError, match=says):
        evaluation.confusion_counts(Colours(), random_split(), device=CPU, **how)


@pytest.mark.parametrize(("limit", "images"), [(2**31, 4), (4 * 3 * 6 * 7 * 2 + 1, 2), (1, 1)])
def test_as_many_images_at_once_as_their_scores_leave_room_for(monkeypatch, limit, images):
    monkeypatch.setattr(evaluation, "SCORE_LIMIT", limit)
    found = [len(batch.index) for batch in evaluation.batches_of(random_split(((6, 7),) * 4), Colours(), None, "")]
    assert max(found) == images
    assert sum(found) == 4


def test_erasure_equals_erasing_every_class_from_every_image():
    """The scores depend on the neighbourhood, and one image lacks class 1, so there is nothing to erase in it."""
    split, learner = random_split(), Colours(context=1)
    split.arrays[1] = np.where(split.arrays[1] == 1, 2, split.arrays[1])
    measured = evaluation.erasure_counts(learner, split, device=CPU, batch_size=2)
    fill = torch.tensor([124, 40, 10]).view(1, 3, 1, 1)  # MEAN to whole colours
    assert any((images == fill).all(1).any() for images in learner.seen)
    expected = np.zeros((3, 3, 3), dtype=np.int64)
    for erased in range(3):
        for image, labels in split:
            gone = labels == erased
            seen = padded_prediction(learner, np.where(gone[..., None], np.array([124, 40, 10], dtype=np.uint8), image))
            counts = literal_counts(np.where(gone, IGNORE, labels), seen)
            for c in range(3):
                others = [k for k in range(3) if k != c]
                expected[erased, :, c] += [counts[c, c], counts[others, c].sum(), counts[c, others].sum()]
    np.testing.assert_array_equal(measured, expected)
    assert (measured[[0, 1, 2], 0, [0, 1, 2]] == 0).all()
    assert (measured[:, 1] > 0).all()


def test_example_predictions_survive_storing(tmp_path):
    split, learner = random_split(), Colours()
    found = evaluation.example_predictions(learner, split, [3, 0], device=CPU)
    (tmp_path / runs.ARRAYS).write_bytes(safetensors.numpy.save(found))
    stored = evaluation.stored_examples(runs.Run(tmp_path, None).arrays | {"classifier_weight": np.zeros(3)})
    assert sorted(stored) == [0, 3]
    for index, prediction in stored.items():
        np.testing.assert_array_equal(prediction, padded_prediction(learner, split[index][0]))


def test_example_predictions_of_more_classes_than_a_byte_holds():
    split, learner = ArraySplit([np.zeros((5, 6))], classes=700), Colours()
    classes = torch.arange(8 * 8).view(8, 8) * 11
    learner.predict = lambda images, head: one_hot(classes, 700).permute(2, 0, 1)[None].float()
    stored = evaluation.stored_examples(evaluation.example_predictions(learner, split, [0], device=CPU))
    np.testing.assert_array_equal(stored[0], classes[:5, :6])


@pytest.mark.parametrize("measure", [evaluation.confusion_counts, evaluation.erasure_counts])
def test_modules_are_in_evaluation_mode_meanwhile_and_then_as_they_were(measure):
    learner = Colours()
    measure(learner, random_split(), device=CPU)
    assert set(learner.modes) == {False}
    assert_as_made(learner)


def test_modes_are_restored_after_an_exception():
    class Damaged(ArraySplit):
        def __getitem__(self, index):
            if index == 2:
                raise InputError("array 2 is damaged")
            return super().__getitem__(index)

    learner, split = Colours(), Damaged(random_split().arrays)
    with pytest.raises(InputError, match="array 2"):
        evaluation.confusion_counts(learner, split, device=CPU, batch_size=1)
    assert learner.modes
    assert_as_made(learner)


def test_of_many_classes_only_tallies_are_counted(monkeypatch):
    """The same numbers as from the matrix, without one."""
    split, learner = random_split(), Colours()
    matrix = evaluation.confusion_counts(learner, split, device=CPU)
    monkeypatch.setattr(evaluation, "MATRIX_LIMIT", len(split.classes) - 1)
    monkeypatch.setattr(evaluation, "count", None)
    tallies = evaluation.confusion_counts(learner, split, device=CPU)
    assert isinstance(tallies, metrics.Tallies)
    np.testing.assert_array_equal(tallies, metrics.tp_fp_fn(matrix))
    assert tallies.fp.any()

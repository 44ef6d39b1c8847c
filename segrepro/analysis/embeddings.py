"""Class vectors as a tree, and pixel embeddings as points and colours (ESSNet, supplement B, Figures 10 to 13).

Shapes: C classes, d channels, h x w places of an image.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.cluster.hierarchy as hierarchy
import scipy.stats
from scipy.spatial.distance import cdist, pdist, squareform
from sklearn.decomposition import PCA

from segrepro import ledger
from segrepro.analysis import correlation
from segrepro.datasets import many_classes
from segrepro.runs import Record, Run

# The categories of Cityscapes, and CamVid's classes in them.
CATEGORIES = {
    "flat": ("road", "sidewalk", "pavement"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign", "sign symbol"),
    "nature": ("vegetation", "terrain", "tree"),
    "sky": ("sky",),
    "human": ("person", "rider", "pedestrian", "bicyclist"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
SHUFFLES = 999
ORDERED = 200  # classes; above it the order of the leaves is not optimised, which takes their number cubed


def known_groups(record: Record) -> list[str] | None:
    """The group of each class (C,): its category, in many_classes its pattern. None if it is not known, or if no two
    classes share a group, or all do.
    """
    if record.parameters["dataset"] == "many_classes":
        groups = many_classes.patterns(len(record.class_names))
    else:
        category = {name: group for group, members in CATEGORIES.items() for name in members}
        groups = [category.get(name) for name in record.class_names]
    return groups if None not in groups and 1 < len(set(groups)) < len(groups) else None


def tree(similarity: np.ndarray) -> np.ndarray:
    """The links (C - 1, 4) of agglomerative clustering as scipy has them: average linkage of 1 - cosine (C, C)."""
    distances = squareform(np.clip(1 - similarity, 0, None), checks=False)
    return hierarchy.linkage(distances, "average", optimal_ordering=len(similarity) <= ORDERED)


class Agreement(NamedTuple):
    """Of trees with a known grouping: the correlation of each seed (S,), what shuffled class names give (draws,), and
    the share of those, the true one counted in, whose mean over seeds is as large.
    """

    seeds: np.ndarray
    shuffled: np.ndarray
    p: float


def group_agreement(trees: Sequence[np.ndarray], groups: Sequence[Hashable]) -> Agreement:
    """Correlation, over all pairs of classes, of the height at which a tree joins them (cophenetic distance) with
    whether they are of different groups: 1 if every group is joined before any two are.

    trees: links of S seeds; groups (C,), neither all different nor all the same. The classes are shuffled in all trees
    alike, as the seeds share their data (Mantel's test, one-sided).
    """
    heights = np.array([scipy.stats.zscore(hierarchy.cophenet(links)) for links in trees])
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    among = pdist(codes[:, None], "hamming")  # 1 for a pair of different groups, else 0
    scale = len(among) * among.std()
    table, one_hot = squareform(heights.mean(axis=0)), np.eye(codes.max() + 1)

    def correlation_of(codes: np.ndarray) -> float:
        """Heights have mean 0, so that those within the groups are enough."""
        members = one_hot[codes]
        return -((table @ members) * members).sum() / 2 / scale

    test = scipy.stats.permutation_test(
        (codes,), correlation_of, permutation_type="pairings", n_resamples=SHUFFLES, alternative="greater",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return Agreement(heights @ among / scale, test.null_distribution, float(test.pvalue))


def agreement_table(runs: Mapping[str, Sequence[Run]], groups: Sequence[str]) -> pd.DataFrame:
    """One row a configuration: `group_agreement` of its class vectors, mean ± standard deviation over seeds, beside
    what 95 of 100 shufflings stay under, and how well the trees keep the distances they are made from.
    """
    rows = {}
    for name, found in ((name, found) for name, found in runs.items() if found):
        matrices = [correlation.of_run(run) for run in found]
        trees = [tree(matrix) for matrix in matrices]
        agreement = group_agreement(trees, groups)
        kept = [np.corrcoef(hierarchy.cophenet(t), squareform(1 - m, checks=False))[0, 1]
                for t, m in zip(trees, matrices, strict=True)]  # fmt: skip
        spread = f" ± {agreement.seeds.std(ddof=1):.2f}" if len(found) > 1 else ""
        rows[ledger.configuration(name).label] = {
            "agreement": f"{agreement.seeds.mean():+.2f}{spread}",
            "95 % of shuffled": f"{np.percentile(agreement.shuffled, 95):+.2f}",
            "p": f"{agreement.p:.3f}",
            "seeds": len(found),
            "distances kept": f"{np.mean(kept):.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def project(pixels: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel embeddings (h, w, d) and class embeddings (C, d) on the three principal axes of the pixels: (h, w, 3),
    (C, 3), and the axes' shares of the variance (3,). Axes that d < 3 lacks are 0.
    """
    h, w, d = pixels.shape
    flat = pixels.reshape(-1, d).astype(np.float64)
    axes = PCA(min(3, d), svd_solver="full").fit(flat)
    missing = ((0, 0), (0, 3 - axes.n_components_))
    on_axes = [np.pad(axes.transform(points), missing) for points in (flat, mu.astype(np.float64))]
    return on_axes[0].reshape(h, w, 3), on_axes[1], np.pad(axes.explained_variance_ratio_, missing[1])


def as_colours(projected: np.ndarray) -> np.ndarray:
    """RGB (h, w, 3) in 0..1 of projected pixels: grey at their mean, one scale for the three axes, its ends at the 99th
    percentile.
    """
    reach = max(np.percentile(np.abs(projected), 99), np.finfo(float).tiny)
    return np.clip(0.5 + projected / (2 * reach), 0, 1)


def separation(pixels: np.ndarray, labels: np.ndarray, mu: np.ndarray) -> pd.Series:
    """How pixel embeddings (n, d) lie among the vectors (C, d) of classes: the share (0..1) of their variance that is
    between the classes (n,) of the pixels, and the mean distances to the nearest and the second nearest vector.
    """
    table = pd.DataFrame(pixels.astype(np.float64))
    within = table - table.groupby(labels).transform("mean")
    share = 1 - (within**2).to_numpy().sum() / ((table - table.mean()) ** 2).to_numpy().sum()
    nearest, second = np.sort(cdist(table, mu), axis=1)[:, :2].mean(axis=0)
    return pd.Series({"variance between classes": share, "to the nearest": nearest, "to the second": second})

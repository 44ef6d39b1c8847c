"""The checks of exact and mechanical claims: each one fails where what it is about is broken."""

import functools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from segrepro import metrics
from segrepro.analysis import checks, dilution, recall_precision
from segrepro.analysis.checks import CHECKS
from segrepro.analysis.checks.registered import largest
from segrepro.claims import judge
from segrepro.papers import dropclass, fbnet
from segrepro.papers.region_rebalance import RegionRebalance


@pytest.mark.parametrize("residual", [1.0, math.nan])
def test_a_residual_that_is_too_large_or_not_a_number_is_not_reproduced(residual, monkeypatch):
    monkeypatch.setitem(CHECKS, "dropclass_importance_is_the_weight", lambda: (residual, 1e-10))
    assert judge("dropclass-C14").outcome == "not reproduced"


def test_the_largest_residual_is_not_a_number_if_any_is_not():
    assert largest([1e-16, 3.0, 2.0]) == 3.0
    for place in range(3):
        residuals = [1e-16, 3.0, 2.0]
        residuals[place] = math.nan
        assert math.isnan(largest(residuals))


def a_thousandth_more(real):
    return lambda *args: 1.001 * real(*args)


def a_wider_margin(real):
    return lambda mu, margin, search: real(mu, 1.01 * margin, search)


def all_logits_of(share):
    """The loss with the logits of all classes, for one pixel in `share`."""
    return lambda real: lambda x, mu, y, others, tau: cross_entropy(2 * x[::share] @ mu.T / tau, y[::share])


def exchanged(real):
    return lambda one, other: real(other, one)


def features_detached(real):
    return lambda self, features, *rest: real(self, features.detach(), *rest)


def nan_off_the_diagonal(real):
    return lambda one, other: real(one, other).where(one == other, math.nan)


def nothing_dropped(real):
    return lambda features, weight, z, constant: real(features, weight, None, constant)


def other_classes(real):
    return lambda labels, foreground, stride: real(labels, foreground[::-1], stride)


def plain_distance(real):
    return functools.partial(real, distance="plain")


def three_by_three(real):
    return lambda width: torch.nn.Conv2d(width, width, kernel_size=3, padding=1)


BROKEN = [  # a check, where it finds a function, and what is there in its place
    ("dropclass_importance_is_the_weight", dropclass, "importance_scores", a_thousandth_more),
    ("dropclass_drop_is_one_scaling", dropclass, "drop", nothing_dropped),
    ("dropclass_fits_any_head", dropclass.DropClass, "main_loss", features_detached),
    ("essnet_truncation_error", checks.essnet, "truncated_cross_entropy", plain_distance),
    ("essnet_truncation_is_one_sided", checks.essnet, "truncated_cross_entropy", plain_distance),
    ("essnet_is_a_cosine_classifier", checks.essnet, "exact_cross_entropy", a_thousandth_more),
    ("essnet_margin_pushes_the_nearest", checks.essnet, "max_margin", a_wider_margin),
    ("essnet_memory_is_flat", checks.essnet, "truncated_cross_entropy", all_logits_of(share=8)),
    ("essnet_memory_crosses_over", checks.essnet, "truncated_cross_entropy", all_logits_of(share=1)),
    ("fbnet_pointwise_loss_dilutes", dilution, "cross_entropy", a_thousandth_more),
    ("fbnet_block_loss_does_not_dilute", dilution, "block_wise_bce", a_thousandth_more),
    ("fbnet_targets_are_a_maximum", checks.fbnet, "block_targets", other_classes),
    ("fbnet_costs_next_to_nothing", fbnet, "DualFeatureModulator", three_by_three),
    ("lff_gce_scales_the_gradient", checks.lff, "generalised_cross_entropy", a_thousandth_more),
    ("lff_gce_tends_to_cross_entropy", checks.lff, "generalised_cross_entropy", a_thousandth_more),
    ("lff_weight_is_a_share", checks.lff, "relative_difficulty", exchanged),
    ("lff_weight_is_a_share", checks.lff, "relative_difficulty", nan_off_the_diagonal),
    ("lff_unbiased_accuracy_is_a_mean", metrics, "pixel_accuracy", lambda real: metrics.mean_iou),
    ("region_rebalance_iou_from_accuracy", metrics, "iou", a_thousandth_more),
    ("region_rebalance_remark_1", recall_precision, "remark_1_margin", exchanged),
    ("region_rebalance_slope_of_iou", recall_precision, "iou_slope", a_thousandth_more),
    ("region_rebalance_is_free_at_inference", RegionRebalance, "predict", a_thousandth_more),
    ("region_rebalance_loss_is_a_shift", checks.region_rebalance, "log_prior", a_thousandth_more),
]


def test_every_check_is_broken_once():
    assert {name for name, *_ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(("name", "where", "what", "broken"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_check_fails_where_what_it_is_about_is_broken(name, where, what, broken, monkeypatch):
    monkeypatch.setattr(where, what, broken(getattr(where, what)))
    residual, tolerance = CHECKS[name].__wrapped__()  # past the cache
    assert not residual <= tolerance

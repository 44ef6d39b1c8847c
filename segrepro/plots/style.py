"""The look of all figures: sizes, and a label and a colour for every configuration."""

import matplotlib.pyplot as plt
import seaborn as sns

from segrepro import ledger

WIDTH = 9.5  # inches: a notebook's page at 100 dots an inch
# Okabe and Ito's palette, then Paul Tol's with tints, told apart with any colour vision; a configuration keeps its
# colour in all figures.
COLOURS = {
    "plain": "#6e6e6e",
    "dropclass": "#0072B2",
    "dropclass_without_suppression": "#56B4E9",
    "dropclass_layer_alone": "#B7D9F2",
    "dropclass_weak": "#00507D",
    "ignore_label": "#E69F00",
    "oversample": "#CC79A7",
    "plain_weighted": "#000000",
    "mild_weights": "#8F7F77",
    "effective_number": "#5A4A42",
    "hard_examples": "#B39B8E",
    "dropclass_weighted": "#009E73",
    "region_rebalance": "#882255",
    "region_branch": "#CC6677",
    "region_rebalance_weak": "#C49BB0",
    "region_rebalance_moderate": "#A65F88",
    "region_rebalance_strong": "#4A0D2B",
    "balanced_softmax": "#B8860B",
    "balanced_softmax_regions": "#F0E442",
    "dice": "#332288",
    "dice_cross_entropy": "#8A7FC9",
    "essnet": "#117733",
    "essnet_exact": "#66C266",
    "essnet_without_margin": "#999933",
    "essnet_unnormalised": "#AA4499",
    "essnet_random": "#DDAADD",
    "essnet_k4": "#5E5E1E",
    "essnet_d4": "#88CCEE",
    "essnet_d12": "#004488",
    "cosine_classifier": "#44AA99",
    "cosine_unmoved": "#A8D5CC",
    "lff": "#0F4C9C",
    "lff_authors": "#5B9BE6",
    "lff_cross_entropy": "#A5ABCB",
    "group_dro": "#C1440E",
    "repair": "#F2A65A",
    "fbnet": "#228833",
    "fbnet_loss_alone": "#66C2A5",
    "fbnet_modulator_alone": "#66CCEE",
    "fbnet_prior": "#145523",
    "fbnet_loss_alone_prior": "#2E8B74",
    "fbnet_pointwise": "#DDCC77",
    "fbnet_convolution": "#A6761D",
    "fbnet_res2": "#C7E9C0",
    "fbnet_res3": "#8FCB8F",
    "fbnet_res4": "#4DA15F",
    "fbnet_everywhere": "#0B3D1E",
    "balanced": "#D9A6D2",
    "fbnet_balanced": "#AA3377",
}
VERDICT_COLOURS = {
    "reproduced": "#009E73",
    "not reproduced": "#D55E00",
    "inconclusive": "#0072B2",
    "not judged": "#999999",
}
KIND_COLOURS = {"aligned": "#0072B2", "conflicting": "#D55E00"}  # kinds of images, by their bias
ERROR_BARS = {"elinewidth": 1, "capsize": 2, "ecolor": "#333333"}
OTHER_COLOUR = "#D55E00"  # a configuration without a colour of its own; also what is to be noticed
DARK = "#333333"  # lines and marks that belong to no configuration


def style() -> None:
    """The look of all figures: call once, at the top of a notebook."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.85)
    plt.rcParams.update(
        {"figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True, "axes.titleweight": "bold"}
    )


def label_of(name: str) -> str:
    """The ledger's label of a configuration; a name that it does not have is its own label."""
    return ledger.configuration(name).label if ledger.is_known(name) else name


def colour_of(name: str) -> str:
    """The colour of a configuration."""
    return COLOURS.get(name, OTHER_COLOUR)

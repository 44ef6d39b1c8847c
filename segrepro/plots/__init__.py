"""Figures from records and statistics. Every function returns its Figure and leaves it open for the notebook to show.

Configurations are named as in the ledger: the name gives the label and, everywhere, the same colour
(colour-blind-safe). IoU and confusions are in percent; differences of IoU in points.
"""

from segrepro.plots.activation import (
    activation_leaks,
    activation_maps,
    leak_matrices,
)
from segrepro.plots.bias import (
    BIASED_COLOUR,
    accuracy_by_share,
    accuracy_curves,
    losses_by_alignment,
    relative_difficulty,
    unbiased_curves,
)
from segrepro.plots.camouflage import (
    block_pulls,
    foreground_strength,
    strength_maps,
)
from segrepro.plots.classes import (
    class_iou,
    class_iou_gain,
    gain_matrix,
    iou_against_accuracy,
    row_sums,
    taken_for,
)
from segrepro.plots.co_location import (
    erased_or_absent,
    erasure_table,
    scene_versions,
)
from segrepro.plots.comparisons import (
    combinations,
    gains,
    loss_curves,
    remedies,
    remedy_gains,
    validation_curves,
    verdict_counts,
)
from segrepro.plots.embeddings import (
    GROUPS,
    LOSSES,
    class_lengths,
    class_tree,
    class_trees,
    pixel_embeddings,
    scaling_curves,
    truncation_errors,
)
from segrepro.plots.frequency import (
    accuracy_by_frequency,
    class_frequencies,
    class_gains,
    co_occurrence,
    frequency_halves,
)
from segrepro.plots.images import (
    biased_examples,
    boxed_examples,
    dataset_examples,
    rare_class_crops,
    segmentation_examples,
)
from segrepro.plots.matrices import (
    confusion_matrices,
    correlation_matrices,
    erasure_matrices,
)
from segrepro.plots.style import (
    COLOURS,
    DARK,
    ERROR_BARS,
    KIND_COLOURS,
    OTHER_COLOUR,
    VERDICT_COLOURS,
    WIDTH,
    colour_of,
    label_of,
    style,
)

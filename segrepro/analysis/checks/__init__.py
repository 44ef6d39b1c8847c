"""Exact and mechanical claims, computed on the spot: each check returns its residual and the tolerance it must keep.

One module a paper; importing it registers its checks.
"""

from segrepro.analysis.checks import dropclass, essnet, fbnet, lff, region_rebalance
from segrepro.analysis.checks.registered import CHECKS

__all__ = ["CHECKS", "dropclass", "essnet", "fbnet", "lff", "region_rebalance"]

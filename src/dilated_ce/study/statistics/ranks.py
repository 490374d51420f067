"""How firm the order of the losses is when patients and seeds are drawn anew: exploration."""

import numpy as np
import pandas as pd
from scipy import stats

from dilated_ce.study.scores.table import LOWER_IS_BETTER
from dilated_ce.study.statistics.comparison import paired


def rank_stability(
    cases: pd.DataFrame, *, metric: str = "dice", resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """The ranks of the losses under the Bayesian bootstrap (Rubin, Annals of Statistics 1981).

    Every patient and every run has a random weight, and a score the product of the two (the
    pigeonhole bootstrap; Owen, Annals of Applied Statistics 2007).

    Returns:
        By loss: mean_rank, best (how often it is the first), rank_low and rank_high (95 %).

    Raises:
        ValueError: there is no run and case that has a score under every loss.
    """
    scores = paired(cases, list(dict.fromkeys(cases["loss"])), metric=metric)
    if scores.empty:
        raise ValueError("no run and case has a score under every loss")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    by_group = sign * scores.groupby(["fold", "seed", "group"]).mean()
    random = np.random.default_rng(seed)
    sums, weights = np.zeros((2, by_group.shape[1], resamples))
    for _, of_fold in by_group.groupby("fold"):
        runs, of_run = np.unique(of_fold.index.get_level_values("seed"), return_inverse=True)
        groups, of_group = np.unique(of_fold.index.get_level_values("group"), return_inverse=True)
        run_weights = random.dirichlet(np.ones(len(runs)), resamples)[:, of_run]
        group_weights = random.exponential(size=(resamples, len(groups)))[:, of_group]
        products = run_weights * group_weights
        sums += (products @ of_fold.to_numpy()).T
        weights += products.sum(1)
    ranks = stats.rankdata(sums / weights, axis=0)
    return pd.DataFrame(
        {
            "mean_rank": ranks.mean(1),
            "best": (ranks == ranks.min(0)).mean(1),
            "rank_low": np.quantile(ranks, 0.025, axis=1),
            "rank_high": np.quantile(ranks, 0.975, axis=1),
        },
        index=pd.Index(scores.columns, name="loss"),
    )

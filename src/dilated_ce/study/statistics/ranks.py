"""How firm the order of the losses is when patients and seeds are drawn anew: exploration."""

import numpy as np
import pandas as pd
from scipy import stats

from dilated_ce.study.scores.table import LOWER_IS_BETTER
from dilated_ce.study.statistics.side_by_side import Scores

PART = 250  # resamples at a time


def rank_stability(
    scores: Scores, *, metric: str = "dice", resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """The ranks of the losses under the Bayesian bootstrap (Rubin, Annals of Statistics 1981).

    Every patient and every run has a random weight, and a score the product of the two (the
    pigeonhole bootstrap; Owen, Annals of Applied Statistics 2007).

    Returns:
        By loss: mean_rank, best (how often it is the first), rank_low and rank_high (95 %).

    Raises:
        ValueError: there is no run and case that has a score under every loss.
    """
    scores.check_pairs(scores.losses, metric)
    sign = 1 if metric in LOWER_IS_BETTER else -1
    by_group = sign * scores.by_group[metric][list(scores.losses)].dropna()
    if by_group.empty:
        raise ValueError("no run and case has a score under every loss")
    random = np.random.default_rng(seed)
    totals = np.zeros((resamples, 1 + by_group.shape[1]))  # the weights, then the scores
    for _, of_fold in by_group.groupby("fold"):
        runs, of_run = np.unique(of_fold.index.get_level_values("seed"), return_inverse=True)
        groups, of_group = np.unique(of_fold.index.get_level_values("group"), return_inverse=True)
        values = np.zeros((len(runs), len(groups), totals.shape[1]))  # 0: a run lacks the group
        values[of_run, of_group] = np.insert(of_fold.to_numpy(), 0, 1, axis=1)
        run_weights = random.dirichlet(np.ones(len(runs)), resamples)
        # In parts, as the weights of thousands of groups take gigabytes.
        for start in range(0, resamples, PART):
            part = slice(start, min(start + PART, resamples))
            group_weights = random.exponential(size=(part.stop - start, len(groups)))
            by_run = group_weights @ values
            totals[part] += np.einsum("nr,rnl->nl", run_weights[part], by_run)
    sums, weights = totals[:, 1:].T, totals[:, 0]
    ranks = stats.rankdata(sums / weights, axis=0)
    return pd.DataFrame(
        {
            "mean_rank": ranks.mean(1),
            "best": (ranks == ranks.min(0)).mean(1),
            "rank_low": np.quantile(ranks, 0.025, axis=1),
            "rank_high": np.quantile(ranks, 0.975, axis=1),
        },
        index=pd.Index(scores.losses, name="loss"),
    )

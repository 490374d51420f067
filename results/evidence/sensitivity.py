"""Whether the answers rest on how they were calculated: the same means over data sets otherwise."""

import math
from collections.abc import Mapping

import pandas as pd
from questions import HEALTHY, Question

from dilated_ce.study.statistics.pooling import Mean, mean_over_data_sets


def sensitivity(by_set: Mapping[str, pd.DataFrame], question: Question) -> pd.DataFrame:
    """The mean difference over data sets by other analyses than the protocol's, a row each."""
    found = {name: table.set_index("score") for name, table in by_set.items() if name != HEALTHY}
    names, together = list(found), question.together
    dice = pd.DataFrame({name: table.loc["dice"] for name, table in found.items()}).T.astype(float)

    def of_dice(errors: pd.Series, kept: list[str]) -> Mean:
        differences = dice.loc[kept, "difference"].to_list()
        return mean_over_data_sets(differences, errors[kept].to_list(), comparisons=together)

    means = {
        "as the protocol says": of_dice(dice["error"], names),
        "errors of patients and seeds alone": of_dice(dice["error_of_patients"], names),
        "every data set counts the same": of_dice(0 * dice["error"], names),
    }
    if len(names) > 2:
        means |= {f"without {name}": of_dice(dice["error"], [n for n in names if n != name])
                  for name in names}  # fmt: skip
    rows = [{"score": "dice", "analysis": what, **_row(mean)} for what, mean in means.items()]
    if all("hd95" in table.index for table in found.values()):
        far = pd.DataFrame({name: table.loc["hd95"] for name, table in found.items()}).T
        far = far.astype(float)
        ratios = (far["mean"] / far["of_reference"]).map(math.log)
        # The error of the logarithm of a ratio, to first order, from that of the difference.
        errors = far["error"] / (far["mean"] * far["of_reference"]) ** 0.5
        mean = mean_over_data_sets(ratios.to_list(), errors.to_list(), comparisons=together)
        row = {key: math.expm1(value) for key, value in _row(mean).items()}
        rows.append({"score": "hd95", "analysis": "mean logarithm of the ratio", **row})
    return pd.DataFrame(rows)


def _row(mean: Mean) -> dict[str, float]:
    return {"difference": mean.mean, "low": mean.low, "high": mean.high}

"""Write the tables and figures of docs/results.md from the files under results/studies/.

python tools/update_results.py           rewrite what lies between the markers, and the figures
python tools/update_results.py --check   fail if docs/results.md is not what the files say
"""

import matplotlib as mpl
from evidence import CLAIMS, GOALS, ROOT
from marked import renew, write_or_check
from result_figures import STYLE, along_radius, forest
from result_tables import (
    claims_table,
    errors_table,
    folds_table,
    forms_table,
    long_table,
    rules_table,
    scores_table,
    setup_table,
    trade_table,
)
from sweep_tables import balance_table, fixed_table, overlap_table, sweep_table


def parts() -> dict[str, str]:
    """The tables by the name of their marker."""
    return {
        "setup": setup_table(),
        "scores": scores_table(),
        "claims": claims_table(CLAIMS),
        "goals": claims_table(GOALS),
        "folds": folds_table(),
        "trade-off": trade_table(),
        "sweep": sweep_table(),
        "forms": forms_table(),
        "fixed": fixed_table(),
        "balance": balance_table(),
        "overlap": overlap_table(),
        "long": long_table(),
        "rules": rules_table(),
        **{f"errors-{name}": errors_table(name) for name in ("kvasir", "acdc")},
    }


@mpl.rc_context(STYLE)  # whose salt names the parts of a file alike every time
def _draw() -> None:
    figures = ROOT / "docs" / "figures"
    forest().savefig(figures / "claims.svg", metadata={"Date": None})
    along_radius().savefig(figures / "along_radius.svg", metadata={"Date": None})


if __name__ == "__main__":
    page = ROOT / "docs" / "results.md"
    write_or_check(page, renew(page, parts()), _draw)

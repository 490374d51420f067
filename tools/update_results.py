"""Write the tables and the figure of docs/results.md from the files under results/studies/.

python tools/update_results.py           rewrite what lies between the markers, and the figure
python tools/update_results.py --check   fail if docs/results.md is not what the files say
"""

import matplotlib as mpl
from evidence import ROOT
from marked import renew, write_or_check
from result_figures import STYLE, along_radius
from result_tables import errors_table, scores_table, setup_table, trade_table
from sweep_tables import fixed_table, scope_table, sweep_table


def parts() -> dict[str, str]:
    """The tables by the name of their marker."""
    return {
        "setup": setup_table(),
        "scores": scores_table(),
        "trade-off": trade_table(),
        "sweep": sweep_table("dice"),
        "sweep-hd95": sweep_table("hd95"),
        "fixed": fixed_table(),
        "scope": scope_table(),
        **{f"errors-{name}": errors_table(name) for name in ("kvasir", "acdc")},
    }


@mpl.rc_context(STYLE)  # whose salt names the parts of a file alike every time
def _draw() -> None:
    path = ROOT / "docs" / "figures" / "along_radius.svg"
    along_radius().savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    page = ROOT / "docs" / "results.md"
    write_or_check(page, renew(page, parts()), _draw)

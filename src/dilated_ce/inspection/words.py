"""Numbers for people to read."""

import math


def radius_name(radius: float) -> str:
    """A radius as people write it."""
    return "∞" if radius == math.inf else f"{radius:g}"


def number(value: float) -> str:
    """Two or three digits that matter, for reading and not for computing."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "∞"
    return (
        f"{value:,.0f}" if value >= 99.5 or value == round(value) else f"{value:#.3g}".rstrip(".")
    )


def percent(share: float) -> str:
    """A share as a percentage: 94.8%, 2.7%, 0.042%."""
    return f"{share * 100:#.3g}%" if 0 < share < 0.1 else f"{share:.1%}"

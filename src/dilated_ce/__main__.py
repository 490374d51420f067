"""The entry point of the command `dilated-ce`, and of `python -m dilated_ce`."""

import shlex
import sys


def main() -> None:
    """Run the command line; without its libraries, say how to install them."""
    try:
        from dilated_ce.cli import app
        from dilated_ce.cli.console import print_any_text

        print_any_text()
        app()
    except KeyboardInterrupt:
        print("dilated-ce: interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except ModuleNotFoundError as error:
        again = shlex.join(["dilated-ce", *sys.argv[1:]])
        sys.exit(
            f"dilated-ce: the module {error.name!r} is missing. The loss works without it, the "
            "command line does not. Either install what it needs, or let pipx do so:\n"
            "  pip install 'dilated-ce[study]'\n"
            f"  pipx run --spec 'dilated-ce[study]' {again}"
        )


if __name__ == "__main__":
    main()

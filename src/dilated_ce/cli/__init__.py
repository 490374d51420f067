"""The command line `dilated-ce`; a module per command."""

from typing import Annotated

import typer

import dilated_ce
from dilated_ce.cli.compare import compare
from dilated_ce.cli.console import console
from dilated_ce.cli.demo import demo
from dilated_ce.cli.inspect import inspect
from dilated_ce.cli.nnunet import nnunet_path
from dilated_ce.cli.predict import predict
from dilated_ce.cli.report import report

app = typer.Typer(
    help="Dilated balanced cross entropy: does it help, and with which radius?",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        console.print(dilated_ce.__version__, highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Options that come before the command."""


app.command()(demo)
app.command()(compare)
app.command()(report)
app.command()(inspect)
app.command()(predict)
app.command()(nnunet_path)

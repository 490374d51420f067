"""`dilated-ce inspect`: what a data set holds, and what the radius does to it."""

import errno
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dilated_ce.cli.console import console, errors, fail
from dilated_ce.cli.endings import one_error
from dilated_ce.cli.options import a_path, classes, dimensions, numbers, value_of_mask
from dilated_ce.study.defaults import folder_for
from dilated_ce.study.progress import counting
from dilated_ce.study.wording import escape

if TYPE_CHECKING:
    from dilated_ce.inspection import Measured
    from dilated_ce.study.data.cases import DataSet
    from dilated_ce.study.data.checking import Look


def inspect(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with images/ and masks/, or one in nnU-Net's raw or the Medical "
            "Segmentation Decathlon's format.",
            parser=a_path,
            metavar="DIR",
        ),
    ],
    dims: Annotated[
        str | None,
        typer.Option(
            help="2, 3 or auto. Volumes are taken whole; 2 takes their slices.",
            show_default="that of the data",
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Resize 2D images by this factor.")] = 1.0,
    spacing: Annotated[
        str | None, typer.Option(help="Resample volumes to voxels of this size in mm: 1,1,3.")
    ] = None,
    mask_threshold: Annotated[
        int | None, typer.Option(help="Grey values above this are foreground.")
    ] = None,
    mask_classes: Annotated[
        str | None,
        typer.Option(help='Classes and their values or colours: "background=0,polyp=255".'),
    ] = None,
    ignore_value: Annotated[
        str | None,
        typer.Option(
            help="The value of pixels that nobody labelled: 255, or a colour.", metavar="VALUE"
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="A regular expression whose first group finds the patient in the name of a "
            "case's file, without its folder.",
            metavar="REGEX",
        ),
    ] = None,
    radii: Annotated[
        str | None,
        typer.Option(
            help="Radii to show, in mm for volumes, pixels for pictures, such as 0,2,4,8.",
            show_default="by the size of the images",
        ),
    ] = None,
    max_cases: Annotated[
        int | None,
        typer.Option(min=1, help="How many training cases to measure.", show_default="all"),
    ] = None,
    weight_maps: Annotated[
        str | None,
        typer.Option(
            help="Write the weight maps of three cases, for this radius or for adaptive: NIfTI, or "
            "PNG and .npy.",
            metavar="RADIUS",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for inspection.html.",
            parser=a_path,
            show_default="runs/inspect-NAME-OF-THE-DATA",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Check every case of a data set, and show what the radius does to its classes.

    All problems are listed at once, with the names of the files. The page shows dilated masks and
    weight maps along a slider for the radius, and gives advice.

    Exit codes: 0 success; 1 the data cannot be used; 2 a wrong option.
    """
    import pydantic

    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.data.checking import look_at_cases
    from dilated_ce.study.data.reading import DataConfig, open_data

    looks: dict[str, Look] = {}

    def look(data: "DataSet") -> "Mapping[str, Look]":
        with counting(console, "reading every case", len(data.cases)) as on_case:
            looks.update(look_at_cases(data, on_case))
        return looks

    chosen, radius_of_maps = _radii(radii), _radius_of_maps(weight_maps)
    try:
        config = DataConfig(
            path=data,
            dims=dimensions(dims) or "auto",
            scale=scale,
            spacing=numbers("--spacing", spacing),
            mask_threshold=mask_threshold,
            mask_classes=classes(mask_classes),
            ignore_value=None if ignore_value is None else value_of_mask(ignore_value),
            group_by=group_by,
        )
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        text = problem["msg"].removeprefix("Value error, ")
        option = "--" + str(problem["loc"][0]).replace("_", "-") if problem["loc"] else None
        raise typer.BadParameter(text, param_hint=option) from None
    options = {
        "--dims": dims,
        "--scale": None if scale == 1 else f"{scale!r}",
        "--spacing": spacing,
        "--mask-threshold": mask_threshold,
        "--mask-classes": mask_classes,
        "--ignore-value": ignore_value,
        "--group-by": group_by,
    }
    given = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    folder = out or folder_for(data, "inspect-")
    with one_error(folder, DataError, kept=False):
        _check_writable(folder)
        opened = open_data(config, look)
        _inspect(
            opened,
            looks or look(opened),
            [str(data), *given],
            folder,
            chosen,
            max_cases,
            radius_of_maps,
        )


def _check_writable(folder: Path) -> None:
    """Fail before the minutes of measuring, and without making the folder.

    Raises:
        OSError: a file is in the way, or the folder cannot be written to.
    """
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "Expected a folder for --out, got a file", str(nearest)
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))


def _inspect(
    data: "DataSet",
    looks: "Mapping[str, Look]",
    arguments: Sequence[str],
    folder: Path,
    radii: Sequence[float] | None,
    max_cases: int | None,
    weight_maps: float | str | None,
) -> None:
    """Check, measure and show a data set; `arguments` are those that `compare` needs for it."""
    from dilated_ce.study.data.checking import check

    checked = check(data, looks)
    console.print(
        f"[bold]{escape(data.name)}[/]: {len(data.cases)} cases. {escape(data.split)}",
        highlight=False,
    )
    for note in checked.notes + checked.untested:
        console.print(f"  note: {escape(note)}", highlight=False, soft_wrap=True)
    if checked.problems:
        for problem in checked.problems:
            errors.print(f"  [red]-[/] {escape(problem)}", highlight=False, soft_wrap=True)
        fail(f"{_count(len(checked.problems), 'problem')}; the data cannot be used as they are.")
    for region in data.regions if data.overlapping else (data,):
        name = re.sub(r"[^\w.+-]", "-", region.classes[1])
        path = folder / name if data.overlapping else folder  # each region has a page
        _show(region, arguments, path, radii, max_cases, weight_maps)


def _show(
    data: "DataSet",
    arguments: Sequence[str],
    folder: Path,
    radii: Sequence[float] | None,
    max_cases: int | None,
    weight_maps: float | str | None,
) -> None:
    """Measure a data set, whose cases are as they should be, and write the page about it."""
    from dilated_ce import inspection

    if isinstance(weight_maps, float):
        radii = [*(radii or inspection.default_radii(data)), weight_maps]
    # All cases, or so many of the training part.
    number = min(max_cases, len(data.folds[0].train)) if max_cases else len(data.cases)
    with counting(console, "measuring the cases", number) as on_case:
        measured = inspection.measure(data, radii, max_cases, on_case)
    _print_classes(data, measured)
    advice = inspection.advise(data, measured)
    page = folder / "inspection.html"
    inspection.write_page(page, data, measured, arguments=arguments)
    console.print(
        f"\nTo compare the radii that it suggests:\n  {escape(advice.command(*arguments))}",
        highlight=False,
        soft_wrap=True,
    )
    if weight_maps is not None:
        names = [case.name for case in data.cases[:3]]
        radius = weight_maps if isinstance(weight_maps, float) else None
        written = inspection.write_weight_maps(
            folder / "weights", data, radius, names, measured=measured
        )
        where = escape(str(folder / "weights"))
        console.print(f"\nWeight maps: {_count(len(written), 'file')} in {where}")
    console.print(f"\nPage: [bold]{escape(str(page))}[/]", highlight=False, soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _print_classes(data: "DataSet", measured: "Measured") -> None:
    from dilated_ce.inspection import adaptive_lines
    from dilated_ce.inspection.words import number

    table = Table(title="training part", title_justify="left")
    for column in ("class", "voxels", "share", "cases", "depth", "adaptive R"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for _, row in measured.classes.iterrows():
        depth, adaptive = (
            f"{row[column]:.1f} {data.unit}" if math.isfinite(row[column]) else number(row[column])
            for column in ("depth", "adaptive")
        )
        table.add_row(
            escape(str(row["class"])),
            f"{int(row['voxels']):,}",
            f"{row['share']:.2%}",
            str(int(row["cases"])),
            depth,
            adaptive,
        )
    console.print(table)
    console.print("Adaptive DBCE would do this:")
    for name, line in adaptive_lines(data, measured):
        console.print(f"  {escape(name)}: {escape(line)}", highlight=False, soft_wrap=True)


def _radius_of_maps(text: str | None) -> float | str | None:
    """A number as such, and "adaptive" as it is."""
    if text in (None, "adaptive"):
        return text
    try:
        if (radius := float(text)) >= 0:
            return radius
    except ValueError:
        pass
    raise typer.BadParameter(
        f"got {text!r}, expected a number, 0 or more, or adaptive.", param_hint="--weight-maps"
    )


def _radii(text: str | None) -> Sequence[float] | None:
    radii = numbers("--radii", text)
    if radii is not None and not all(radius >= 0 for radius in radii):
        raise typer.BadParameter(
            f"got {text!r}, expected radii such as 0,2,4.", param_hint="--radii"
        )
    return radii

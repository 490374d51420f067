"""The studies for a machine with a GPU, one command for all of them.

    DILATED_CE_DATA=~/data make gpu-study                  hours; stop it whenever you like
    make gpu-study ARGS="--data DIR --epochs 20 --folds 0 --seeds 1"
    make gpu-study ARGS="--device cpu --epochs 1 --set nnunet.iterations=2 --results runs/rehearsal"
    make gpu-study ARGS="--device cpu --only nnunet-hippocampus --folds 0 --seeds 1
        --batch-size 2 --epochs 20 --set nnunet.iterations=50"   as results/PROTOCOL.md has it

The same command goes on where it was stopped. The folder of the data holds
Dataset004_Hippocampus (nnU-Net's raw format) or Task04_Hippocampus (as the Medical Segmentation
Decathlon has it). The trainings, and what nnU-Net makes of the data, stay in runs/gpu-study/; the
tables of nnU-Net are copied to results/nnunet-hippocampus/, with the machine. (The third command is
a rehearsal, which leaves them alone.) Options that are not named here go to `dilated-ce compare`.
Then come the main arms of the evidence study (results/PROTOCOL.md), on those of its data sets that
the folder holds. `--only NAME` takes one of the two.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dilated_ce.study.nnunet.process import NnunetError, command, run_command

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("cases.csv", "summary.json", "study.json")
HIPPOCAMPUS, DECATHLON = "Dataset004_Hippocampus", "Task04_Hippocampus"
LOSSES = "dice-ce,dbce-dice:radius=4,adaptive-dbce-dice"


def nnunet_hippocampus(options: argparse.Namespace, others: Sequence[str]) -> int:
    """nnU-Net's hippocampus under three losses: prepare, train, judge; the status of `compare`."""
    work = options.work / "nnunet-hippocampus"
    environment = prepare(options.data, work)
    configuration = name_configuration(work, options.batch_size)
    compare = [
        *("compare", "--trainer", "nnunet", "--dataset", "4", "--configuration", configuration),
        *("--losses", LOSSES, "--epochs", str(options.epochs)),
        *("--folds", options.folds, "--seeds", str(options.seeds), "--device", options.device),
        *("--out", str(work / "out"), *others),
    ]
    print(f"dilated-ce {' '.join(compare)}", flush=True)
    status = subprocess.run([sys.executable, "-m", "dilated_ce", *compare], env=environment)
    if status.returncode in (0, 3):  # all well; or without the runs that failed
        keep(work / "out", options.results / "nnunet-hippocampus")
    return status.returncode


def claims(options: argparse.Namespace, others: Sequence[str]) -> int:
    """The main arms of results/PROTOCOL.md, on the sets that are there; into results/evidence/."""
    folder = ROOT / "results" / "evidence"
    environment = {
        **os.environ,
        "DILATED_CE_DATA": str(options.data.resolve()),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    command_ = [sys.executable, str(folder / "claims.py"), "run", "--group", "main"]
    return subprocess.run(command_, env=environment).returncode


# A study is a function of the options that leaves its tables in results/ and gives 0, or 3 if some
# runs failed.
STUDIES = {"nnunet-hippocampus": nnunet_hippocampus, "claims": claims}


def prepare(data: Path, work: Path) -> dict[str, str]:
    """Convert, plan and preprocess, unless that was done before; nnU-Net's variables.

    Raises:
        NnunetError: with what nnU-Net says.
    """
    places = {name: work / name for name in ("nnUNet_raw", "nnUNet_preprocessed")}
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}}
    environment["nnUNet_results"] = str(work / "out" / "nnUNet_results")
    done = work / "preprocessed"
    if done.exists():
        return environment
    for path in places.values():
        shutil.rmtree(path, ignore_errors=True)  # half of it
        path.mkdir(parents=True)
    if (data / HIPPOCAMPUS).is_dir():
        (places["nnUNet_raw"] / HIPPOCAMPUS).symlink_to((data / HIPPOCAMPUS).resolve())
    else:
        print("Converting the Decathlon's format ...", flush=True)
        convert = [command("nnUNetv2_convert_MSD_dataset"), "-i", str(data / DECATHLON)]
        run_command(convert, environment, work / "convert.log")
    print("Planning and preprocessing ...", flush=True)
    plan = [command("nnUNetv2_plan_and_preprocess"), "-d", "4", "-c", "3d_fullres"]
    run_command(plan, environment, work / "plan_and_preprocess.log")
    done.touch()
    return environment


def name_configuration(work: Path, batch_size: int | None) -> str:
    """nnU-Net's own configuration, or the same with another batch size, added to the plans."""
    if batch_size is None:
        return "3d_fullres"
    name = f"3d_fullres_batch{batch_size}"
    plans = work / "nnUNet_preprocessed" / HIPPOCAMPUS / "nnUNetPlans.json"
    content = json.loads(plans.read_text(encoding="utf-8"))
    content["configurations"][name] = {"inherits_from": "3d_fullres", "batch_size": batch_size}
    plans.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return name


def keep(out: Path, folder: Path) -> None:
    """Copy the tables, and write down the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        shutil.copy(out / name, folder / name)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    about = {"gpu": gpu, "machine": platform.platform(), "torch": torch.__version__}
    (folder / "machine.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(f"Tables: {folder}", flush=True)


def missing(options: argparse.Namespace) -> list[str]:
    """What this machine lacks."""
    said = []
    if options.device != "cpu" and not torch.cuda.is_available():
        said.append(
            "a GPU: PyTorch sees none here. With --device cpu it trains without one, which is for "
            "a rehearsal: --device cpu --epochs 1 --folds 0 --seeds 1 --set nnunet.iterations=2 "
            "--results runs/rehearsal"
        )
    if options.data is None:
        said.append("the data: name their folder, DILATED_CE_DATA=DIR or --data DIR")
    elif not any((options.data / name).is_dir() for name in (HIPPOCAMPUS, DECATHLON)):
        said.append(f"{HIPPOCAMPUS} or {DECATHLON} in {options.data}")
    try:
        command("nnUNetv2_train")
    except NnunetError as error:
        said.append(f"nnU-Net: {error}")
    return said


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and those that are for `compare`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    there = os.environ.get("DILATED_CE_DATA")
    parser.add_argument("--data", type=Path, default=Path(there) if there else None)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--folds", default="0,1", help="of nnU-Net's five")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, help="nnU-Net's, for hippocampus: 9")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--only", choices=STUDIES, help="one of the studies")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "gpu-study")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the studies, one after the other; 0 if all is well."""
    options, others = parse(arguments)
    lacking = missing(options)
    if lacking:
        print("\n  - ".join(["This machine lacks:", *lacking]), file=sys.stderr)
        return 1
    worst = 0
    for name, study in STUDIES.items():
        if options.only in (None, name):
            try:
                worst = max(worst, study(options, others))
            except NnunetError as error:
                print(f"{name}: {error}", file=sys.stderr)
                worst = max(worst, 1)
            except KeyboardInterrupt:
                print("\nStopped; the same command goes on from there.", file=sys.stderr)
                return 130
    return worst


if __name__ == "__main__":
    sys.exit(main())

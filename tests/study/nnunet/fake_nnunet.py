"""A stand-in for nnU-Net: its folders of a data set, and an `nnUNetv2_train` that takes no time."""

import json
import stat
import sys
from pathlib import Path

import nibabel
import numpy as np

CASES = tuple(f"case_{number:02d}" for number in range(6))
SHAPE = (10, 12, 8)
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])

# What nnU-Net writes, in its forms. In the environment, FAKE_FAIL: a part of the names of trainers
# that fail; FAKE_STOP: an epoch before which it waits for its end.
TRAIN = """#!{python} -IS
import gzip, json, os, random, sys, time
from datetime import datetime
from pathlib import Path

dataset, configuration, fold, *options = sys.argv[1:]
trainer, plans = options[options.index("-tr") + 1], options[options.index("-p") + 1]
base = Path(os.environ["nnUNet_preprocessed"]) / dataset
folder = Path(os.environ["nnUNet_results"]) / dataset
folder = folder / f"{{trainer}}__{{plans}}__{{configuration}}" / f"fold_{{fold}}"
folder.mkdir(parents=True, exist_ok=True)
print("arguments:", *sys.argv[1:], flush=True)
if os.environ.get("FAKE_FAIL", "-") in trainer:
    raise RuntimeError("the data are upside down")
epochs = int(trainer.split("epochs")[0].rsplit("_", 1)[1])
latest = folder / "checkpoint_latest.pth"
begin = int(latest.read_text()) if "--c" in options and latest.exists() else 0
if (folder / "checkpoint_final.pth").exists():
    begin = epochs
log = folder / f"training_log_{{time.time_ns()}}.txt"


def say(*words):
    with log.open("a") as file:
        print(f"{{datetime.now()}}:", *words, file=file)


for epoch in range(begin, epochs):
    say()
    say(f"Epoch {{epoch}}")
    if os.environ.get("FAKE_STOP") == str(epoch):
        time.sleep(60)
    say("train_loss", -0.1 * epoch)
    say("val_loss", -0.1 * epoch)
    say(f"Pseudo dice [np.float32({{0.5 + 0.1 * epoch}}), np.float32(0.25)]")
    say("Epoch time: 2.5 s")
    latest.write_text(str(epoch + 1))
(folder / "checkpoint_final.pth").write_text("weights")
latest.unlink(missing_ok=True)

truth, found = base / "gt_segmentations", folder / "validation"
found.mkdir(exist_ok=True)
random = random.Random(trainer + fold)
rows = []
for case in json.loads((base / "splits_final.json").read_text())[int(fold)]["val"]:
    contents = gzip.decompress((truth / f"{{case}}.nii.gz").read_bytes())
    labels = contents[352:]  # of a byte each
    predicted = bytes(random.choice((v, v, v, v, v, v, v, 0, 1, 2)) for v in labels)
    path = found / f"{{case}}.nii.gz"
    path.write_bytes(gzip.compress(contents[:352] + predicted))
    metrics = {{}}
    for label in (1, 2):
        pairs = [(p == label, t == label) for p, t in zip(predicted, labels)]
        tp, fp, fn = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True)))
        metrics[str(label)] = {{
            "Dice": 2 * tp / (2 * tp + fp + fn), "IoU": tp / (tp + fp + fn), "TP": tp, "FP": fp,
            "FN": fn, "TN": len(labels) - tp - fp - fn, "n_pred": tp + fp, "n_ref": tp + fn,
        }}
    files = {{"prediction_file": str(path), "reference_file": str(truth / path.name)}}
    rows.append({{"metrics": metrics, **files}})
dice = {{key: [row["metrics"][key]["Dice"] for row in rows] for key in "12"}}
mean = {{key: {{"Dice": sum(values) / len(values)}} for key, values in dice.items()}}
summary = {{"foreground_mean": mean["1"], "mean": mean, "metric_per_case": rows}}
(found / "summary.json").write_text(json.dumps(summary))
"""


def write_workplace(preprocessed: Path, name: str = "Dataset001_Tiny") -> Path:
    """What `nnUNetv2_plan_and_preprocess` leaves of a data set, but for the preprocessed voxels."""
    base = preprocessed / name
    (base / "gt_segmentations").mkdir(parents=True)
    (base / "nnUNetPlans_3d_fullres").mkdir()
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    for number, case in enumerate(CASES):
        centre = np.reshape([4 + number % 3, 5 + number % 2, 4], (3, 1, 1, 1))
        distance = np.sqrt(((grid - centre) ** 2).sum(0))
        labels = (distance < 4).astype(np.uint8) + (distance < 2)
        path = base / "gt_segmentations" / f"{case}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(labels, AFFINE), path)
        for kind in ("", "_seg"):
            (base / "nnUNetPlans_3d_fullres" / f"{case}{kind}.b2nd").touch()
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "rim": 1, "core": 2},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    plans = {
        "plans_name": "nnUNetPlans",
        "configurations": {
            "3d_fullres": {"data_identifier": "nnUNetPlans_3d_fullres", "spacing": [1.5, 1, 1]},
            "3d_bigger": {"inherits_from": "3d_fullres"},
            "3d_lowres": {"data_identifier": "nnUNetPlans_3d_lowres"},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
    }
    splits = [
        {"train": list(CASES[:3]), "val": list(CASES[3:])},
        {"train": list(CASES[3:]), "val": list(CASES[:3])},
    ]
    for file, contents in (
        ("dataset.json", description),
        ("nnUNetPlans.json", plans),
        ("splits_final.json", splits),
    ):
        (base / file).write_text(json.dumps(contents))
    return base


def write_command(folder: Path) -> Path:
    """The stand-in for nnUNetv2_train."""
    path = folder / "nnUNetv2_train"
    path.write_text(TRAIN.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path

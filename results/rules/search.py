"""Search for the adaptive rule: short trainings of a small U-Net under each candidate.

    export DILATED_CE_DATA=data
    python results/rules/search.py run --stage screen
    python results/rules/search.py run --stage final
    python results/rules/search.py run --stage final --part test      once, at the end
    python results/rules/search.py table [--part test]

PROTOCOL.md says what is run and why. One file per run under runs/ here. What is there is not run
again, nor what lies in a table (move it away to train all anew); several processes may share the
work. `table` writes the cases, the tables and README.md.
"""

import argparse
import dataclasses
import fcntl
import json
import logging
import os
import re
import tarfile
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pooch
import torch
import torch.nn.functional as F
from candidates import CANDIDATES
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

HERE = Path(__file__).parent
RUNS = HERE / "runs"
HARD = ("kvasir", "acdc", "busi", "stare")
CLASSES = {"acdc": 4, "hippocampus": 3}  # the others have 2
STEPS, RATE = 400, 3e-3
RESIDUAL_UNITS = {"screen": 0, "final": 2}  # in the network of a stage
STARE_URL = (
    "https://files.pythonhosted.org/packages/96/e8/"
    "bb948b1ddf5048dbf013f76117f50c7d98dfc77ddac4898f3d09b243b028/deepdraw-1.5.0.tar.gz"
)
STARE_SHA256 = "d96209946ae8f5d9a4b8ef8d99c651c13c058e61b242e41a06087577c7a2c36d"


# ------------------------------------------------------------------------------------------ data


def fit(image, size, labels=False):
    """A PIL image resized to (width, height), as an array."""
    how = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
    return np.asarray(image.resize(size, how))


def folder_cases(folder, size, binary_at=0):
    """(name, image, labels) of a folder of images/ and masks/; `size` of a PIL image's size."""
    for path in sorted((folder / "images").iterdir(), key=lambda p: p.name):
        (mask,) = (folder / "masks").glob(f"{path.stem}.*")
        image, mask = Image.open(path), Image.open(mask).convert("L")
        target = size(image.size)
        yield path.stem, fit(image, target), fit(mask, target, labels=True) > binary_at


def nnunet_cases(folder):
    """(name, image, labels) of a folder in nnU-Net's raw layout."""
    for path in sorted((folder / "labelsTr").glob("*.nii.gz")):
        name = path.name[: -len(".nii.gz")]
        image = nibabel.load(folder / "imagesTr" / f"{name}_0000.nii.gz").get_fdata(
            dtype=np.float32
        )
        yield name, image, np.asarray(nibabel.load(path).dataobj)


def stare_cases():
    """(name, image, labels) of STARE at half size, first observer."""
    cached = os.environ.get("DILATED_CE_CACHE", Path.home() / ".cache" / "dilated-ce")
    path = pooch.retrieve(STARE_URL, f"sha256:{STARE_SHA256}", "deepdraw-1.5.0.tar.gz", cached)
    inner = "deepdraw-1.5.0/tests/data/deepdraw-ci-assets/test-database.zip"
    with (
        tarfile.open(path) as tar,
        zipfile.ZipFile(BytesIO(tar.extractfile(inner).read())) as files,
    ):
        names = sorted(n for n in files.namelist() if re.search(r"labels-ah/im\d+\.ah\.ppm$", n))
        for mask in names:
            image = mask.replace("labels-ah", "stare-images").replace(".ah.ppm", ".ppm")
            image, mask_image = (Image.open(BytesIO(files.read(n))) for n in (image, mask))
            size = (image.width // 2, image.height // 2)
            vessels = np.asarray(mask_image.convert("L").resize(size, Image.Resampling.BOX))
            yield Path(mask).stem[:6], fit(image, size), vessels > 127


@cache
def load(name):
    """The parts of a data set: {part: [(patient, case, image (channels first), labels)]}."""
    root = Path(os.environ.get("DILATED_CE_DATA", "data"))
    parts = {}
    if name == "kvasir":
        for part in ("train", "validation", "test"):
            cases = folder_cases(root / "kvasir_seg" / part, lambda _: (128, 128), 127)
            parts[part] = [(n, n, *prepare(x, y, True)) for n, x, y in cases]
        return parts
    if name == "acdc":
        volumes = nnunet_cases(root / "Dataset027_ACDC")
        cases = [
            (n, f"{n}_{z}", *prepare(x[:, :, z], y[:, :, z], False))
            for n, x, y in volumes
            for z in range(x.shape[2])
        ]
    else:
        raw = {
            "busi": lambda: folder_cases(root / "busi", lambda _: (128, 128)),
            "ph2": lambda: folder_cases(
                root / "ph2", lambda s: tuple(round(n * 128 / min(s)) for n in s)
            ),
            "nuclei": lambda: folder_cases(root / "nuclei", lambda s: s),
            "stare": stare_cases,
            "hippocampus": lambda: nnunet_cases(root / "Dataset004_Hippocampus"),
        }[name]()
        colour = name in ("ph2", "nuclei", "stare")
        cases = [(n, n, *prepare(x, y, colour)) for n, x, y in raw]
    patients = sorted({patient for patient, *_ in cases})
    order = np.random.default_rng(0).permutation(len(patients))
    cuts = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
    for part, (low, high) in cuts.items():
        rows = order[round(low * len(patients)) : round(high * len(patients))]
        chosen = {patients[row] for row in rows}
        parts[part] = [case for case in cases if case[0] in chosen]
    return parts


def prepare(image, labels, colour):
    """A normalised image, channels first, and its labels."""
    image = np.asarray(image, np.float32)
    if colour:
        image = np.moveaxis(np.stack([image] * 3, -1) if image.ndim == 2 else image[..., :3], -1, 0)
    else:
        image = (image.mean(-1) if image.ndim > labels.ndim else image)[None]
    axes = tuple(range(1, image.ndim))
    image = (image - image.mean(axes, keepdims=True)) / (image.std(axes, keepdims=True) + 1e-6)
    return image.astype(np.float16), labels.astype(np.uint8)


def patches(cases, size, number, rng):
    """Batches for ever: half of the patches centred on the foreground, flipped and turned."""
    padded = []
    for _, _, image, labels in cases:
        pad = [(0, max(0, s - n)) for s, n in zip(size, labels.shape, strict=True)]
        labels = np.pad(labels, pad, "symmetric")
        image = np.pad(image, [(0, 0), *pad], "symmetric")
        padded.append((image, labels, np.argwhere(labels)))
    while True:
        images, targets = [], []
        for index in range(number):
            image, labels, foreground = padded[rng.integers(len(padded))]
            room = np.array(labels.shape) - size
            corner = rng.integers(room + 1)
            if index % 2 and len(foreground):
                centre = foreground[rng.integers(len(foreground))]
                corner = np.clip(centre - np.array(size) // 2, 0, room)
            box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
            image, labels = image[(slice(None), *box)], labels[box]
            flips = [axis for axis in range(labels.ndim) if rng.integers(2)]
            image, labels = np.flip(image, [axis + 1 for axis in flips]), np.flip(labels, flips)
            # Only axes of one length may change places: all in 2D, the first and the last in 3D.
            turns, last = int(rng.integers(4)), labels.ndim - 1
            images.append(np.rot90(image, turns, (1, last + 1)))
            targets.append(np.rot90(labels, turns, (0, last)))
        yield (
            torch.from_numpy(np.stack(images).astype(np.float32)),
            torch.from_numpy(np.stack(targets).astype(np.int64)),
        )


# -------------------------------------------------------------------------------------- training


def make_loss(arm, dims):
    """The loss of an arm: ce, dice_ce, a candidate, or dice_ and a candidate."""
    name = arm.removeprefix("dice_")
    dice = DiceLoss(softmax=True, to_onehot_y=True) if arm.startswith("dice_") else None
    rule = CANDIDATES.get(name)
    if rule and dims == 3:
        rule = dataclasses.replace(rule, cap=min(rule.cap, 8))

    def loss(logits, labels):
        losses = F.cross_entropy(logits, labels, reduction="none")
        value = (losses * rule.weigh(labels, logits.shape[1])).mean() if rule else losses.mean()
        return value + dice(logits, labels[:, None]) if dice else value

    return loss


def network(name, stage):
    """A new network for a data set."""
    _, _, image, labels = load(name)["train"][0]
    classes, units = CLASSES.get(name, 2), RESIDUAL_UNITS[stage]
    widths, strides = (16, 32, 64, 128), (2, 2, 2)
    return UNet(
        labels.ndim, len(image), classes, widths, strides, num_res_units=units, norm="batch"
    )


def train(name, arm, seed, stage):
    """The trained network of a run."""
    cases = load(name)["train"]
    dims = cases[0][3].ndim
    torch.manual_seed(seed)
    net, loss = network(name, stage), make_loss(arm, dims)
    optimizer = torch.optim.AdamW(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    size, number = ((128, 128), 8) if dims == 2 else ((32, 48, 32), 4)
    batches = patches(cases, size, number, np.random.default_rng(seed))
    for _ in range(STEPS):
        images, labels = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images)
        loss(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return net


# ---------------------------------------------------------------------------------------- scores


def predict(net, image):
    """The predicted class of every voxel of a whole image (C, *spatial)."""
    whole = image.shape[1:]
    pad = [(0, 0), *[(0, -n % 8) for n in whole]]
    padded = torch.from_numpy(np.pad(image, pad, "symmetric").astype(np.float32))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        predicted = net(padded[None])[0].argmax(0).numpy()
    return predicted[tuple(slice(n) for n in whole)]


def surface(mask):
    """The positions of the voxels at the border of a mask."""
    return np.argwhere(mask & ~binary_erosion(mask))


def score(predicted, truth):
    """Scores of one class in one case; hd95 is the diagonal where only one of both is empty."""
    hits, false, missed = (
        int(np.count_nonzero(m))
        for m in (predicted & truth, predicted & ~truth, ~predicted & truth)
    )
    hd95 = 0.0
    if hits + false and hits + missed:
        one, other = surface(predicted), surface(truth)
        there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
        hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    elif false + missed:
        hd95 = float(np.linalg.norm(truth.shape))
    return {
        "dice": round(2 * hits / (2 * hits + false + missed), 4) if hits + false + missed else 1.0,
        "precision": round(hits / (hits + false), 3) if hits + false else None,
        "recall": round(hits / (hits + missed), 3) if hits + missed else None,
        "hd95": round(hd95, 1),
        "false": false,
    }


def evaluate(net, name, part):
    """One row per case and class of a part."""
    rows = []
    net.eval()
    for patient, case, image, labels in load(name)[part]:
        predicted = predict(net, image)
        for c in range(1, CLASSES.get(name, 2)):
            scores = score(predicted == c, labels == c)
            rows.append({"patient": patient, "case": case, "class": c, **scores})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------ runs


def planned(stage):
    """The runs (set, arm, seed) of a stage, the most telling first."""
    if stage == "screen":
        arms = ("dice_ce", "ce", *CANDIDATES)
        return [(name, arm, 0) for arm in arms for name in HARD]
    groups = json.loads((HERE / "final.json").read_text())  # the most wanted first
    runs = [
        (name, arm, seed)
        for group in groups
        for seed in group["seeds"]
        for name in group["sets"]
        for arm in group["arms"]
    ]
    return list(dict.fromkeys(runs))


def kept(stage, part):
    """The runs whose rows lie beside this file."""
    path = HERE / f"{stage}_{part}.csv.gz"
    if not path.exists():
        return set()
    return set(pd.read_csv(path)[["set", "arm", "seed"]].itertuples(index=False, name=None))


def run(stage, part):
    """Run what is planned, not done, and in no other process's hands."""
    (RUNS / stage).mkdir(parents=True, exist_ok=True)
    known = kept(stage, part)
    for name, arm, seed in planned(stage):
        if (name, arm, seed) in known:
            continue
        path = RUNS / stage / f"{name}-{arm}-{seed}"
        with Path(f"{path}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another process is at it
            done = Path(f"{path}.{part}.csv")
            if done.exists():
                continue
            weights = Path(f"{path}.pt")
            if weights.exists():
                net = network(name, stage)
                net.load_state_dict(torch.load(weights))
            elif part == "test":
                continue  # only what was trained and judged on the validation part
            else:
                net = train(name, arm, seed, stage)
                save(weights, lambda p, net=net: torch.save(net.state_dict(), p))
            rows = evaluate(net, name, part)
            rows.insert(0, "seed", seed)
            rows.insert(0, "arm", arm)
            rows.insert(0, "set", name)
            save(done, lambda p, rows=rows: rows.to_csv(p, index=False))
            logging.info("%s %s %s %s: %.1f", name, arm, seed, part, 100 * rows["dice"].mean())


def save(path, write):
    """Write a file whole or not at all."""
    write(part := path.with_suffix(".part"))
    part.replace(path)


def main():
    """The commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--stage", choices=["screen", "final"], default="final")
    parser.add_argument("--part", choices=["validation", "test"], default="validation")
    args = parser.parse_args()
    if args.command == "run":
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        torch.set_num_threads(1)
        run(args.stage, args.part)
    else:
        import report

        report.write(planned(args.stage), args.stage, args.part)


if __name__ == "__main__":
    main()

"""The weight map in the loss or in the data loader: is the trained network the same?

    make weight-map ARGS="--data DIR"    images and masks as for `dilated-ce demo --data`
    make weight-map                      noisy discs made on the spot

A plain 2D U-Net is trained twice per seed, with the same initial weights, crops and flips: once
with DBCE that computes its weights, once with the map of `DilatedBalancedWeightsd`. The weights are
the same but for rounding, which training amplifies; so the difference is read beside the spread
over the seeds. Writes results/weight_map/runs.csv.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureTyped, RandFlipd, RandSpatialCropd, SpatialPadd
from monai.utils import set_determinism
from rich.console import Console
from rich.progress import track

from dilated_ce.integrations.monai import DilatedBalancedCELoss, DilatedBalancedWeightsd
from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.data.synthetic import make_synthetic

OUT = Path(__file__).resolve().parents[1] / "results" / "weight_map" / "runs.csv"
WAYS = ("in the loss", "by the transform")


def train(data: DataSet, by_transform: bool, seed: int, steps: int, radius: float) -> float:
    """The mean Dice on the test images, in %."""
    set_determinism(seed)
    num_classes = len(data.classes)
    patch = (96, 96)
    transforms = [
        EnsureTyped(["image", "label"]),
        SpatialPadd(["image", "label"], patch),
        RandSpatialCropd(["image", "label"], patch, random_size=False),
        RandFlipd(["image", "label"], 0.5, 0),
        RandFlipd(["image", "label"], 0.5, 1),
    ]
    if by_transform:
        transforms.append(DilatedBalancedWeightsd("label", radius, num_classes=num_classes))
    cases = [data.by_name[name].load() for name in data.folds[0].train]
    items = [{"image": case.image, "label": case.labels[None]} for case in cases]
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(
        Dataset(items, Compose(transforms).set_random_state(seed)),
        batch_size=8,
        shuffle=True,
        drop_last=len(items) >= 8,
        generator=order,
    )
    network = UNet(
        2,
        len(data.channels),
        num_classes,
        (16, 32, 64, 128),
        (2, 2, 2),
        num_res_units=1,
        norm="batch",
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    criterion = DilatedBalancedCELoss(radius, volumes="image")
    step = 0
    while step < steps:
        for batch in loader:
            logits = network(batch["image"])
            loss = criterion(logits, batch["label"], batch.get("label_weights"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == steps:
                break
    return 100 * _dice(network.eval(), data)


@torch.no_grad()
def _dice(network: torch.nn.Module, data: DataSet) -> float:
    values = []
    for name in data.folds[0].test:
        case = data.by_name[name].load()
        image = torch.from_numpy(case.image)[None]
        height, width = image.shape[2:]
        padded = torch.nn.functional.pad(image, (0, -width % 8, 0, -height % 8))
        predicted = network(padded)[0, :, :height, :width].argmax(0)
        truth = torch.from_numpy(case.labels)
        for index in range(1, len(data.classes)):
            found, there = predicted == index, truth == index
            if found.any() or there.any():
                values.append((2 * (found & there).sum() / (found.sum() + there.sum())).item())
    return sum(values) / len(values)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with images/ and masks/")
    parser.add_argument("--scale", type=float, default=1.0, help="resize the images by this factor")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--radius", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    data = make_synthetic()
    if options.data:
        data = open_data(DataConfig(path=options.data, scale=options.scale))
    torch.set_num_threads(1)  # sums in one order, and no waiting where the cores are shared
    runs = [(seed, way) for seed in range(options.seeds) for way in WAYS]
    rows = []
    for seed, way in track(runs, "training"):
        dice = train(data, way == WAYS[1], seed, options.steps, options.radius)
        rows.append({"data": data.name, "steps": options.steps, "radius": options.radius,
                     "seed": seed, "map": way, "dice": round(dice, 3)})  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(options.out, index=False)
    table = pd.DataFrame(rows).pivot(index="seed", columns="map", values="dice")[list(WAYS)]
    console = Console()
    console.print(table.to_string(), highlight=False)
    difference = (table[WAYS[1]] - table[WAYS[0]]).mean()
    spread = table[WAYS[0]].std()
    console.print(f"mean difference {difference:+.2f} points, spread over seeds {spread:.2f}")


if __name__ == "__main__":
    main()

"""How long a comparison takes before it trains: checking and preparing, beside reading and writing.

Volumes are made, in nnU-Net's format, and then, in as many processes as there are cores:

- read with nibabel and written with Blosc2, which is the least that anything could take;
- checked and prepared, as `dilated-ce compare` does at its first start;
- looked at again, as it does at every other start.

The time per case of each is written to results/comparison/preparing.json.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import scipy.ndimage

from dilated_ce.study import machine, processes
from dilated_ce.study.api import Listener, open_configured, opened
from dilated_ce.study.data.arrays import PACKING
from dilated_ce.study.data.reading import DataConfig
from dilated_ce.study.settings.compare import CompareConfig

RESULT = Path(__file__).parents[1] / "results" / "comparison" / "preparing.json"
CLASSES = ("background", "organ", "tumour")


def make(folder: Path, number: int, side: int) -> None:
    """Volumes of noise with a ball in each, and a smaller one in that."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    axes = np.ogrid[:side, :side, :side]
    for case in range(number):
        centre = random.uniform(0.4, 0.6, 3) * side
        distance = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True)) ** 0.5
        labels = (distance < side / 4).astype(np.uint8) + (distance < side / 12)
        coarse = random.normal(scale=300, size=(side // 4,) * 3)
        noise = random.normal(scale=20, size=labels.shape)
        image = scipy.ndimage.zoom(coarse, 4, order=1) + 200 * labels + noise
        affine = np.diag([0.8, 0.8, 1.5, 1])
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.int16), affine),
            folder / "imagesTr" / f"case{case:03}_0000.nii.gz",
        )
        nibabel.save(
            nibabel.Nifti1Image(labels, affine), folder / "labelsTr" / f"case{case:03}.nii.gz"
        )
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {name: index for index, name in enumerate(CLASSES)},
        "numTraining": number,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def read_and_write(image: Path, out: Path) -> None:
    """What nothing can do without."""
    name = image.name.replace("_0000", "")
    labels = image.parents[1] / "labelsTr" / name
    for path, dtype in ((image, np.float16), (labels, np.uint8)):
        values = np.asarray(nibabel.load(path).dataobj, np.float32)
        target = out / f"{path.parent.name}_{name}.b2nd"
        blosc2.asarray(values.astype(dtype), urlpath=str(target), mode="w", cparams=PACKING)


def _nothing(_: int) -> None:
    time.sleep(0.2)  # so that every process gets one


def main() -> None:
    """Make the volumes, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=500, help="of volumes")
    parser.add_argument("--side", type=int, default=192, help="of a volume, in voxels")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    cores = machine.cores()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make(root / "data", arguments.number, arguments.side)
        images = sorted((root / "data" / "imagesTr").iterdir())
        (root / "bare").mkdir()
        context = processes.context()
        with ProcessPoolExecutor(cores, context) as pool:
            list(pool.map(_nothing, range(2 * cores)))  # they are there, with all they import
            start = time.perf_counter()
            list(pool.map(read_and_write, images, [root / "bare"] * len(images)))
            bare = time.perf_counter() - start

        data = DataConfig(path=root / "data")
        config = CompareConfig(data=data, losses=["ce"], out=root / "study")

        def prepare() -> float:
            start = time.perf_counter()
            with opened(config, open_configured, Listener()):
                pass
            return time.perf_counter() - start

        first, second = prepare(), prepare()
        packed = sum(path.stat().st_size for path in (root / "study").rglob("*.*"))
    result = {
        "volumes": arguments.number,
        "side": arguments.side,
        "cores": cores,
        "seconds per case": {
            "read with nibabel, written with Blosc2": round(bare / arguments.number, 4),
            "checked and prepared": round(first / arguments.number, 4),
            "looked at again": round(second / arguments.number, 5),
        },
        "prepared over read and written": round(first / bare, 2),
        "seconds of the second start": round(second, 2),
        "MB per case": round(packed / arguments.number / 1e6, 1),
    }
    print(json.dumps(result, indent=2))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

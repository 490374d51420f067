"""What is measured: the cases, and the methods that stand beside each other in one case."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import edt
import kornia
import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceFocalLoss, GeneralizedDiceLoss, HausdorffDTLoss
from monai.networks.nets import BasicUNet, UNet
from monai.transforms.utils import distance_transform_edt
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from scipy import ndimage
from torch import Tensor

from dilated_ce import (
    adaptive_dilated_cross_entropy,
    dilate_labels,
    dilated_balanced_cross_entropy,
)
from dilated_ce.growing import dilate
from dilated_ce.masks import Masks

Method = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One size of problem."""

    what: str  # "loss", "one-hot", "dilation" or "training step"
    batch: int
    classes: int
    side: int
    ndim: int
    radius: float
    labels: str = "blobs"  # one of KINDS
    busy: int = 0  # cores that other work keeps busy

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels."""
        return (self.batch, *(self.side,) * self.ndim)

    def __str__(self) -> str:
        size = f"{self.batch} x {self.side}^{self.ndim}, C {self.classes}, R {self.radius:g}"
        return f"{size}, {self.labels}{', a busy core' if self.busy else ''}"


def grid(quick: bool, accelerator: bool) -> Iterator[Case]:
    """The cases to measure: those that README quotes, or all."""
    quoted = ((8, 2, 512, 2, 10), (8, 8, 512, 2, 10), (2, 4, 128, 3, 5))
    for busy in (0,) if accelerator else (0, 1):
        for size in quoted:
            for kind in KINDS:
                if kind != "blobs" or busy:  # those come below, with the peers
                    yield Case("loss", *size, kind, busy)
    for size in quoted:
        yield Case("one-hot", *size)
    for classes in (2, 8) if quick else (2, 8, 20):
        for radius in (10,) if quick else (2, 5, 10, 25):
            yield Case("loss", 8, classes, 512, 2, radius)
    for classes in (4,) if quick else (2, 4, 14):
        for radius in (5,) if quick else (2, 5, 10, 25):
            yield Case("loss", 2, classes, 128, 3, radius)
    if not quick:  # against the number of voxels
        for side in (64, 128, 256, 1024):
            yield Case("loss", 8, 2, side, 2, 10)
        for side in (32, 64, 96, 160):
            yield Case("loss", 2, 4, side, 3, 5)
    for radius in (4, 10, 64) if quick else (2, 4, 5, 10, 25, 64):
        yield Case("dilation", 8, 4, 512, 2, radius)
    for radius in (4, 6, 16) if quick else (2, 4, 6, 10, 16, 25):
        yield Case("dilation", 2, 4, 128, 3, radius)
    if not accelerator:
        yield Case("training step", 8, 2, 512, 2, 10)
        yield Case("training step", 2, 4, 128, 3, 5)


def blobs(case: Case) -> Tensor:
    """Labels (B, *spatial) of smooth random regions; the background takes about 90%."""
    random = np.random.default_rng(0)
    labels = np.zeros(case.shape, np.int64)
    for image in labels:
        for index in range(1, case.classes):
            smooth = ndimage.gaussian_filter(random.standard_normal(image.shape), case.side / 40)
            image[smooth > np.quantile(smooth, 1 - 0.1 / (case.classes - 1))] = index
    return torch.from_numpy(labels)


def organ(case: Case) -> Tensor:
    """A large object in a corner, cut by the border; the other classes are not there."""
    labels = torch.zeros(case.shape, dtype=torch.int64)
    axes = np.ogrid[(slice(case.side),) * case.ndim]
    labels[:, torch.from_numpy(sum(axis**2 for axis in axes) <= (case.side * 60 / 128) ** 2)] = 1
    return labels


def vessels(case: Case) -> Tensor:
    """Thin parallel lines of every class."""
    labels = torch.zeros(case.shape, dtype=torch.int64)
    for index in range(1, case.classes):
        labels[..., 4 * index :: 4 * case.classes] = index
    return labels


def halves(case: Case) -> Tensor:
    """Two classes that each fill half of the image."""
    labels = torch.zeros(case.shape, dtype=torch.int64)
    labels[:, case.side // 2 :] = 1
    return labels


def noise(case: Case) -> Tensor:
    """Every voxel of a random class."""
    return torch.randint(case.classes, case.shape, generator=torch.manual_seed(0))


def one_class(case: Case) -> Tensor:
    """Nothing but background."""
    return torch.zeros(case.shape, dtype=torch.int64)


KINDS: dict[str, Callable[[Case], Tensor]] = {
    "blobs": blobs,
    "organ": organ,
    "vessels": vessels,
    "halves": halves,
    "noise": noise,
    "one class": one_class,
}


def methods_of(case: Case, device: str) -> dict[str, Method]:
    """The methods of a case, by name."""
    make = {
        "loss": losses,
        "one-hot": losses,
        "dilation": dilations,
        "training step": training_steps,
    }
    return make[case.what](case, device)


def losses(case: Case, device: str) -> dict[str, Method]:
    """Forward and backward on the same logits."""
    labels = KINDS[case.labels](case).to(device)
    if case.what == "one-hot":
        labels = F.one_hot(labels, case.classes).movedim(-1, 1).float().contiguous()
    shape = (case.batch, case.classes, *case.shape[1:])
    logits = torch.randn(shape, generator=torch.manual_seed(0)).to(device).requires_grad_()
    options = {"to_onehot_y": True, "softmax": True}
    # As nnU-Net's trainer makes it.
    nnunet = DC_and_CE_loss(
        {"batch_dice": True, "do_bg": False, "smooth": 1e-5, "ddp": False},
        {},
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    with_channel = {
        "MONAI DiceCE": DiceCELoss(**options),
        "nnU-Net DC_and_CE": nnunet,
        "MONAI DiceFocal": DiceFocalLoss(**options),
        "MONAI GeneralizedDice": GeneralizedDiceLoss(**options),
    }
    if case.ndim == 2 and case.classes <= 8 and case.side <= 512:  # it takes minutes otherwise
        with_channel["MONAI HausdorffDT"] = HausdorffDTLoss(**options)
    criteria = {
        "F.cross_entropy": F.cross_entropy,
        "DBCE": lambda z, y: dilated_balanced_cross_entropy(z, y, case.radius),
        "Adaptive DBCE": adaptive_dilated_cross_entropy,
    }
    if (case.what, case.labels, case.busy) == ("loss", "blobs", 0):
        for name, peer in with_channel.items():
            criteria[name] = lambda z, y, peer=peer: peer(z, y[:, None])

    def step(criterion: Callable[[Tensor, Tensor], Tensor]) -> Method:
        def run() -> None:
            criterion(logits, labels).backward()
            logits.grad = None

        return run

    return {name: step(criterion) for name, criterion in criteria.items()}


def dilations(case: Case, device: str) -> dict[str, Method]:
    """The exact dilated masks of all classes, by every method."""
    labels = blobs(case)
    masks = [image == c for image in labels.numpy() for c in range(case.classes)]
    bytes_ = [mask.astype(np.uint8) for mask in masks]
    inverse = [np.ascontiguousarray(~mask) for mask in masks]
    reach = math.floor(case.radius)
    axes = np.ogrid[(slice(-reach, reach + 1),) * case.ndim]
    ball = sum(axis**2 for axis in axes) <= case.radius**2
    ours = labels.to(device)

    def packed() -> Tensor:
        masks = Masks.of(ours, None, case.classes)
        return dilate(masks, (float(case.radius),), None, (1.0,) * case.ndim).planes

    methods: dict[str, Method] = {
        # Packed bits are what the loss works on; `dilate_labels` checks the labels and unpacks.
        "ours, packed": packed,
        "ours, dilate_labels": lambda: dilate_labels(ours, case.radius, num_classes=case.classes),
        "edt": lambda: [
            edt.edt(m, parallel=torch.get_num_threads()) <= case.radius for m in inverse
        ],
        "scipy EDT": lambda: [ndimage.distance_transform_edt(m) <= case.radius for m in inverse],
        "MONAI distance transform": lambda: [
            distance_transform_edt(m[None]) <= case.radius for m in inverse
        ],
    }
    if case.ndim == 2:
        kernel = ball.astype(np.uint8)
        methods["cv2.dilate"] = lambda: [cv2.dilate(m, kernel) for m in bytes_]
    if case.radius <= 5:  # the cost of these is that of the ball's volume
        methods["scipy binary_dilation"] = lambda: [
            ndimage.binary_dilation(m, structure=ball) for m in masks
        ]
        if case.ndim == 2:
            floats = torch.from_numpy(np.stack(bytes_)).to(device).float()[:, None]
            flat = torch.from_numpy(ball).to(device).float()
            methods["kornia"] = lambda: kornia.morphology.dilation(floats, flat) > 0
    return methods


def training_steps(case: Case, device: str) -> dict[str, Method]:
    """A step of training a network, and its loss alone, for plain and dilated balanced CE.

    Two networks of MONAI: the small UNet of its tutorials, and BasicUNet as it comes.
    """
    labels = blobs(case).to(device)
    images = torch.randn(case.batch, 1, *case.shape[1:], generator=torch.manual_seed(0)).to(device)
    networks = {
        "UNet": UNet(case.ndim, 1, case.classes, (16, 32, 64, 128, 256), (2,) * 4, num_res_units=2),
        "BasicUNet": BasicUNet(case.ndim, 1, case.classes),
    }
    losses_only = losses(case, device)
    methods = {name: losses_only[name] for name in ("F.cross_entropy", "DBCE")}
    for name, network in networks.items():
        network.to(device)
        optimizer = torch.optim.AdamW(network.parameters())

        def step(network=network, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            dilated_balanced_cross_entropy(network(images), labels, case.radius).backward()
            optimizer.step()

        methods[f"{name}, a step with DBCE"] = step
    return methods

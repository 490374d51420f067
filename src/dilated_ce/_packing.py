"""Class masks as bits: packing labels into planes of bytes, counting the bits, looking them up.

A byte of 8 masks has 256 values, so that the weights of the voxels come from a table with 256
entries; and a word of 8 such bytes counts the voxels of a mask 8 at a time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from dilated_ce._dispatch import opaque_when_compiled

MASKS_PER_PLANE = 8
# What becomes of the shares of masks that overlap: of those in one table, and of two tables.
_OVERLAPS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "sum": (torch.sum, torch.add),
    "max": (torch.amax, torch.maximum),
}


@dataclass(frozen=True)
class Packing:
    """Where the masks of a batch lie: 8 of them in a plane of bytes, one per bit.

    A mask belongs to one class of one image. Few classes leave bits free, so that several images
    share a plane, each in a lane of as many bits as there are classes; more than 8 classes take
    several planes per image. Class c of image b is

        bit    b % images_per_plane * num_classes + c % 8     of
        plane  b // images_per_plane * planes_per_image + c // 8

    Examples:
        >>> Packing(3).images_per_plane, Packing(3).planes_per_image
        (2, 1)
        >>> Packing(20).images_per_plane, Packing(20).planes_per_image
        (1, 3)
    """

    num_classes: int

    @property
    def images_per_plane(self) -> int:
        """How many images share a plane."""
        return max(1, MASKS_PER_PLANE // self.num_classes)

    @property
    def planes_per_image(self) -> int:
        """How many planes an image needs, or the images that share them."""
        return math.ceil(self.num_classes / MASKS_PER_PLANE)

    @property
    def classes_per_plane(self) -> int:
        """How many classes of one image a plane holds at most."""
        return min(self.num_classes, MASKS_PER_PLANE)

    def num_planes(self, batch: int) -> int:
        """The number of planes P of a batch."""
        return -(-batch // self.images_per_plane) * self.planes_per_image

    def place(self, lane: int, class_index: int) -> tuple[int, int]:
        """The first plane that holds this class of an image in this lane, and the bit set there."""
        plane, bit = divmod(class_index, MASKS_PER_PLANE)
        return plane, 1 << (bit + lane * self.num_classes)

    def groups(self, radii: Sequence[float]) -> Iterator[tuple[int, int, float]]:
        """The classes with the same radius, as (plane of the image, bits in it, radius)."""
        selected: dict[tuple[int, float], int] = {}
        for class_index, lane in product(range(self.num_classes), range(self.images_per_plane)):
            plane, bit = self.place(lane, class_index)
            key = plane, radii[class_index]
            selected[key] = selected.get(key, 0) | bit
        for (plane, radius), bits in selected.items():
            yield plane, bits, radius

    def merge_lanes(self, images: Tensor) -> Tensor:
        """Move bytes (B, *spatial), one per image, into the lanes of the planes they share."""
        planes = images[:: self.images_per_plane].clone()
        for lane in range(1, min(self.images_per_plane, len(images))):
            part = images[lane :: self.images_per_plane]  # may lack an image for the last plane
            planes[: len(part)].bitwise_or_(part << lane * self.num_classes)
        return planes


def pack(labels: Tensor, valid: Tensor | None, packing: Packing) -> Tensor:
    """Class masks as packed bits: uint8 (P, *spatial)."""
    # An ignored label may wrap into the range of the classes here; `valid` takes it out below.
    index = labels.to(torch.uint8 if packing.num_classes <= 256 else torch.int32)
    one = torch.ones((), dtype=torch.uint8, device=labels.device)
    if packing.planes_per_image == 1:
        bits = one << index
        return packing.merge_lanes(bits if valid is None else bits * valid)
    bits = one << (index & 7).to(torch.uint8)
    if valid is not None:
        bits = bits * valid
    plane_of_voxel = index >> 3
    planes = [bits * (plane_of_voxel == plane) for plane in range(packing.planes_per_image)]
    return torch.stack(planes, dim=1).flatten(0, 1)


def valid_planes(valid: Tensor, packing: Packing) -> Tensor:
    """All bits of the images that are valid at a voxel: uint8 (P, *spatial)."""
    every_class = (1 << packing.classes_per_plane) - 1
    planes = packing.merge_lanes(valid * torch.tensor(every_class, dtype=torch.uint8))
    return planes.repeat_interleave(packing.planes_per_image, dim=0)


def count(planes: Tensor, packing: Packing, batch: int) -> Tensor:
    """The volume of every mask: int64 (B, C), in voxels.

    Bit by bit, 8 voxels at a time: as one int64, each with a byte for the sum of 128 such numbers.
    A count of the byte values (bincount) is as fast on noise, but 5 times slower where most voxels
    are alike, and it makes the host wait for an accelerator.
    """
    if planes.numel() == 0:
        return torch.zeros(batch, packing.num_classes, dtype=torch.int64, device=planes.device)
    rows = planes.flatten(1)
    words = F.pad(rows, (0, -rows.shape[1] % 1024)).view(torch.int64)
    bit_of_each = torch.empty_like(words)
    volumes = []
    for bit in range(packing.images_per_plane * packing.classes_per_plane):
        torch.bitwise_right_shift(words, bit, out=bit_of_each)
        sums = bit_of_each.bitwise_and_(0x0101010101010101).view(len(rows), -1, 128).sum(-1)
        volumes.append(sums.view(torch.uint8).sum(1))
    # (P, bits) to (B, C): the lanes of a plane, or the planes of an image, follow each other.
    per_image = packing.planes_per_image * packing.classes_per_plane
    by_image = torch.stack(volumes, dim=1).view(-1, per_image)
    return by_image[:batch, : packing.num_classes].contiguous()


def _fake_look_up(planes: Tensor, shares: Tensor, batch: int, overlap: str) -> Tensor:
    return shares.new_empty((batch, *planes.shape[1:]))


@opaque_when_compiled(
    "(Tensor planes, Tensor shares, SymInt batch, str overlap) -> Tensor", _fake_look_up
)
def look_up(planes: Tensor, shares: Tensor, batch: int, overlap: str) -> Tensor:
    """The weights (B, *spatial) from the shares (B or 1, C) of the masks that hold a voxel.

    overlap="sum" adds the shares where masks overlap, "max" takes the largest.
    """
    packing = Packing(shares.shape[1])
    lanes, depth = packing.images_per_plane, packing.planes_per_image
    classes = packing.classes_per_plane
    shares = F.pad(shares, (0, depth * classes - packing.num_classes))
    # One table per image and plane; with the same shares for all images, one per lane.
    images = torch.arange(lanes if len(shares) == 1 else len(shares), device=planes.device)
    first_bit = images % lanes * packing.num_classes
    bits = first_bit[:, None] + torch.arange(classes, device=planes.device)
    byte = torch.arange(256, device=planes.device)[:, None]
    member = (byte >> bits[:, None] & 1).bool()  # (images, 256, classes)
    # No product with 0: the share of a class that no voxel here has may be too large for a float.
    contributions = torch.where(member[:, None], shares.view(-1, depth, 1, classes), 0)
    reduce, combine = _OVERLAPS[overlap]
    tables = reduce(contributions, -1)

    weights = shares.new_empty((batch, *planes.shape[1:]))
    for plane_index, plane in enumerate(planes.flatten(1)):
        index = plane.to(torch.int32)
        group, depth_index = divmod(plane_index, depth)
        for image in range(group * lanes, min((group + 1) * lanes, batch)):
            table = tables[image % len(tables), depth_index]
            found = weights[image].view(-1)
            if depth_index == 0:
                torch.index_select(table, 0, index, out=found)
            else:
                combine(found, table.index_select(0, index), out=found)
    return weights

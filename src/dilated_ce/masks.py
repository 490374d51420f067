"""The class masks of a batch as bits: 8 masks in a byte.

A dilation then shifts and ORs 8 masks at once, volumes are counted 16 bits of a word at a time, and
the weight of a voxel is looked up in a table with 256 entries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dilated_ce.operators import operator
from dilated_ce.pieces import blocks, copy, piece, pieces, small_parts

BITS = 8
SIDE_BY_SIDE = 64  # words that are added at once when bits are counted, at most
COUNTED = 8 * 15 * 17  # bytes that are counted into each of them: see `count_bits`


@dataclass(frozen=True)
class Masks:
    """The masks of all classes of all images, and where each of them lies.

    Few classes leave bits of a byte free, so that several images share a plane of bytes, each in a
    lane of as many bits as there are classes. More than 8 classes take several planes per image.
    Class c of image b is

        bit    b % lanes * C + c % 8                in every byte of
        plane  b // lanes * depth + c // 8

    Examples:
        >>> labels = torch.tensor([[0, 1, 1], [2, 2, 0]])  # two images of three pixels
        >>> masks = Masks.of(labels, None, num_classes=3)
        >>> masks.lanes, masks.depth  # both images in one plane: classes 0, 1, 2 and 0, 1, 2
        (2, 1)
        >>> [f"{byte:06b}" for byte in masks.planes.flatten().tolist()]
        ['100001', '100010', '001010']
        >>> masks.volumes()
        tensor([[1, 2, 0],
                [1, 0, 2]])
    """

    planes: Tensor  # uint8 (P, *spatial)
    batch: int
    num_classes: int
    inside: Tensor | None = None  # all bits of the valid voxels, as planes; None if all are valid

    @property
    def lanes(self) -> int:
        """How many images share a plane."""
        return max(1, BITS // self.num_classes)

    @property
    def depth(self) -> int:
        """How many planes an image takes, or the images that share them."""
        return math.ceil(self.num_classes / BITS)

    @property
    def num_planes(self) -> int:
        """How many planes all images take."""
        return -(-self.batch // self.lanes) * self.depth

    @property
    def bits_per_lane(self) -> int:
        """How many classes of an image lie in one plane, at most."""
        return min(self.num_classes, BITS)

    @staticmethod
    def of(labels: Tensor, valid: Tensor | None, num_classes: int) -> "Masks":
        """The masks of labels (B, *spatial), a class each; `valid` is bool, None if all are."""
        masks = Masks.empty(labels, num_classes)
        lanes, depth = masks.lanes, masks.depth
        size = math.prod(labels.shape[1:])
        images = labels.reshape(labels.shape[0], size)
        inside = None if valid is None else valid.reshape(images.shape).view(torch.uint8)
        # The bits of the classes, and if some voxels are not valid all bits of those that are.
        made = masks.planes.new_empty(1 if valid is None else 2, *masks.planes.shape)
        planes = made.view(len(made), masks.planes.shape[0] // depth, depth, size)
        # In plane `level` class c has the bit 2 ** (c - 8 level). For the classes of other planes
        # that is 0 as a byte: an integer power below 0, or a multiple of 256. One table has all
        # powers, from 8 - 8 depth on; a plane starts in it where its class 0 is. Not by shifts,
        # which were wrong for bytes on Apple's GPUs.
        powers = 2 ** torch.arange(BITS - BITS * depth, num_classes, device=labels.device)
        powers = powers.to(torch.uint8)
        for which, part in blocks(images, lanes):
            index = images[which, part]
            index = index if index.dtype in (torch.int32, torch.int64) else index.int()
            for level in range(depth):
                to = planes[:, :, level, part]
                alone = len(index) == 1 and which.start % lanes == 0  # and first in its plane
                first = to.narrow(1, which.start // lanes, 1)
                bits = first if alone else made.new_empty(len(made), *index.shape)
                table = powers[BITS * (depth - 1 - level) :]
                torch.index_select(table, 0, index.reshape(-1), out=bits[0].view(-1))
                if inside is not None:
                    torch.mul(inside[which, part], 2**masks.bits_per_lane - 1, out=bits[1])
                if not alone:
                    masks.share(bits, to, which.start)
        return replace(
            masks, planes=made[0], inside=None if valid is None else made[1]
        ).at_valid_voxels()

    def share(self, bits: Tensor, planes: Tensor, first: int) -> None:
        """Put bits of consecutive images, (k, N, n) for lane 0, into their lanes of planes."""
        for image in range(min(self.lanes, bits.shape[1])):
            group, lane = divmod(first + image, self.lanes)
            own = bits[:, image :: self.lanes]
            to = planes.narrow(1, group, own.shape[1])
            if lane == 0:
                to.copy_(own)
            else:
                to.add_(own, alpha=2 ** (lane * self.num_classes))

    @staticmethod
    def empty(labels: Tensor, num_classes: int) -> "Masks":
        """Planes for the masks of labels (B, *spatial), without numbers in them."""
        layout = Masks(labels, labels.shape[0], num_classes)
        shape = (layout.num_planes, *labels.shape[1:])
        return replace(layout, planes=labels.new_empty(shape, dtype=torch.uint8))

    def at_valid_voxels(self) -> "Masks":
        """The masks at valid voxels alone."""
        return self if self.inside is None else replace(self, planes=self.planes & self.inside)

    def select(self, chosen: Tensor) -> Tensor:
        """The bits of the masks chosen, bool (..., B, C), in every plane: int64 (..., P)."""
        missing = self.depth * self.bits_per_lane - self.num_classes, -self.batch % self.lanes
        if any(missing):
            chosen = F.pad(chosen, (0, missing[0], 0, missing[1]))
        by_plane = chosen.reshape(*chosen.shape[:-2], -1, self.lanes * self.bits_per_lane)
        return (by_plane * 2 ** torch.arange(by_plane.shape[-1], device=chosen.device)).sum(-1)

    def volumes(self) -> Tensor:
        """The number of voxels of each mask: int64 (B, C)."""
        return self.by_image(count_bits(self.planes)).contiguous()

    def by_image(self, by_bit: Tensor) -> Tensor:
        """Numbers (..., P, 8), one for each bit of each plane, as (..., B, C)."""
        used = by_bit[..., : self.lanes * self.bits_per_lane]
        by_image = used.reshape(*by_bit.shape[:-2], -1, self.depth * self.bits_per_lane)
        return by_image[..., : self.batch, : self.num_classes]


def countable(size: int) -> int:
    """The next larger number of bytes that `count_bits` counts without a copy."""
    step = COUNTED * _side_by_side(size)
    return -(-size // step) * step


def _side_by_side(size: int) -> int:
    """How many words of a plane of so many bytes are added at once: few of a small one."""
    return min(SIDE_BY_SIDE, max(1, -(-size // COUNTED)))


def long_axes(shape: Sequence[int]) -> int:
    """How many axes have more than one voxel: a slice is 2D, and so is a volume of one slice."""
    return sum(side > 1 for side in shape)


def count_bits(planes: Tensor) -> Tensor:
    """How many bytes of each plane have each bit set: int64 (P, 8), of uint8 (P, *spatial).

    A word holds 8 bytes, and every 4th bit of it is a counter that holds up to 15. So 15 words add
    up without a carry, 4 times for all bits; then 17 such sums do, as bytes.

    A count of the byte values (bincount) is as fast on noise, but slow where most voxels are alike,
    and it makes the host wait for an accelerator.
    """
    rows = planes.flatten(1)
    if rows.numel() == 0:
        return torch.zeros(len(rows), BITS, dtype=torch.int64, device=planes.device)
    size = countable(rows.shape[1])
    if size > rows.shape[1]:
        padded = rows.new_empty(len(rows), size)
        copy(padded.narrow(1, 0, rows.shape[1]), rows)
        for (rest,) in small_parts(padded.narrow(1, rows.shape[1], size - rows.shape[1])):
            rest.zero_()
        rows = padded
    width = _side_by_side(size)
    words = rows.contiguous().view(torch.int64).view(-1, 15, width)  # of all rows, one by one
    every_4th, low_half = 0x1111_1111_1111_1111, 0x0F0F_0F0F_0F0F_0F0F
    shifts = torch.arange(4, device=planes.device).view(4, 1, 1, 1)
    sums = words.new_empty(4, len(words), width)
    for part in pieces(len(words), piece(rows) // (4 * 15 * width)):
        torch.sum((words[part] >> shifts).bitwise_and_(every_4th), 2, out=sums[:, part])
    # The low and the high half of each byte count bits of their own.
    shifts = 4 * shifts[:2, ..., None]
    by_17 = sums.view(4, -1, 17, width)
    counts = words.new_empty(2, 4, by_17.shape[1])
    for part in pieces(by_17.shape[1], piece(rows) // (8 * 17 * width)):
        bytes_ = (by_17[:, part] >> shifts).bitwise_and_(low_half).sum(3).view(torch.uint8)
        torch.sum(bytes_, 3, out=counts[:, :, part])
    return counts.view(BITS, len(rows), -1).sum(2).T


@operator(
    "unpack(Tensor planes, SymInt batch, int num_classes, SymInt[] shape) -> Tensor",
    lambda planes, batch, num_classes, shape: planes.new_empty(
        (batch, num_classes, *shape), dtype=torch.bool
    ),
)
def unpack(planes: Tensor, batch: int, num_classes: int, shape: Sequence[int]) -> Tensor:
    """The masks themselves, bool (B, C, *shape), of planes as one row."""
    masks = planes.new_empty((batch, num_classes, *shape), dtype=torch.bool)
    if masks.numel() == 0:
        return masks
    layout = Masks(planes.view(-1, *shape), batch, num_classes)
    for lane in range(layout.lanes):
        for index in range(num_classes):
            own = masks[lane :: layout.lanes, index]
            bit = 2 ** (lane * num_classes + index % BITS)
            found = layout.planes[index // BITS :: layout.depth]
            own.copy_(found[: len(own)] & bit)
    return masks


@operator(
    "look_up(Tensor planes, Tensor table, SymInt batch, SymInt[] shape, bool largest) -> Tensor",
    lambda planes, table, batch, shape, largest: table.new_empty((batch, *shape)),
)
def look_up(
    planes: Tensor, table: Tensor, batch: int, shape: Sequence[int], largest: bool
) -> Tensor:
    """What each voxel gets from the masks that hold it, (B, *shape).

    Args:
        planes: of the masks, as one row, uint8.
        table: what a voxel gets from each mask, (B, C) or, alike for all images, (1, C).
        batch: number of images B.
        shape: of an image.
        largest: the largest of them if masks overlap, or their sum.
    """
    if planes.numel() == 0:
        return table.new_empty(batch, *shape)
    masks = Masks(planes.view(-1, *shape), batch, table.shape[1])
    lanes, depth, width = masks.lanes, masks.depth, masks.bits_per_lane
    groups = -(-batch // lanes)
    missing = depth * width - masks.num_classes, groups * lanes - batch
    table = table.expand(batch, -1)
    if any(missing):
        table = F.pad(table, (0, missing[0], 0, missing[1]))
    # What each of the 256 bytes means to each lane of each plane: (depth, groups, lanes, 256).
    bits = 2 ** torch.arange(lanes * width, device=planes.device)
    absent = (torch.arange(256, device=planes.device)[:, None] & bits) == 0
    # No product with 0: the share of a class that no voxel here has may be too large for a float.
    shares = table.reshape(groups, lanes, depth, 1, width).masked_fill(
        absent.view(256, lanes, 1, width).movedim(0, 2), 0
    )
    meaning = (shares.amax(-1) if largest else shares.sum(-1)).movedim(2, 0).contiguous()

    by_group = planes.view(groups, depth, -1)
    size = by_group.shape[-1]
    found = table.new_empty(groups, lanes, size)
    start = torch.arange(0, 256 * groups * lanes, 256, dtype=torch.int32, device=planes.device)
    start = start.view(groups, lanes, 1)
    for which, part in blocks(by_group[:, 0]):
        whole = part == slice(0, size)  # all lanes at once, as they lie side by side
        for level in range(depth):
            voxels, own = by_group[which, level, None, part], meaning[level].view(-1)
            index = (voxels + start[which, : lanes if whole else 1]).view(-1)
            for lane in (slice(0, lanes),) if whole else pieces(lanes, 1):
                to = found[which, lane, part].view(-1)
                if level == 0:
                    torch.index_select(own[256 * lane.start :], 0, index, out=to)
                    continue
                values = own[256 * lane.start :].index_select(0, index)
                if largest:
                    torch.maximum(to, values, out=to)
                else:
                    to.add_(values)
    return found.view(-1, size)[:batch].view(batch, *shape)

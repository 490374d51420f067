"""Slow references that the project is held against: scipy, numpy and plain torch formulas.

Written from the method's definition alone and sharing no code with the package.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

# What to do with the shares of dilated masks that overlap. Every test draws from here.
OVERLAPS = {"sum": np.sum, "max": np.max}


def dilated_masks(labels, radius, num_classes, spacing=None, ignore_index=None):
    """bool (B, C, *spatial) from scipy's exact Euclidean distance transform."""
    labels = np.asarray(labels)
    radii = [radius] * num_classes if np.isscalar(radius) else list(radius)
    by_image = [radii] * len(labels)
    if isinstance(radius, str):
        by_image = automatic_radii(labels, num_classes, spacing, ignore_index)
    valid = np.ones_like(labels, bool) if ignore_index is None else labels != ignore_index
    out = np.zeros((labels.shape[0], num_classes, *labels.shape[1:]), bool)
    for b, image in enumerate(labels):
        for c, r in enumerate(by_image[b]):
            mask = (image == c) & valid[b]
            if mask.any():
                distance = ndimage.distance_transform_edt(~mask, sampling=spacing)
                out[b, c] = (distance <= r) & valid[b]
    return out


def automatic_radii(labels, num_classes, spacing=None, ignore_index=None):
    """float (B, C): d |M| / |dM| by faces, to a power of sqrt 2; infinite for the largest class."""
    labels = np.asarray(labels)
    axes = sum(side > 1 for side in labels.shape[1:])
    spacing = np.ones(labels.ndim - 1) if spacing is None else np.asarray(spacing)
    radii = np.zeros((len(labels), num_classes))
    for b, image in enumerate(labels):
        valid = np.ones_like(image, bool) if ignore_index is None else image != ignore_index
        for c in range(num_classes):
            mask = valid & (image == c)
            surface = 0.0
            for axis in range(image.ndim):
                m, v = np.moveaxis(mask, axis, 0), np.moveaxis(valid, axis, 0)
                faces = (m[1:] != m[:-1]) & v[1:] & v[:-1]
                surface += faces.sum() * spacing.prod() / spacing[axis]
            if mask.sum() == max((valid & (image == k)).sum() for k in range(num_classes)):
                radii[b, c] = math.inf if mask.any() else 0.0
            elif mask.any():
                # One that touches no other is parted from it by what is ignored.
                ratio = axes * mask.sum() * spacing.prod() / surface if surface else math.inf
                voxels = max(2.0, ratio / spacing.min())
                steps = round(2 * math.log2(voxels)) if surface else math.inf
                radii[b, c] = spacing.min() * math.sqrt(2.0**steps)
    return radii


def weights(
    labels,
    radius,
    num_classes,
    spacing=None,
    overlap="sum",
    balance="batch",
    volumes=None,
    ignore_index=None,
):
    """float64 (B, *spatial), the weights of the method scaled to mean 1 over valid voxels."""
    labels = np.asarray(labels)
    masks = dilated_masks(labels, radius, num_classes, spacing, ignore_index)
    valid = np.ones_like(labels, bool) if ignore_index is None else labels != ignore_index
    counts = masks.reshape(*masks.shape[:2], math.prod(labels.shape[1:])).sum(-1).astype(float)
    if volumes is not None:
        counts = np.broadcast_to(np.asarray(volumes, float), counts.shape)
    elif balance == "batch":
        counts = np.broadcast_to(counts.sum(0), counts.shape)
    inverse = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    if isinstance(radius, str) and balance == "image" and volumes is None:
        # Among the shares 1 / v: 1 for what reaches over the whole image, less for the rest.
        for of_image, own in zip(inverse, masks.reshape(*masks.shape[:2], -1).sum(-1), strict=True):
            whole, num_everywhere = own.max(), (own == own.max()).sum()
            gain = 2 / max((own > 0).sum() - 1, 1)
            for c, volume in enumerate(own):
                if volume == whole:  # which of them is the largest class's does not matter
                    of_image[c] *= (1 + (num_everywhere - 1) * gain) / num_everywhere
                elif volume > 0:
                    of_image[c] *= gain * math.sqrt(volume / whole)
    shares = masks * inverse.reshape(*counts.shape, *[1] * (labels.ndim - 1))
    raw = OVERLAPS[overlap](shares, axis=1)
    total = raw[valid].sum()
    return raw * (valid.sum() / total) if total > 0 else raw


def loss(logits: Tensor, labels: Tensor, radius, ignore_index=None, **options) -> Tensor:
    """sum_x w(x) CE(x) / sum_x w(x), in double precision."""
    w = torch.from_numpy(
        weights(labels.numpy(), radius, logits.shape[1], ignore_index=ignore_index, **options)
    )
    log_p = F.log_softmax(logits.double(), 1)
    valid = torch.ones_like(labels, dtype=torch.bool)
    if ignore_index is not None:
        valid = labels != ignore_index
    picked = -log_p.gather(1, torch.where(valid, labels, 0).long()[:, None])[:, 0]
    return (w * picked)[valid].sum() / max(int(valid.sum()), 1)


def balanced_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    """Cross entropy with each class weighted by its inverse frequency in the batch."""
    valid = labels[labels != ignore_index]
    counts = torch.bincount(valid, minlength=logits.shape[1]).to(logits.dtype)
    weight = torch.where(counts > 0, 1 / counts, 0)
    return F.cross_entropy(logits, labels, weight=weight, ignore_index=ignore_index)

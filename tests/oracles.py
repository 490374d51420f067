"""Slow references that the project is held against: scipy, numpy and plain torch formulas.

Written from the method's definition alone and sharing no code with the package.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

# The scopes of the volumes that are counted. Every test draws from here.
SCOPES = ("batch", "image")
# The radii that the adaptive rule chooses from, in voxels of the finest axis.
RUNGS = (2.0, 2.0 * math.sqrt(2), 4.0, 4.0 * math.sqrt(2), 8.0)


def valid_voxels(labels, ignore_index):
    """Where labels are not ignored."""
    return np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index


def dilated_masks(labels, radius, num_classes, spacing=None, ignore_index=None):
    """bool (B, C, *spatial) from scipy's exact Euclidean distance transform.

    `radius` is one number, one per class, or, as an array (B, C), one per mask.
    """
    labels = np.asarray(labels)
    radii = np.broadcast_to(np.asarray(radius, float), (len(labels), num_classes))
    valid = valid_voxels(labels, ignore_index)
    out = np.zeros((labels.shape[0], num_classes, *labels.shape[1:]), bool)
    for b, image in enumerate(labels):
        for c, r in enumerate(radii[b]):
            mask = (image == c) & valid[b]
            if mask.any():
                distance = ndimage.distance_transform_edt(~mask, sampling=spacing)
                out[b, c] = (distance <= r) & valid[b]
    return out


def volumes_of(masks):
    """float (B, C): how many voxels each mask (B, C, *spatial) has."""
    return masks.sum(tuple(range(2, masks.ndim))).astype(float)


def adaptive_radii(labels, num_classes, spacing=None, ignore_index=None):
    """float (B, C): R = d |M| / |dM| by faces, kept in [2, 8] finest voxels, on the ladder.

    A mask without voxels has no radius; it gets 2 voxels, which make nothing of it.
    """
    labels = np.asarray(labels)
    axes = sum(side > 1 for side in labels.shape[1:])
    spacing = np.ones(labels.ndim - 1) if spacing is None else np.asarray(spacing, float)
    long = [side > 1 for side in labels.shape[1:]]
    finest = spacing[long].min() if any(long) else spacing.min()
    radii = np.full((len(labels), num_classes), 2 * finest)
    for b, image in enumerate(labels):
        valid = valid_voxels(image, ignore_index)
        for c in range(num_classes):
            mask = valid & (image == c)
            surface = 0.0
            for axis in range(image.ndim):
                m, v = np.moveaxis(mask, axis, 0), np.moveaxis(valid, axis, 0)
                faces = (m[1:] != m[:-1]) & v[1:] & v[:-1]
                surface += faces.sum() / spacing[axis]  # area over the volume of a voxel
            if mask.any():
                length = axes * mask.sum() / surface / finest if surface else math.inf
                nearest = np.abs(np.log2(RUNGS) - math.log2(min(max(length, 1e-9), 1e9)))
                # Half way between two rungs the larger one.
                rung = max(np.flatnonzero(nearest <= nearest.min() + 1e-9))
                radii[b, c] = RUNGS[rung] * finest
    return radii


def scaled(raw, valid):
    """The map with mean 1 over the valid voxels."""
    total = raw[valid].sum()
    return raw * (valid.sum() / total) if total > 0 else raw


def balanced_weights(
    labels,
    radius,
    num_classes,
    spacing=None,
    volumes="batch",
    ignore_index=None,
    weight=None,
    num_voxels=None,
):
    """float64 (B, *spatial): the sum of the shares 1 / v_c, scaled to mean 1 over valid voxels."""
    labels = np.asarray(labels)
    masks = dilated_masks(labels, radius, num_classes, spacing, ignore_index)
    counts = volumes_of(masks)
    if not isinstance(volumes, str):
        counts = np.broadcast_to(np.asarray(volumes, float), counts.shape)
    elif volumes == "batch":
        counts = np.broadcast_to(counts.sum(0), counts.shape)
    importance = np.ones(num_classes) if weight is None else np.asarray(weight, float)
    shares = np.divide(importance, counts, out=np.zeros_like(counts), where=counts > 0)
    raw = (masks * shares.reshape(*counts.shape, *[1] * (labels.ndim - 1))).sum(1)
    if num_voxels is not None:  # the weights of all the data set add up to the shares of classes
        return raw * num_voxels / importance[np.asarray(volumes, float) > 0].sum()
    return scaled(raw, valid_voxels(labels, ignore_index))


def adaptive_weights(labels, num_classes, spacing=None, ignore_index=None, weight=None):
    """float64 (B, *spatial): half plain, half the largest of the shares (V / v_c)^(1/d)."""
    labels = np.asarray(labels)
    axes = max(1, sum(side > 1 for side in labels.shape[1:]))
    valid = valid_voxels(labels, ignore_index)
    radii = adaptive_radii(labels, num_classes, spacing, ignore_index)
    masks = dilated_masks(labels, radii, num_classes, spacing, ignore_index)
    raw = np.zeros(labels.shape)
    for b in range(len(labels)):
        for c in range(num_classes):
            if masks[b, c].any():
                share = (valid[b].sum() / masks[b, c].sum()) ** (1 / axes)
                share *= 1 if weight is None else float(weight[c])
                raw[b] = np.maximum(raw[b], share * masks[b, c])
        mean = raw[b].sum() / max(valid[b].sum(), 1)  # of a class with a weight, if there is one
        raw[b] = np.where(valid[b], (1 + raw[b] / mean) / 2 if mean > 0 else 1, 0)
    return scaled(raw, valid)


def weighted_loss(logits: Tensor, labels: Tensor, weights, ignore_index=None) -> Tensor:
    """sum_x w(x) CE(x) over the number of valid voxels, in double precision."""
    log_p = F.log_softmax(logits.double(), 1)
    valid = torch.from_numpy(valid_voxels(labels.numpy(), ignore_index))
    picked = -log_p.gather(1, torch.where(valid, labels, 0).long()[:, None])[:, 0]
    return (torch.from_numpy(weights) * picked)[valid].sum() / max(int(valid.sum()), 1)


def loss(logits: Tensor, labels: Tensor, radius, ignore_index=None, **options) -> Tensor:
    """Dilated balanced cross entropy in double precision."""
    w = balanced_weights(
        labels.numpy(), radius, logits.shape[1], ignore_index=ignore_index, **options
    )
    return weighted_loss(logits, labels, w, ignore_index)


def adaptive_loss(logits: Tensor, labels: Tensor, ignore_index=None, **options) -> Tensor:
    """Cross entropy with adaptive dilated weights in double precision."""
    w = adaptive_weights(labels.numpy(), logits.shape[1], ignore_index=ignore_index, **options)
    return weighted_loss(logits, labels, w, ignore_index)


def balanced_cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
    """Cross entropy with each class weighted by its inverse frequency in the batch."""
    valid = labels[labels != ignore_index]
    counts = torch.bincount(valid, minlength=logits.shape[1]).to(logits.dtype)
    weight = torch.where(counts > 0, 1 / counts, 0)
    return F.cross_entropy(logits, labels, weight=weight, ignore_index=ignore_index)

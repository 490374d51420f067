"""Label maps: what passes for one, and which of its voxels count.

No check makes the host wait for CUDA.
"""

import torch
from torch import Tensor

# Torch has few operations for these; label files of 16 bits come in one.
WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def plain(tensor: Tensor) -> Tensor:
    """Without the metadata of a subclass, such as MONAI's; they follow every operation."""
    compiling = torch.compiler.is_compiling()  # whose tensors are subclasses, and must remain so
    if isinstance(tensor, Tensor) and type(tensor) is not Tensor and not compiling:
        return tensor.as_subclass(Tensor)
    return tensor


def as_labels(name: str, labels: Tensor) -> Tensor:
    """Integer labels (B, *spatial), 1D to 3D, in a dtype that torch can compare and shift."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name}: got {type(labels).__name__}, expected a torch.Tensor.")
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"{name}: got dtype {labels.dtype}, expected integer class indices. "
            f"Convert with {name}.long(), or take the argmax over the classes if these are "
            "one-hot or probability maps."
        )
    if not 2 <= labels.ndim <= 4:
        raise ValueError(
            f"{name}: got shape {tuple(labels.shape)}, expected (B, *spatial) with 1 to 3 spatial "
            f"axes. Use {name}[None] for one image without a batch axis, {name}[:, 0] to drop a "
            "channel axis."
        )
    labels = plain(labels)
    if labels.dtype == torch.bool:
        return labels.to(torch.uint8)
    if labels.dtype not in WIDE_UNSIGNED:
        return labels
    wide = labels.long()
    # What int64 can't hold is no class either, and must not pass for an ignored negative label.
    return wide.masked_fill(wide < 0, 2**63 - 1) if labels.dtype == torch.uint64 else wide


def valid_voxels(labels: Tensor, ignore_index: int | None) -> Tensor | None:
    """Where labels, as `as_labels` gives them, are not ignored (bool); None if none can be."""
    dtype = torch.iinfo(labels.dtype)
    # A narrow dtype would wrap a number out of its range around: -100 is 156 in uint8.
    if ignore_index is None or not dtype.min <= ignore_index <= dtype.max:
        return None
    return labels != ignore_index


def count_valid(labels: Tensor, valid: Tensor | None) -> Tensor:
    """The number of valid voxels, an int64 scalar; of all where `valid` is None."""
    if valid is None:
        return torch.full((), labels.numel(), dtype=torch.int64, device=labels.device)
    return valid.sum()


def check_labels(
    name: str, labels: Tensor, num_classes: int, ignore_index: int | None
) -> Tensor | None:
    """Check that every label is a class or ignored; return where they are valid.

    Returns:
        bool tensor of the shape of `labels`, False at ignored voxels, or None if there are none.

    On CUDA the check is an asynchronous assertion, as in PyTorch's own cross entropy: nothing waits
    for the device, and a label out of range ends the program there.
    """
    highest = min(num_classes - 1, torch.iinfo(labels.dtype).max)
    if labels.device.type != "cuda" and labels.numel() > 0:
        # One pass settles the usual case, in which every label is a class and none is ignored.
        low, high = (int(value) for value in labels.aminmax())
        ignorable = ignore_index is not None and low <= ignore_index <= high
        if low >= 0 and high <= highest and not ignorable:
            return None
    valid = valid_voxels(labels, ignore_index)
    in_range = (labels >= 0) & (labels <= highest)
    allowed = in_range if valid is None else in_range | ~valid
    if labels.device.type == "cuda":
        torch._assert_async(allowed.all(), f"{name}: a label lies outside 0 ... {num_classes - 1}.")
    elif not allowed.all():
        wrong = torch.unique(labels[~allowed]).tolist()
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        raise ValueError(
            f"{name}: got label{'s' if len(wrong) > 1 else ''} {shown}, expected 0 ... "
            f"{num_classes - 1} for {num_classes} class{'es' if num_classes > 1 else ''}{ignored}. "
            "Check the number of classes (background included), or name the label of unannotated "
            "voxels as ignore_index."
        )
    return valid

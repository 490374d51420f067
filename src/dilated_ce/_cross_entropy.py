"""Weighted cross entropy that takes one tensor of the size of the logits, and little time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dilated_ce._targets import Target


def compare(
    mode: str,
    logits: Tensor,
    target: Target,
    weights: Tensor,
    valid: Tensor | None,
    label_smoothing: float,
    reduction: str,
) -> Tensor:
    """The map w(x) CE(x) for reduction="none", its sum otherwise.

    Args:
        mode: one of `MODES`.
        logits: float32 or float64 (B, C, *spatial).
        target: what `as_target` gives for these logits.
        weights: of the shape of the labels, 0 where not valid; of the dtype of the logits.
        valid: bool, where the labels are not ignored; None if none are.
        label_smoothing: 0 to 1, as in `F.cross_entropy`.
        reduction: "mean", "sum" or "none".
    """
    truth = target.truth
    # Forward derivatives, as of torch.func.hessian, want operations that have them.
    forward = torch.autograd.forward_ad._current_level >= 0
    fused = truth is None and reduction != "none" and not forward
    if fused and not torch.compiler.is_compiling():
        labels = target.labels.long()
        return weighted_cross_entropy(logits, labels, weights, valid, label_smoothing)
    if valid is not None:  # 0 times infinity, where an ignored voxel is out of bounds
        everywhere = valid if mode != "multiclass" else valid[:, None]
        logits = torch.where(everywhere, logits, 0)
        truth = truth if truth is None else torch.where(everywhere, truth, 0)
    if mode == "multiclass":
        if truth is None:
            labels = target.labels.long()
            truth = labels if valid is None else torch.where(valid, labels, 0)
        else:
            truth = truth.to(logits.dtype)
        loss = F.cross_entropy(logits, truth, label_smoothing=label_smoothing, reduction="none")
    else:
        assert truth is not None
        truth = truth.to(logits.dtype)
        if label_smoothing > 0:  # as of the two classes that each channel is
            truth = truth * (1 - label_smoothing) + label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    weighted = weights * loss
    return weighted if reduction == "none" else weighted.sum()


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None, label_smoothing: float
) -> Tensor:
    """sum_x w(x) CE(x), a scalar; the arguments are taken as checked.

    The same as `(weights * F.cross_entropy(logits, target, reduction="none")).sum()`, which keeps
    three tensors of the size of the logits at a time: the log-probabilities and two gradients.
    Here the log-probabilities of the forward pass become the gradient, in place.

    Args:
        logits: float32 or float64 (B, C, *spatial).
        target: int64 (B, *spatial).
        weights: (B, *spatial), 0 where not valid; of the dtype of the logits.
        valid: bool (B, *spatial), False at ignored voxels; None if there are none.
        label_smoothing: 0 to 1, as in `F.cross_entropy`.
    """
    if valid is not None:
        target = torch.where(valid, target, 0)
    apply: Any = _WeightedCrossEntropy.apply  # which PyTorch leaves without types
    total: Tensor = apply(logits, target, weights, valid, label_smoothing)[0]
    return total


class _WeightedCrossEntropy(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        weights: Tensor,
        valid: Tensor | None,
        label_smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        log_p = F.log_softmax(logits, dim=1)
        fitting = log_p.gather(1, target[:, None])[:, 0]
        if label_smoothing > 0:
            fitting.mul_(1 - label_smoothing).add_(log_p.mean(1), alpha=label_smoothing)
        if valid is not None:  # 0 times infinity, where an ignored voxel is out of bounds
            fitting.masked_fill_(~valid, 0)
        return 0 - fitting.mul_(weights).sum(), log_p  # of nothing 0, and not -0

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, target, weights, valid, label_smoothing = inputs
        _, log_p = output
        ctx.mark_non_differentiable(log_p)
        ctx.set_materialize_grads(False)  # no zeros for the gradient that log_p has not
        ctx.save_for_backward(logits, target, weights, valid)
        ctx.log_p = log_p
        ctx.label_smoothing = label_smoothing

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return None, None, None, None, None
        logits, target, weights, valid = ctx.saved_tensors
        smoothing = ctx.label_smoothing
        weights = weights * gradient
        if torch.is_grad_enabled():  # a second derivative is wanted
            result = gradient_to_differentiate(logits, target, weights, smoothing)
            if valid is not None:
                result = torch.where(valid[:, None], result, 0)
            return result, None, None, None, None
        # The first backward pass takes the log-probabilities; another one computes them anew.
        log_p, ctx.log_p = ctx.log_p, None
        result = F.log_softmax(logits, dim=1) if log_p is None else log_p
        result.exp_()
        if smoothing > 0:
            result.sub_(smoothing / logits.shape[1])
        target = target[:, None]
        result.scatter_add_(1, target, result.new_full((), smoothing - 1).expand_as(target))
        result.mul_(weights[:, None])
        if valid is not None:
            result.masked_fill_(~valid[:, None], 0)
        return result, None, None, None, None


def gradient_to_differentiate(
    logits: Tensor, target: Tensor, weights: Tensor, label_smoothing: float
) -> Tensor:
    """w(x) (softmax - truth), the gradient of the sum of w CE, in differentiable operations."""
    off_target = label_smoothing / logits.shape[1]
    truth = torch.full_like(logits, off_target)
    truth.scatter_(1, target[:, None], 1 - label_smoothing + off_target)
    return weights[:, None] * (logits.softmax(1) - truth)

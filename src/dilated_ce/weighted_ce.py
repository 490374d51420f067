"""Cross entropy under a weight map, for every kind of target, in little time and memory."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dilated_ce.target import Target, on_host, without_ignored


def weighted_cross_entropy(
    logits: Tensor,
    target: Target,
    weights: Tensor,
    valid: Tensor | None,
    label_smoothing: float,
    by_channel: bool,
    by_voxel: bool,
) -> Tensor:
    """The sum of w(x) CE(x) over the voxels, or the map of them.

    A class that a voxel has with probability 0 adds nothing, even if its logit is -inf, as of
    classes that are masked out: of probabilities as of the class indices that say the same.

    Args:
        logits: (B, C, *spatial).
        target: what `as_target` gives for these logits.
        weights: of the shape of the labels, 0 where not valid; float32 or float64, in which the
            loss is computed.
        valid: bool, where the labels are not ignored; None if none are.
        label_smoothing: 0 to 1, as in `F.cross_entropy`.
        by_channel: whether channels are masks of their own, with a sigmoid each, or classes.
        by_voxel: whether to return the map.
    """
    dtype = weights.dtype
    truth = None if target.truth is None else target.truth.to(dtype)
    if by_channel:
        assert truth is not None
        logits = logits.to(dtype)
        if label_smoothing > 0:  # as of the two classes that each channel is
            truth = truth * (1 - label_smoothing) + label_smoothing / 2
        if valid is not None:  # 0 times infinity, where an ignored entry is out of bounds
            logits, truth = torch.where(valid, logits, 0), torch.where(valid, truth, 0)
        loss = weights * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if not by_voxel and on_host(loss):
            total = loss.sum()
            if not total.isnan():
                return total
        # PyTorch has inf - inf where an infinite logit is right: nothing, and so is its gradient.
        loss = torch.where(logits.isinf() & (truth == (logits > 0)), 0, loss)
        return loss if by_voxel else loss.sum()

    labels = None if truth is not None else target.labels.long()
    # Compilers fuse plain operations, and forward derivatives, as of torch.func.hessian, need them.
    forward = torch.autograd.forward_ad._current_level >= 0
    learns_target = truth is not None and truth.requires_grad
    if not (by_voxel or forward or learns_target or torch.compiler.is_compiling()):
        apply: Any = _WeightedCrossEntropy.apply  # which PyTorch leaves without types
        labels = None if labels is None else without_ignored(labels, valid)
        ignored = None if valid is None else ~valid
        found: Tensor = apply(logits, labels, truth, weights, ignored, label_smoothing)[0]
        return found
    logits = logits.to(dtype)
    if valid is not None:
        logits = torch.where(valid[:, None], logits, 0)
        labels = None if labels is None else torch.where(valid, labels, 0)
        truth = None if truth is None else torch.where(valid[:, None], truth, 0)
    if labels is not None:
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    else:
        assert truth is not None
        if label_smoothing > 0:
            truth = truth * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        log_p = F.log_softmax(logits, 1)
        log_p = torch.where((truth == 0) & (log_p == -math.inf), 0, log_p)
        loss = -(truth * log_p).sum(1)
    return weights * loss if by_voxel else (weights * loss).sum()


class _WeightedCrossEntropy(torch.autograd.Function):
    """The sum of w CE over classes, without more than one tensor of the size of the logits.

    `(weights * F.cross_entropy(logits, target, reduction="none")).sum()` keeps three of them: the
    log-probabilities and two gradients. Here the log-probabilities of the forward pass become the
    gradient, in place; and of logits in half precision no other copy is kept. Either labels, with a
    class where they are ignored, or truth is None.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor,
        labels: Tensor | None,
        truth: Tensor | None,
        weights: Tensor,
        ignored: Tensor | None,
        label_smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        log_p = F.log_softmax(logits, dim=1, dtype=weights.dtype)
        if labels is not None:
            log_likelihood = log_p.gather(1, labels[:, None])[:, 0]
        else:
            assert truth is not None
            log_likelihood = _log_likelihood(truth, log_p)
        if label_smoothing > 0:
            log_likelihood.mul_(1 - label_smoothing).add_(log_p.mean(1), alpha=label_smoothing)
        if ignored is not None:  # 0 times infinity, where an ignored voxel is out of bounds
            log_likelihood.masked_fill_(ignored, 0)
        return 0 - log_likelihood.mul_(weights).sum(), log_p  # for an empty batch 0, and not -0

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, labels, truth, weights, ignored, label_smoothing = inputs
        _, log_p = output
        ctx.mark_non_differentiable(log_p)
        ctx.set_materialize_grads(False)  # no zeros for the gradient that log_p has not
        ctx.save_for_backward(logits, labels, truth, weights, ignored)
        ctx.log_p = log_p
        ctx.label_smoothing = label_smoothing

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 6
        logits, labels, truth, weights, ignored = ctx.saved_tensors
        smoothing = ctx.label_smoothing
        weights = (weights * gradient)[:, None]
        # `torch.autograd.grad(..., is_grads_batched=True)` puts many into one.
        many = torch._C._functorch.is_legacy_batchedtensor(gradient)
        if torch.is_grad_enabled() or many:  # a second derivative, or the first of many losses
            wanted = _smoothed(logits, labels, truth, smoothing, weights.dtype)
            found = logits.softmax(1, weights.dtype) * wanted.sum(1, keepdim=True)
            result = weights * (found - wanted)
            if ignored is not None:
                result = result.masked_fill(ignored[:, None], 0)
            return result.to(logits.dtype), *(None,) * 5
        # The first backward pass takes the log-probabilities; another one computes them anew.
        log_p, ctx.log_p = ctx.log_p, None
        result = F.log_softmax(logits, 1, dtype=weights.dtype) if log_p is None else log_p
        result.exp_()
        if truth is not None:  # which add up to about 1
            result.mul_(truth.sum(1, keepdim=True).mul(1 - smoothing).add(smoothing))
            result.sub_(truth, alpha=1 - smoothing)
        if smoothing > 0:
            result.sub_(smoothing / logits.shape[1])
        if truth is None:
            index = labels[:, None]
            result.scatter_add_(1, index, result.new_full((), smoothing - 1).expand_as(index))
        result.mul_(weights)
        if ignored is not None:
            result.masked_fill_(ignored[:, None], 0)
        return result.to(logits.dtype), *(None,) * 5


def _log_likelihood(truth: Tensor, log_p: Tensor) -> Tensor:
    """The sum of truth log_p over classes; one of truth 0 adds nothing, even if log_p is -inf.

    On a CPU one number tells whether there is any such class, which saves time.
    """
    if on_host(log_p):
        found = (truth * log_p).sum(1)
        if not found.sum().isnan():
            return found
    return (truth * log_p).masked_fill_(truth == 0, 0).sum(1)


def _smoothed(
    logits: Tensor,
    labels: Tensor | None,
    truth: Tensor | None,
    smoothing: float,
    dtype: torch.dtype,
) -> Tensor:
    """The probabilities (B, C, *spatial) that the logits should have."""
    if truth is None:
        assert labels is not None
        truth = torch.zeros_like(logits, dtype=dtype).scatter_(1, labels[:, None], 1.0)
    return truth * (1 - smoothing) + smoothing / logits.shape[1]

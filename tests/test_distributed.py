"""Oracle 6: one batch over two processes has the gradient of the whole batch in one."""

import copy
import itertools

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dilated_ce import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    adaptive_dilated_cross_entropy,
    adaptive_dilated_weights,
    dilated_balanced_cross_entropy,
    dilated_balanced_weights,
)

RADIUS = 1.5
NUM_CLASSES = 4


def batch_and_parts(case):
    """A batch of label maps, and the slices of it that the two processes hold."""
    labels = torch.randint(0, 3, (4, 9, 8), generator=torch.manual_seed(0))
    labels[0, 2:5, 2:5] = 3  # a class that only the first process sees
    if case == "ignored":
        labels[1:3, :4] = -100
    elif case == "nothing valid on one":
        labels[2:] = -100
    elif case == "nothing valid":
        labels[:] = -100
    parts = {"uneven": [slice(0, 1), slice(1, 4)], "empty": [slice(0, 4), slice(4, 4)]}
    return labels, parts.get(case, [slice(0, 2), slice(2, 4)])


CASES = ["even", "uneven", "empty", "ignored", "nothing valid on one", "nothing valid"]
# Without a radius it is the adaptive loss.
OPTIONS = [
    {"radius": RADIUS},
    {"radius": RADIUS, "volumes": "image"},
    {"radius": RADIUS, "volumes": [300, 200, 100, 20]},
    {"radius": RADIUS, "volumes": [300, 200, 100, 20], "num_voxels": 400},
    {"radius": RADIUS, "weight": [1.0, 2.0, 0.5, 3.0]},
    {"radius": [0, 1, 2, 3]},
    {},
    {"weight": [1.0, 2.0, 0.5, 3.0]},
]


def loss_and_gradient(logits, labels, process_group=None, **options):
    logits = logits.clone().requires_grad_()
    function = dilated_balanced_cross_entropy if "radius" in options else None
    function = function or adaptive_dilated_cross_entropy
    loss = function(logits, labels, process_group=process_group, **options)
    loss.backward()
    return loss.detach(), logits.grad


def weigh(labels, **options):
    function = dilated_balanced_weights if "radius" in options else adaptive_dilated_weights
    return function(labels, num_classes=NUM_CLASSES, **options)


def check_modes(rank, parts):
    """Channels that overlap, and probabilities; the group is looked up by its name."""
    generator = torch.manual_seed(2)
    target = torch.rand(4, 3, 9, 8, dtype=torch.float64, generator=generator)
    target[:2, 1] *= 0.5  # a channel without foreground on the first process
    target[2:, :, :5] = -100
    logits = torch.randn(target.shape, dtype=torch.float64, generator=generator)
    soft = torch.where(target < 0, target, target / target.sum(1, keepdim=True))
    for mode, truth in (("multilabel", target), ("multiclass", soft)):
        for options in (
            {},
            {"weight": [1, 2, 3]},
            {"radius": RADIUS},
            {"radius": [1, 2, 1]},
            {"radius": RADIUS, "volumes": "image"},
        ):
            options = {"mode": mode, **options}
            whole, gradient_of_whole = loss_and_gradient(logits, truth, **options)
            loss, gradient = loss_and_gradient(
                logits[parts[rank]], truth[parts[rank]], "world", **options
            )
            torch.testing.assert_close(gradient / 2, gradient_of_whole[parts[rank]])
            dist.all_reduce(loss)
            torch.testing.assert_close(loss / 2, whole)


def check_precision(rank):
    """In single precision too, to 1e-6 of the gradient."""
    labels, _ = batch_and_parts("nothing valid on one")
    labels[1, :5] = -100
    logits = torch.randn(4, NUM_CLASSES, 9, 8, generator=torch.manual_seed(3))
    mine = slice(0, 3) if rank == 0 else slice(3, 4)
    for options in ({}, {"radius": RADIUS}):
        _, whole = loss_and_gradient(logits, labels, **options)
        _, gradient = loss_and_gradient(logits[mine], labels[mine], "world", **options)
        assert (gradient / 2 - whole[mine]).norm() <= 1e-6 * whole.norm()


def check_ddp(rank):
    """The parameters of a network after a step, as DistributedDataParallel makes it."""
    labels, parts = batch_and_parts("ignored")
    images = torch.randn(4, 1, 9, 8, generator=torch.manual_seed(4))
    for criterion in (
        DilatedBalancedCELoss(RADIUS, process_group="world"),
        AdaptiveDilatedCELoss(process_group="world"),
    ):
        torch.manual_seed(5)
        network = torch.nn.Conv2d(1, NUM_CLASSES, 3, padding=1)
        single = copy.deepcopy(network)
        parallel = torch.nn.parallel.DistributedDataParallel(network)
        criterion(parallel(images[parts[rank]]), labels[parts[rank]]).backward()
        criterion.process_group = None
        criterion(single(images), labels).backward()
        torch.testing.assert_close(network.weight.grad, single.weight.grad)


def check_process(rank, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    world = dist.group.WORLD
    for case, options in itertools.product(CASES, OPTIONS):
        labels, parts = batch_and_parts(case)
        logits = torch.randn(
            4, NUM_CLASSES, 9, 8, dtype=torch.float64, generator=torch.manual_seed(1)
        )
        whole_loss, whole_gradient = loss_and_gradient(logits, labels, **options)
        mine = parts[rank]
        loss, gradient = loss_and_gradient(logits[mine], labels[mine], world, **options)
        # DistributedDataParallel averages the gradients of the parameters over the processes.
        torch.testing.assert_close(gradient / 2, whole_gradient[mine])
        dist.all_reduce(loss)
        torch.testing.assert_close(loss / 2, whole_loss)

        torch.testing.assert_close(
            weigh(labels[mine], process_group=world, **options), weigh(labels, **options)[mine]
        )
    check_modes(rank, parts)
    check_precision(rank)
    for module in (
        DilatedBalancedCELoss(1, process_group=world),
        AdaptiveDilatedCELoss(process_group=world),
    ):
        with pytest.raises(TypeError, match="can be neither pickled nor copied"):
            copy.deepcopy(module)
    first_alone, second_alone = dist.new_group([0]), dist.new_group([1])
    if rank == 1:
        with pytest.raises(ValueError, match="got a group that this process is not in"):
            loss_and_gradient(logits[mine], labels[mine], first_alone)
    labels, parts = batch_and_parts("even")
    mine, group = parts[rank], (first_alone, second_alone)[rank]
    for module, options in (
        (DilatedBalancedCELoss(RADIUS, process_group="world"), {"radius": RADIUS}),
        (AdaptiveDilatedCELoss(process_group="world"), {}),
    ):
        in_group = loss_and_gradient(logits[mine], labels[mine], group, **options)
        alone = loss_and_gradient(logits[mine], labels[mine], **options)
        torch.testing.assert_close(in_group, alone)
        together, _ = loss_and_gradient(logits[mine], labels[mine], "world", **options)
        # The adaptive weights of an image depend on that image alone.
        assert ((together - alone[0]).abs() > 1e-4) == ("radius" in options)
        torch.testing.assert_close(module(logits[mine], labels[mine]), together)
    check_ddp(rank)
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
def test_two_processes_give_the_gradient_of_one(free_port):
    mp.spawn(check_process, args=(free_port,), nprocs=2)

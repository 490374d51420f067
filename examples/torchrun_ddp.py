"""Two processes with DistributedDataParallel get the gradient of one with the whole batch.

    torchrun --standalone --nproc_per_node=2 examples/torchrun_ddp.py

What it shows: `process_group="world"` is the one thing that the loss needs. The volumes and the
mean are then those of the whole batch, however unevenly its parts turn out: here the second process
has no foreground, and another number of unlabelled voxels than the first.
"""

import copy
import gc

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dilated_ce import DilatedBalancedCELoss

UNLABELLED = -100


def make_batch() -> tuple[Tensor, Tensor]:
    """The whole batch, the same in every process: images (4, 1, 48, 48), labels (4, 48, 48)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(4, 48, 48, dtype=torch.long)
    labels[:2, 20:26, 20:26] = 1  # the last two images hold nothing but background
    labels[1, :7] = UNLABELLED
    labels[3, :30] = UNLABELLED
    images = (labels == 1)[:, None] + torch.randn(4, 1, 48, 48, generator=generator)
    return images.double(), labels


def gradient(network: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss by all parameters, as one vector."""
    network.zero_grad()
    criterion(network(images), labels).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def compare() -> None:
    """Compare the gradients and print how far they are from each other."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    # No batch norm: its statistics are those of one process, and would differ whatever the loss.
    # In double precision, to tell an exact result from one that is close.
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 5, padding=2)
    ).double()
    whole_network = copy.deepcopy(network)
    network = DistributedDataParallel(network)

    images, labels = make_batch()
    mine = slice(rank * len(images) // processes, (rank + 1) * len(images) // processes)

    shared = DilatedBalancedCELoss(radius=3, process_group="world")
    alone = DilatedBalancedCELoss(radius=3)
    of_whole = gradient(whole_network, alone, images, labels)
    for name, criterion in (('process_group="world"', shared), ("no process_group", alone)):
        of_parts = gradient(network, criterion, images[mine], labels[mine])
        difference = (of_parts - of_whole).norm() / of_whole.norm()
        if rank == 0:
            print(f"{name}: {difference:.1e} from the gradient of the whole batch")


def main() -> None:
    """Join the other processes, and leave them when the network has let go of them."""
    dist.init_process_group("gloo")  # "nccl" on GPUs
    compare()
    gc.collect()  # of the network's cycles: what gloo still holds when Python exits can abort it
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

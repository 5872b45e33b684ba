"""The processes of one training, as torchrun starts them: who leads, which rows are whose, sums over all of them.

A training that runs in one process does nothing of this. Knows nothing of models and tasks.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The place of this process among all `count`; the first one leads: it alone writes and reports."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Tell whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's items: every `count`-th, so that items in the order of length are shared evenly."""
        return items[self.rank :: self.count]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients over all processes, in place.

        A process without a row of a task has no gradient for its head and adds zero; where no process has one, none
        is made, so that the optimiser leaves the parameter alone as it does in a single process.
        """
        if self.count == 1:
            return
        holders = torch.tensor([int(parameter.grad is not None) for parameter in parameters])
        dist.all_reduce(holders)
        trained = [parameter for parameter, count in zip(parameters, holders.tolist(), strict=True) if count]
        if not trained:
            return
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
        flat = torch.cat([grad.flatten() for grad in grads])  # one message instead of hundreds
        dist.all_reduce(flat)
        for parameter, grad in zip(trained, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
            parameter.grad = grad.view_as(parameter)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; each must give one of the same shape."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def from_leader(self, value: T) -> T:
        """Return the leader's value in every process; it waits for all of them."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes of this training, which torchrun names in the environment; without it, be alone.

    >>> with joined() as processes:
    ...     Trainer(spec, data, backbone, folder, reporter, processes).run()
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    # Its functions keep the group that there is when it is first imported, as it is in a training. A group that they
    # keep is never destroyed, and its threads can abort the process at its end.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # one that leaves while another still talks to it can be aborted at its end
    finally:
        dist.destroy_process_group()

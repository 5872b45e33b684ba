"""How the losses or gradients of the tasks in a batch become one step; needs torch, knows nothing of rows and texts.

`sum` adds the weighted losses, which is what a training does without this module. Weights of losses: `scaled` (a step
along the sum of the losses' logarithms: the scale-invariant baseline of Navon et al. 2022), `uncertainty` (Kendall et
al. 2018), `dwa` (Liu et al. 2019), `famo` (Liu et al. 2023), `gradnorm` (Chen et al. 2018). Weights of gradients on the
shared parameters: `aggregation.GRADIENT_WAYS`. With several processes losses and gradients are summed over all of them
first, so that every process finds the same weights, whichever tasks its own rows have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from umbel.aggregation import GRADIENT_WAYS, weighing
from umbel.processes import Processes

if TYPE_CHECKING:
    from umbel.model import MultiTaskModel

WEIGHED = ("scaled", "uncertainty", "dwa", "famo")
RATE = 0.025  # of weights that are learnt from losses
DECAY = 1e-3  # of FAMO's
MEMORY = 20  # steps over which a loss is averaged before others are scaled by it
LEAST_LOSS = 1e-3  # a smaller one counts as this: what is learnt already must not drown the rest
WINDOW = 50  # steps over which dynamic weight averaging compares losses
SOFTNESS = 2.0  # its temperature, the paper's
EVENNESS = 1.5  # GradNorm's alpha, the paper's for tasks that differ

State = dict[str, Any]


class Combiner:
    """Sets the gradients of one step. `state` is plain values, kept with the training's progress."""

    def __init__(
        self,
        way: str,
        tasks: Sequence[str],
        shared: Sequence[nn.Parameter],
        own: Mapping[str, Sequence[nn.Parameter]],
        others: Sequence[nn.Parameter],
        processes: Processes,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        """Take what is combined; `factors` are those that the losses come multiplied by, as declared."""
        self.factors = dict(factors or {})
        self.way, self.tasks, self.shared, self.own, self.others = way, list(tasks), list(shared), own, list(others)
        self.processes = processes
        self._weigh = weighing(way) if way in GRADIENT_WAYS else None

    def backward(
        self, losses: Mapping[str, Tensor], rows: Mapping[str, int], rest: Tensor | None, state: State
    ) -> None:
        """Set every gradient, summed over the processes.

        `losses` are this process's parts of each task's loss, over the rows of the whole batch; `rows` its numbers of
        rows; `rest` is what else is to be minimised, of no task.
        """
        present, means = self._of_all(losses, rows)
        if self.way in WEIGHED:
            self._weighted(losses, present, self._weights(present, means, state), rest)
            return
        grads = self._gradients(losses, present)
        even = self._weigh is None
        weights = self._even(present, means, grads.norm(dim=1), state) if even else self._weighed(grads)
        combined = weights.to(grads) @ grads
        self._set(combined, rest)

    def _weighed(self, grads: Tensor) -> Tensor:
        """Return the weights of gradients `[tasks, numbers]` from their Gramian; none of none.

        The leader's hold in all processes, for PCGrad draws an order, and solvers need not agree to the last bit.
        """
        if self._weigh is None or not len(grads):
            return grads.new_zeros(len(grads))
        weights = self._weigh(grads @ grads.T) if self.processes.leads else grads.new_zeros(len(grads))
        return self.processes.from_leader(weights)

    def _of_all(self, losses: Mapping[str, Tensor], rows: Mapping[str, int]) -> tuple[list[str], dict[str, float]]:
        """Return the tasks that any process has rows of, and their mean losses a row."""
        parts = torch.tensor(
            [
                [float(losses[t].detach()) if t in losses else 0.0 for t in self.tasks],
                [float(rows.get(t, 0)) for t in self.tasks],
            ],
            dtype=torch.float64,
        )
        totals, counts = self.processes.sum(parts).tolist()
        every = sum(counts) or 1.0
        present = [task for task, count in zip(self.tasks, counts, strict=True) if count]
        places = {task: place for place, task in enumerate(self.tasks)}
        # A task's loss is a sum over its rows divided by the batch's; a mean over its own rows is compared over time.
        means = {task: totals[places[task]] * every / counts[places[task]] for task in present}
        return present, means

    def _weighted(
        self, losses: Mapping[str, Tensor], present: Sequence[str], weights: Mapping[str, float], rest: Tensor | None
    ) -> None:
        parts = [weights[task] * losses[task] for task in present if task in losses]
        parts += [rest] if rest is not None else []
        if parts:
            sum(parts[1:], parts[0]).backward()  # type: ignore[no-untyped-call]
        heads = [each for members in self.own.values() for each in members]
        self.processes.sum_gradients([*self.shared, *heads, *self.others])

    def _gradients(self, losses: Mapping[str, Tensor], present: Sequence[str]) -> Tensor:
        """Return each present task's gradient on the shared parameters `[tasks, numbers]`, and set its head's own."""
        found = []
        for task in present:
            own = list(self.own[task])
            if task not in losses:
                found.append(torch.zeros(sum(each.numel() for each in self.shared)))
                continue
            grads = torch.autograd.grad(losses[task], [*self.shared, *own], retain_graph=True, allow_unused=True)
            for parameter, grad in zip(own, grads[len(self.shared) :], strict=True):
                parameter.grad = grad
            found.append(_flat(self.shared, grads[: len(self.shared)]))
        return self.processes.sum(torch.stack(found)) if found else torch.zeros(0, 0)

    def _set(self, combined: Tensor, rest: Tensor | None) -> None:
        """Set the shared parameters' gradients to `combined`, and add what `rest` asks of them and of the others."""
        if rest is not None and rest.requires_grad:
            grads = torch.autograd.grad(rest, [*self.shared, *self.others], allow_unused=True)
            for parameter, grad in zip(self.others, grads[len(self.shared) :], strict=True):
                parameter.grad = grad
            added = _flat(self.shared, grads[: len(self.shared)])
        else:
            added = torch.zeros(sum(each.numel() for each in self.shared))
        added = self.processes.sum(added)
        whole = combined + added if len(combined) else added
        for parameter, part in zip(self.shared, torch.split(whole, [p.numel() for p in self.shared]), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        heads = [each for members in self.own.values() for each in members]
        self.processes.sum_gradients([*heads, *self.others])

    def _weights(self, present: Sequence[str], means: Mapping[str, float], state: State) -> dict[str, float]:
        """Return the weights of the present tasks' losses, and learn from these."""
        if self.way == "scaled":
            return _scaled(present, {task: means[task] / self.factors.get(task, 1.0) for task in present}, state)
        if self.way == "uncertainty":
            return _uncertainty(present, means, state)
        if self.way == "dwa":
            return _averaging(present, means, state)
        return _famo(present, means, state)

    def _even(self, present: Sequence[str], means: Mapping[str, float], norms: Tensor, state: State) -> Tensor:
        """Return GradNorm's weights: gradients of one length, longer for tasks that learn slowly; learnt on the way."""
        if not present:
            return norms
        first, kept = state.setdefault("first", {}), state.setdefault("weights", {})
        for task in present:
            first.setdefault(task, max(means[task], 1e-8))
        weights = torch.tensor([kept.get(task, 1.0) for task in present])
        progress = torch.tensor([means[task] / first[task] for task in present])
        wanted = (weights * norms).mean() * (progress / progress.mean().clamp(min=1e-8)) ** EVENNESS
        slope = torch.sign(weights * norms - wanted) * norms / norms.mean().clamp(min=1e-12)
        moved = (weights - RATE * slope).clamp(min=0.01)
        moved = moved * (weights.sum() / moved.sum())
        kept.update(zip(present, moved.tolist(), strict=True))
        return weights


def _scaled(present: Sequence[str], means: Mapping[str, float], state: State) -> dict[str, float]:
    """Weigh a loss by one over its running mean, so that tasks count alike however large their losses are.

    The mean weight over all tasks is 1, so the step stays of one size.
    """
    kept = state.setdefault("means", {})
    for task in present:
        steps, mean = kept.get(task, (0, 0.0))
        steps = min(steps + 1, MEMORY)
        kept[task] = [steps, mean + (means[task] - mean) / steps]
    scales = {task: 1 / max(mean, LEAST_LOSS) for task, (_, mean) in kept.items()}
    average = sum(scales.values()) / max(len(scales), 1)
    return {task: scales[task] / average for task in present}


def _uncertainty(present: Sequence[str], means: Mapping[str, float], state: State) -> dict[str, float]:
    """Weigh a loss by `exp(-s)` and let `s` fall along `exp(-s) * loss + s`, its own part of the likelihood."""
    found = {}
    for task in present:
        s = state.get(task, 0.0)
        found[task] = float(torch.tensor(-s).exp())
        state[task] = s - RATE * (1 - found[task] * means[task])
    return found


def _averaging(present: Sequence[str], means: Mapping[str, float], state: State) -> dict[str, float]:
    """Weigh losses by how slowly they fell between the last two windows of steps."""
    windows = state.setdefault("windows", {})
    for task in present:
        kept = windows.setdefault(task, {"sum": 0.0, "steps": 0, "means": []})
        kept["sum"] += means[task]
        kept["steps"] += 1
        if kept["steps"] == WINDOW:
            kept["means"] = [*kept["means"], kept["sum"] / WINDOW][-2:]
            kept["sum"], kept["steps"] = 0.0, 0
    falls = [
        windows[t]["means"][1] / max(windows[t]["means"][0], 1e-8) if len(windows[t]["means"]) == 2 else 1.0
        for t in present
    ]
    weights = len(present) * (torch.tensor(falls) / SOFTNESS).softmax(0) if present else torch.zeros(0)
    return dict(zip(present, weights.tolist(), strict=True))


def _famo(present: Sequence[str], means: Mapping[str, float], state: State) -> dict[str, float]:
    """Weigh losses so that all fall at one relative rate; weights are learnt from how they fell since they last came.

    The paper reads a batch a second time to see how its losses fell. Here a task's next batch tells, which costs
    nothing and is noisier.
    """
    before = state.setdefault("before", {})
    known = [task for task in present if task in before]
    logits = state.setdefault("logits", {})
    for task in present:
        logits.setdefault(task, 0.0)
    shares = (
        torch.tensor([logits[task] for task in present], dtype=torch.float64).softmax(0) if present else torch.zeros(0)
    )
    if known:
        fell = torch.tensor(
            [float(torch.tensor(before[t] / max(means[t], 1e-8)).log()) if t in before else 0.0 for t in present],
            dtype=torch.float64,
        )
        slope = shares * (fell - (shares * fell).sum())
        for task, step in zip(present, slope.tolist(), strict=True):
            logits[task] -= RATE * (step + DECAY * logits[task])
    before.update({task: max(means[task], 1e-8) for task in present})
    parts = shares / torch.tensor([max(means[task], 1e-8) for task in present], dtype=torch.float64)
    scaled = parts * (len(present) / parts.sum()) if present else parts
    return dict(zip(present, scaled.tolist(), strict=True))


def _flat(parameters: Sequence[nn.Parameter], grads: Sequence[Tensor | None]) -> Tensor:
    return torch.cat(
        [
            torch.zeros(parameter.numel()) if grad is None else grad.flatten()
            for parameter, grad in zip(parameters, grads, strict=True)
        ]
    )


def combiner_of(model: MultiTaskModel, way: str, processes: Processes, factors: Mapping[str, float]) -> Combiner | None:
    """Return what combines the gradients of a model's tasks; None for their plain sum, which needs nothing of this."""
    if way == "sum":
        return None
    own = {name: list(head.parameters()) for name, head in model.heads.items()}
    shared = [each for each in model.encoder.parameters() if each.requires_grad]
    return Combiner(way, list(own), shared, own, list(model.readouts.values()), processes, factors)

"""The training engine: one encoder, one head per task, and the logits of whole texts; knows nothing of data files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from umbel.backbones.bert import BertEncoder
from umbel.kinds.base import kind_of
from umbel.ngrams import Ngrams
from umbel.readouts import MENTIONS, shapes_of
from umbel.records import Prediction, Task, Window, language_of
from umbel.tokenize import Tokenizer

Floats = NDArray[np.float32]
COSINE_SCALE, RARE = 20.0, -4.0  # where readouts start: what a cosine counts, and a mention's logit


class PooledHead(nn.Module):
    """Attention pooling with a query of the task's own, then a linear map; a zero query gives the mean."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(hidden))
        self.weight = nn.Parameter(torch.randn(width, hidden) * 0.02)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, mask: Tensor, dropout: float) -> Tensor:
        """Return logits `[batch, width]` of hidden states `[batch, tokens, hidden]`."""
        scores = (hidden @ self.query).masked_fill(~mask, -torch.inf)  # [batch, tokens]
        pooled = (scores.softmax(-1)[..., None] * hidden).sum(1)  # [batch, hidden]
        return functional.linear(functional.dropout(pooled, dropout, self.training), self.weight, self.bias)


class TokenHead(nn.Module):
    """A linear map of each token."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, hidden) * 0.02)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, mask: Tensor, dropout: float) -> Tensor:
        """Return logits `[batch, tokens, width]`."""
        return functional.linear(functional.dropout(hidden, dropout, self.training), self.weight, self.bias)


class _ByTask(nn.ModuleDict):
    """Modules by the name of a task, which may be that of one of the class's own methods, `type` or `train`."""

    def __setitem__(self, name: str, module: nn.Module) -> None:
        """Add a module without the refusal of such names; it is reached by its key alone."""
        self._modules[name] = module


@dataclass(frozen=True)
class Reading:
    """A text as windows; `whole` is the text read as one window, with no limit of length."""

    windows: list[Window]

    @property
    def whole(self) -> Window:
        """Join the windows: every token once, special tokens at both ends."""
        if len(self.windows) == 1:
            return self.windows[0]
        total = self.windows[-1].first + len(self.windows[-1].ids) - 2
        ids, offsets = np.zeros(total, np.int32), np.zeros((total, 2), np.int32)
        for window in self.windows:
            place = slice(window.first, window.first + len(window.ids) - 2)
            ids[place], offsets[place] = window.ids[1:-1], window.offsets[1:-1]
        ends = self.windows[0].ids[0], self.windows[-1].ids[-1]
        return Window(np.concatenate([ends[:1], ids, ends[1:]]), np.pad(offsets, ((1, 1), (0, 0))))


class MultiTaskModel(nn.Module):
    """One encoder read by many heads. `encode` runs once per input however many tasks read from it.

    While training, dropout acts on what the heads read. With `branching` there are `readouts` for questions, too.
    """

    def __init__(
        self,
        encoder: BertEncoder,
        tasks: Mapping[str, Task],
        pad: int,
        dropout: float = 0.0,
        branching: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.tasks, self.pad, self.dropout = encoder, dict(tasks), pad, dropout
        width = encoder.shape.hidden
        self.heads = _ByTask({name: _head(task, width) for name, task in tasks.items() if _trained(task)})
        self.readouts = nn.ParameterDict(_readouts(width) if branching else {})
        self.ngrams: dict[str, Ngrams] = {}  # of tasks that read them; fitted after the training

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return hidden states `[batch, tokens, hidden]` in fp32."""
        return self.encoder(ids, mask).float()  # type: ignore[no-any-return]

    def logits(self, task: str, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return one task's logits; without a head, the mean of the hidden states `[batch, hidden]`."""
        if task not in self.heads:
            return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.heads[task](hidden, mask, self.dropout)  # type: ignore[no-any-return]

    def predict(self, text: str, logits: Mapping[str, Floats], reading: Reading) -> dict[str, Prediction]:
        """Turn a text's merged logits into its predictions, by task."""
        offsets, language = reading.whole.offsets[1:-1], language_of(text)
        tasks = [self.tasks[name] for name in logits]
        return {
            task.name: kind_of(task.kind).predict(task, logits[task.name], text, offsets, language) for task in tasks
        }

    def pad_windows(self, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Return ids and mask `[batch, tokens]` of windows padded on the right."""
        longest = max(len(window.ids) for window in windows)
        ids = np.full((len(windows), longest), self.pad, np.int64)
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)] = window.ids
        lengths = torch.tensor([len(window.ids) for window in windows])
        return torch.from_numpy(ids), torch.arange(longest) < lengths[:, None]


def _trained(task: Task) -> bool:
    return kind_of(task.kind).trained


def _head(task: Task, hidden: int) -> nn.Module:
    kind = kind_of(task.kind)
    return (PooledHead if kind.reads == "pooled" else TokenHead)(hidden, kind.width(task))


def _readouts(hidden: int) -> dict[str, nn.Parameter]:
    """Return readouts that start with plain cosines for choices and few mentions."""
    first = {name: nn.Parameter(torch.randn(shape) * 0.02) for name, shape in shapes_of(hidden).items()}
    for name, value in (("choice_cosine", COSINE_SCALE), *((f"{part}_bias", RARE) for part in MENTIONS)):
        first[name] = nn.Parameter(torch.full((1,), value))
    return first


@dataclass(frozen=True)
class TrainedPredictor:
    """Answers texts with the training engine, for `evaluate`."""

    model: MultiTaskModel
    tokenizer: Tokenizer
    precision: torch.dtype = torch.float32

    def __call__(self, texts: Sequence[str], tasks: Sequence[str]) -> list[dict[str, Prediction]]:
        """Return each text's predictions by task."""
        logits, readings = merged_logits(self.model, self.tokenizer, texts, tasks, precision=self.precision)
        return [self.model.predict(*row) for row in zip(texts, logits, readings, strict=True)]


@torch.no_grad()
def window_logits(
    model: MultiTaskModel,
    windows: Sequence[Window],
    tasks: Sequence[str],
    precision: torch.dtype = torch.float32,
    batch_tokens: int = 4096,
) -> list[dict[str, Floats]]:
    """Return the logits of every window by task: `[width]`, or `[tokens, width]` for kinds of tokens.

    The model is left in evaluation mode.
    """
    model.eval()
    found: list[dict[str, Floats]] = [{} for _ in windows]
    for batch in _of_like_length(windows, batch_tokens):
        ids, mask = model.pad_windows([windows[place] for place in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            hidden = model.encode(ids, mask)
        by_task = {task: model.logits(task, hidden, mask).numpy() for task in tasks}
        for row, place in enumerate(batch):
            length = len(windows[place].ids)
            found[place] = {task: _cut(model.tasks[task], by_task[task][row], length) for task in tasks}
    return found


def merged_logits(
    model: MultiTaskModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    tasks: Sequence[str],
    batch_tokens: int = 4096,
    precision: torch.dtype = torch.float32,
) -> tuple[list[dict[str, Floats]], list[Reading]]:
    """Return each text's merged logits by task, and how it was read; the model is left in evaluation mode."""
    readings = [Reading(windows) for windows in tokenizer.windows_many(texts)]
    windows = [window for reading in readings for window in reading.windows]
    raw = iter(window_logits(model, windows, tasks, precision, batch_tokens))
    found = [_merge(model.tasks, [next(raw) for _ in r.windows], r.windows, tasks) for r in readings]
    for name in tasks:
        if name in model.ngrams:
            for text, logits in zip(texts, found, strict=True):
                logits[name] = logits[name] + model.ngrams[name].of(text)
    return found, readings


def _cut(task: Task, logits: Floats, length: int) -> Floats:
    return logits[:length] if kind_of(task.kind).reads == "tokens" else logits


def _merge(
    tasks: Mapping[str, Task], parts: Sequence[Mapping[str, Floats]], windows: Sequence[Window], names: Iterable[str]
) -> dict[str, Floats]:
    return {
        name: kind_of(tasks[name].kind).merge(tasks[name], [part[name] for part in parts], windows) for name in names
    }


def _of_like_length(windows: Sequence[Window], batch_tokens: int) -> Iterable[list[int]]:
    """Yield the places of windows in batches of at most `batch_tokens` tokens, padding counted."""
    batch: list[int] = []
    for place in sorted(range(len(windows)), key=lambda place: len(windows[place].ids)):
        if batch and (len(batch) + 1) * len(windows[place].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch

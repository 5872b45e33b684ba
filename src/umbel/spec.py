"""A pack's declaration: one YAML file as frozen, typed settings; knows nothing of rows, engines or torch.

`load_spec` collects every fault of the file before it raises: `base.yaml:14: tasks.intent.metrik: unknown key; did
you mean 'metric'?`. The faults that a type cannot express are found in `declaration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from umbel import declaration
from umbel.errors import SpecError, suggest
from umbel.records import label_text
from umbel.writings import Writing
from umbel.yamlfile import Place, read_yaml, written


def _list(value: object) -> object:
    """Take one value for a list of one, and a list for a tuple."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _label(value: object) -> object:
    """Name a label by its text: `labels: [0, 1]` declares '0' and '1', as they are found in data."""
    return label_text(value) if isinstance(value, int) else value


Label = Annotated[str, Field(min_length=1), BeforeValidator(_label)]
Files = Annotated[tuple[str, ...], BeforeValidator(_list)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
    )


class DataSpec(_Settings):
    """Where rows of a task come from: files beside the declaration, or `hub:organisation/name:split`."""

    train: Files = ()
    dev: Files = ()
    column: str
    text: str = "text"
    language: str = ""  # empty: told by each text's script
    labels: dict[str, Label] = Field(default_factory=dict)  # label in the file -> label of the task
    licence: str = ""
    source: str = ""
    share: Positive = 1.0  # factor on the files' share of the mix


class TaskSpec(_Settings):
    """One task: what it answers, how it is scored and the data it learns from."""

    name: str
    kind: str
    multi_label: bool = False
    labels: Annotated[tuple[Label, ...], BeforeValidator(_list)] = ()  # empty: collected from the train data
    description: str = ""
    metric: str = ""  # empty: the kind's first
    weight: Positive = 1.0  # factor on the task's loss
    out_of_scope: str = ""
    abstain_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    data: Annotated[tuple[DataSpec, ...], BeforeValidator(_list)] = ()
    ngrams: Annotated[int, Field(ge=0, le=8)] = 0  # longest n-grams of characters that are read, too; 0: none
    writing: Writing | None = None  # of a task that writes


class MixingSpec(_Settings):
    """How often each file's rows are drawn: by size, its square root, or `size ** (1 / temperature)`.

    `progress` begins with the square root; then files get more whose tasks' dev scores move (Matiisen et al. 2017).
    A file of more than `cap` rows counts as one of so many (Raffel et al. 2020); 0: no cap.
    """

    by: Literal["size", "square-root", "temperature", "progress"] = "size"
    temperature: Positive = 2.0
    cap: Annotated[int, Field(ge=0)] = 0


class TrainSpec(_Settings):
    """Settings of a joint training. One epoch is as many rows as all train files hold together."""

    sharing: Literal["full", "adapter", "heads"] = "full"
    start: str = ""  # pack whose weights the training begins with, in place of the backbone's
    fold: Annotated[float, Field(ge=0, le=1)] = 0.5  # of what that pack's tasks have of their own, into the encoder
    average_with: str = ""  # pack whose weights the trained ones are averaged with at the end
    rank: Count = 32
    epochs: Positive = 3.0
    batch_tokens: Count = 2048
    batch_rows: Count = 64
    max_tokens: Annotated[int, Field(ge=8)] = 192
    learning_rate: Positive = 1e-4
    head_learning_rate: Positive = 5e-3  # heads start from nothing (docs/log.md)
    warm_up: Share = 0.06
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    clip: Positive = 1.0
    dropout: Share = 0.1
    mixing: MixingSpec = MixingSpec()
    combining: Literal[
        "sum", "scaled", "uncertainty", "dwa", "famo",
        "gradnorm", "pcgrad", "cagrad", "nash-mtl", "aligned-mtl", "upgrad",
    ] = "sum"  # fmt: skip
    evaluate_every: Positive = 0.25  # epochs
    patience: Annotated[int, Field(ge=0)] = 4  # evaluations without a better score before a task stops; 0: never
    keep: Literal["end", "best"] = "end"  # the weights of the last evaluation, or those of the best mean dev score
    dev_rows: Count = 500
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: Annotated[int, Field(ge=0)] = 1
    teachers: str = ""  # folder of what tasks trained alone say of their rows (`umbel train --teach`)
    keep_vectors: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # weight of keeping the backbone's vectors
    questions: str = ""  # folder of templates that make questions of rows
    questions_per_row: Annotated[float, Field(ge=0, le=8)] = 0.5
    question_weight: Positive = 1.0


class SeparationSpec(_Settings):
    """What tasks do not share once they are trained together, and how much that may cost (`umbel train --sharing`).

    `all`: nothing but heads; `none`: every task has all layers to itself; `auto`: measured, task by task.
    """

    sharing: Literal["all", "none", "auto"] = "all"
    megabytes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 32.0  # of all own parts together
    latency: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0  # encodings of a text when all tasks are asked
    epochs: Positive = 2.0  # least passes over a task's rows when a part of its own is tried; jointly it may take more
    rank: Count = 16  # of an own adapter


class PackSpec(_Settings):
    """A whole declaration; paths in it are relative to `folder`."""

    name: str = Field(alias="pack")
    version: str = "0.1.0"
    licence: str = ""
    backbone: str = "e5-small"
    description: str = ""
    tasks: tuple[TaskSpec, ...]
    flow: dict[str, Any] | None = None  # which steps run when (`flow_spec`)
    train: TrainSpec = TrainSpec()
    separation: SeparationSpec = SeparationSpec()
    folder: Path = Path()


def load_spec(path: str | Path) -> PackSpec:
    """Read and check a declaration.

        spec = load_spec("pack.yaml")

    Raises:
        SpecError: with every fault of the file, each with its line, its place and what was expected.
    """
    path = Path(path)
    document = read_yaml(path)
    faults = document.faults
    if isinstance(document.value, dict):
        spec, typed = _validated(document.value, path.parent)
        found = [*typed, *declaration.faults_of(document.value, path.parent)]
        faults += [(document.line(place), place, message) for place, message in found]
        if spec and not faults:
            return spec
    elif not faults:
        shown = "nothing" if document.value is None else f"{document.value!r:.40}"
        faults.append((1, (), f"found {shown}, expected keys like `pack:`; `umbel init` writes an example"))
    lines = sorted({(line, written(place), message) for line, place, message in faults})
    raise SpecError(str(path), [_line(path, *fault) for fault in lines])


def _line(path: Path, line: int, place: str, message: str) -> str:
    return f"{path.name}:{line}: {place}: {message}" if place else f"{path.name}:{line}: {message}"


def _validated(value: Mapping[str, Any], folder: Path) -> tuple[PackSpec | None, list[tuple[Place, str]]]:
    """Return the typed declaration, or None with the faults of keys and types."""
    faults: list[tuple[Place, str]] = []
    if "folder" in value:
        faults.append((("folder",), f"unknown key{suggest('folder', _keys(PackSpec))}"))
    raw: dict[str, Any] = {**value, "folder": folder}
    tasks = value.get("tasks")
    names = list(tasks) if isinstance(tasks, dict) else []
    if isinstance(tasks, dict):
        for name, task in tasks.items():
            if isinstance(task, dict) and "name" in task:
                faults.append((("tasks", name, "name"), "unknown key; a task's name is the key above it"))
        raw["tasks"] = tuple({**task, "name": n} if isinstance(task, dict) else task for n, task in tasks.items())
    elif "tasks" in value:
        faults.append((("tasks",), "expected a mapping of each task's name to its settings"))
        raw["tasks"] = ()
    try:
        return PackSpec.model_validate(raw, by_alias=True, by_name=False), faults
    except ValidationError as error:
        return None, faults + [_fault(detail, names) for detail in error.errors()]


def _fault(detail: ErrorDetails, names: list[str]) -> tuple[Place, str]:
    """Return the place and the message of one of pydantic's errors."""
    place = detail["loc"]
    if len(place) > 1 and place[0] == "tasks":
        place = ("tasks", names[cast(int, place[1])], *place[2:])
    return place, _message(detail)


_EXPECTED = {
    "string_type": "text (quote it)",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_too_short": "text that is not empty",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}


def _message(detail: ErrorDetails) -> str:
    found, kind, context = detail["input"], detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "missing; give it a value"
    if kind == "extra_forbidden":
        return f"unknown key{suggest(str(detail['loc'][-1]), _keys(_model(detail['loc'][:-1])))}"
    if kind == "literal_error":
        known = get_args(_model(detail["loc"][:-1]).model_fields[str(detail["loc"][-1]).replace("-", "_")].annotation)
        return f"found {found!r}{suggest(str(found), known)}"
    expected = _EXPECTED.get(kind)
    shown = f"{found!r:.60}"
    return f"found {shown}, expected {expected.format(**context)}" if expected else f"found {shown}: {detail['msg']}"


def _model(place: tuple[str | int, ...]) -> type[BaseModel]:
    """Return the settings that stand at a place of the declaration."""
    if place[:1] == ("tasks",) and "writing" in place[2:]:
        return Writing
    if place[:1] == ("tasks",):
        return DataSpec if "data" in place[2:] else TaskSpec
    if place[:1] == ("separation",):
        return SeparationSpec
    if place[:1] == ("train",):
        return MixingSpec if "mixing" in place else TrainSpec
    return PackSpec


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a mapping in the file; a task's name and the folder do not stand in it."""
    keys = [info.alias or name for name, info in model.model_fields.items()]
    return [key for key in keys if (model, key) not in ((TaskSpec, "name"), (PackSpec, "folder"))]

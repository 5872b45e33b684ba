"""Sends a training's curves to TensorBoard or MLflow while it runs: losses, speed, dev scores; knows nothing of models.

A `Reporter` around another one, which still draws the terminal.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umbel.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from umbel.balance import Plan
    from umbel.checkpoint import Progress
    from umbel.data import Data
    from umbel.train import Reporter, Status

logger = logging.getLogger(__name__)

EVERY = 10  # steps between two points of a curve
MLFLOW = "mlflow:"  # and the address of its server behind it
HELD = 500  # points that are sent at once; the server takes 1,000
HELD_SECONDS = 5.0
SETTINGS = {  # of MLflow's client, where the environment says nothing: no long waits, no reports of usage
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Writer(Protocol):
    """What is asked of TensorBoard's writer, and of MLflow's."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Add a point to a curve."""

    def flush(self) -> object:
        """Let viewers see the points."""

    def close(self) -> object:
        """End the file."""


def writer_to(place: str, training: Path) -> Writer:
    """Return a writer of TensorBoard's event files in a folder, or with `mlflow:ADDRESS` of a run on MLflow's server.

    `training` is the folder that the training is saved in: it names the run, which a resumed training goes on with.

    Raises:
        MissingExtraError: tensorboard or MLflow's client is not installed.
        InputError: MLflow's server does not answer.
    """
    if place.startswith(MLFLOW):
        return MlflowWriter(place.removeprefix(MLFLOW), training)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard", "curves") from error
    writer: Writer = SummaryWriter(place)
    return writer


class MlflowWriter:
    """Adds points to a run of the experiment `umbel`; a server that is gone later costs curves, not the training."""

    def __init__(self, address: str, training: Path) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtraError("mlflow-skinny", "mlflow") from error
        self._metric, self._error = Metric, MlflowException
        self._points: list[Any] = []
        self._sent, self._gone = time.monotonic(), False
        try:
            self._client = MlflowClient(tracking_uri=address)
            self._run = _run_of(self._client, training)
        except MlflowException as error:
            raise InputError(f"{MLFLOW}{address}: {error}", "give the address of a server that runs") from error

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve; some are held and sent together."""
        self._points.append(self._metric(tag, float(scalar_value), int(time.time() * 1000), global_step))
        if len(self._points) >= HELD or time.monotonic() - self._sent > HELD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        points, self._points, self._sent = self._points, [], time.monotonic()
        if points and not self._gone:
            try:
                self._client.log_batch(self._run, points)
            except self._error as error:
                self._gone = True
                logger.warning("MLflow takes no more curves, the training goes on without: %s", error)

    def close(self) -> None:
        """Send what is held and end the run."""
        self.flush()
        if not self._gone:
            self._client.set_terminated(self._run)


def _run_of(client: Any, training: Path) -> str:
    """Return the run of a training in this folder, a new one where there is none."""
    known = client.get_experiment_by_name("umbel")
    experiment = known.experiment_id if known else client.create_experiment("umbel")
    folder = str(training.resolve()).replace("'", "_")
    found = client.search_runs([experiment], f"tags.folder = '{folder}'", max_results=1)
    run = found[0] if found else client.create_run(experiment, tags={"folder": folder}, run_name=training.name)
    return str(run.info.run_id)


class Curves:
    """Reports to `reporter`, and adds `loss/TASK` and `speed` every few steps, `dev/TASK` and `questions/KIND`."""

    def __init__(self, reporter: Reporter, writer: Writer) -> None:
        self.reporter, self.writer = reporter, writer

    def started(self, plan: Plan, data: Data, progress: Progress) -> None:
        """Pass it on; a resumed training's curves go on at its step."""
        self.reporter.started(plan, data, progress)

    def stepped(self, status: Status) -> None:
        """Add the losses and the rows a second."""
        self.reporter.stepped(status)
        if status.step % EVERY == 0:
            self._add("loss", status.losses, status.step)
            self.writer.add_scalar("speed", status.rate, status.step)

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Add the dev scores."""
        self.reporter.evaluated(record)
        self._add("dev", record["scores"], record["step"])
        self._add("questions", record.get("questions", {}), record["step"])
        self.writer.flush()

    def _add(self, group: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)

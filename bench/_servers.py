"""The rivals of the server, each run as a process: `python bench/_servers.py RIVAL PORT THREADS PACK TASK...`.

`models`: FastAPI over separate transformers models, one for each task, as such servers are usually written: a request
is answered in a thread, through each model in turn. `litserve`: LitServe around `umbel.load`, batching as it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import litserve

import umbel
from umbel.answers import plain_answer

BATCH, BATCH_SECONDS = 32, 0.005


def models(port: int, threads: int, pack: str, tasks: Sequence[str]) -> None:
    """Serve as many transformers models as there are tasks; one request at a time, or their threads would fight."""
    import threading

    import uvicorn
    from _rivals import models_encode, padded, tokens_of
    from fastapi import FastAPI

    encode, lock = models_encode(threads, len(tasks)), threading.Lock()
    app = FastAPI()

    @app.post("/v1/analyze")
    def analyze(body: dict[str, Any]) -> Any:
        ids, lengths = padded(tokens_of(body["texts"]))
        with lock:
            probabilities = encode(ids, lengths)
        return {"results": [{"answers": {task: row.tolist() for task in tasks}} for row in probabilities]}

    uvicorn.run(app, port=port, log_level="warning")


class Pack(litserve.LitAPI):  # type: ignore[misc]
    """Umbel's runtime in LitServe's form."""

    def __init__(self, pack: str, threads: int, tasks: Sequence[str]) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS, api_path="/v1/analyze")
        self.pack, self.threads, self.tasks = pack, threads, list(tasks)

    def setup(self, device: str) -> None:
        self.model = umbel.load(self.pack, threads=self.threads)

    def decode_request(self, request) -> str:  # type: ignore[no-untyped-def] # a type would be taken for a query's
        return str(request["texts"][0])

    def batch(self, inputs: list[str]) -> list[str]:
        return list(inputs)

    def predict(self, texts: list[str]) -> list[Any]:
        return self.model(texts, self.tasks)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        answers = {task: plain_answer(each) for task, each in output.predictions.items()}
        return {"results": [{"language": output.language, "answers": answers}]}


def lit(port: int, threads: int, pack: str, tasks: Sequence[str]) -> None:
    """Serve the same runtime by LitServe."""
    server = litserve.LitServer(Pack(pack, threads, tasks), accelerator="cpu", workers_per_device=1, timeout=300)
    server.run(port=port, host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="warning")


SERVERS: dict[str, Callable[..., None]] = {"models": models, "litserve": lit}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])

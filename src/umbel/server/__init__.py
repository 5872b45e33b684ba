"""The HTTP server: native routes, one file for each other protocol, limits, metrics. Needs the extra `serve`.

How the parts fit:

- `app.create_app(service, settings)` puts everything together; `running.run` serves it until it is told to stop.
- `service.Service` is the one object that routes call: coroutine methods `analyze`, `ask`, `embed`, `inquire`,
  `search`, `teach`, `deploy`, `remove`, and what is served (`packs`). It admits, batches and counts.
- `protocols.PROTOCOLS` names the modules that bring routes. **A protocol is one file**: it has a function
  `protocol(service) -> Protocol`, with an `APIRouter`, and, where clients expect errors in another form, `error`,
  which turns a `Fault` into its JSON. Routes raise `UmbelError`s and never answer errors by themselves: `faults` maps
  them, in one place, to status, headers and body. `native.py` and `openai.py` are examples.
- `guard.Guard` stands before all routes: keys and limits, size and time of a body, request ids, headers, logs, and
  hanging up: a route's coroutine is cancelled when its client is gone, and its jobs leave the queue.
"""

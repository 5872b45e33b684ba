"""Errors as answers: each kind's status, code and headers."""

import pytest
from starlette.exceptions import HTTPException

from umbel import errors
from umbel.server.faults import fault_of, native_error


@pytest.mark.parametrize(
    ("error", "status", "code", "headers"),
    [
        (errors.InputError("x", field="texts[1]"), 422, "invalid", {}),
        (errors.NotFoundError("x"), 404, "not_found", {}),
        (errors.TooLargeError("x"), 413, "too_large", {}),
        (errors.BusyError("x", retry_after=1.2), 429, "busy", {"retry-after": "2"}),
        (errors.UnavailableError("x"), 503, "unavailable", {"retry-after": "1"}),
        (errors.AccessError("x"), 401, "unauthorized", {"www-authenticate": 'Bearer realm="umbel"'}),
        (errors.AccessError("x", known=True), 403, "forbidden", {}),
        (errors.PackError("x"), 422, "pack", {}),
        (errors.RetrievalError("x"), 422, "index", {}),
        (errors.CacheError("x"), 507, "storage", {}),
        (errors.BackboneError("x"), 422, "backbone", {}),
        (errors.ContextError("x", field="messages"), 400, "context_length_exceeded", {}),
        (errors.DecoderError("x"), 503, "decoder", {"retry-after": "1"}),
        (errors.TimeLimitError("x"), 503, "timeout", {"retry-after": "1"}),
        (errors.DownloadError("x"), 503, "download", {"retry-after": "1"}),
        (errors.DataError("x", []), 500, "internal", {}),
        (HTTPException(405), 405, "method_not_allowed", {}),
        (TimeoutError(), 503, "timeout", {}),
        (RuntimeError("inner"), 500, "internal", {}),
    ],
)
def test_each_error_has_its_status(error, status, code, headers):
    fault = fault_of(error)
    assert (fault.status, fault.code, dict(fault.headers)) == (status, code, headers)


def test_the_native_form_leaves_out_what_there_is_not():
    shown = native_error(fault_of(errors.NotFoundError("x")), "id")
    assert shown == {"error": {"code": "not_found", "message": "x", "retry": False, "request_id": "id"}}

"""llama.cpp's C functions, as the xllamacpp package brings them: its library, called through ctypes.

xllamacpp's own classes offer llama.cpp's server, which neither gives the logits of branches nor forks a prefix; the
library under them exports the public functions of `llama.h`. Structures follow that header at the pinned version, and
`library` refuses one whose defaults do not lie where they should. Knows nothing of what is decoded.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from functools import cache
from importlib import import_module
from typing import Any

from umbel.errors import DecoderError, MissingExtraError

FLASH = 1  # attention whose result for a token does not depend on what else is in the batch (docs/log.md)


class ModelParameters(ctypes.Structure):
    """`llama_model_params`."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_overrides", c_void_p),
        ("gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress", c_void_p),
        ("progress_data", c_void_p),
        ("overrides", c_void_p),
        ("vocabulary_only", c_bool),
        ("check_tensors", c_bool),
        ("extra_buffers", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParameters(ctypes.Structure):
    """`llama_context_params`."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("threads", c_int32),
        ("threads_batch", c_int32),
        ("type", c_int32),
        ("rope_scaling", c_int32),
        ("pooling", c_int32),
        ("attention", c_int32),
        ("flash", c_int32),
        ("rope_base", c_float),
        ("rope_scale", c_float),
        ("yarn_ext", c_float),
        ("yarn_attn", c_float),
        ("yarn_fast", c_float),
        ("yarn_slow", c_float),
        ("yarn_ctx", c_uint32),
        ("defrag", c_float),
        ("eval_callback", c_void_p),
        ("eval_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("moe_cache", c_size_t),
        ("abort", c_void_p),
        ("abort_data", c_void_p),
        ("embeddings", c_bool),
        ("offload", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("other", c_void_p),
    )


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
_SILENT = _LOG(lambda level, text, data: None)  # kept: the library calls it for as long as it lives

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (_LOG, c_void_p)),
    "llama_model_default_params": (ModelParameters, ()),
    "llama_context_default_params": (ContextParameters, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParameters)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParameters)),
    "llama_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_set_adapters_lora": (c_int32, (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float))),
}


@cache
def library() -> Any:
    """Return the library with typed functions, silent and ready.

    Raises:
        MissingExtraError: xllamacpp is not installed.
        DecoderError: it is of another version than this module's structures.
    """
    try:
        module = import_module("xllamacpp.xllamacpp")
    except ImportError as error:
        raise MissingExtraError("xllamacpp (llama.cpp)", "write") from error
    found = ctypes.CDLL(str(module.__file__))
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise DecoderError(f"xllamacpp here does not export llama.cpp's functions ({error})", _REINSTALL) from error
    _check_layout(found)
    found.llama_log_set(_SILENT, None)
    found.llama_backend_init()
    return found


_REINSTALL = 'pip install --force-reinstall "umbel[write]"'


def _check_layout(found: Any) -> None:
    """Compare defaults that llama.cpp documents with where this module looks for them."""
    context, model = found.llama_context_default_params(), found.llama_model_default_params()
    seen: tuple[Any, ...] = (
        context.n_ctx,
        context.n_batch,
        context.n_ubatch,
        context.n_seq_max,
        context.flash,
        context.yarn_ext,
    )
    seen += (context.type_k, context.type_v, context.offload, context.kv_unified, model.gpu_layers, model.extra_buffers)
    if seen != (512, 2048, 512, 1, -1, -1.0, 1, 1, True, False, -1, True):
        raise DecoderError(f"xllamacpp here has other structures than expected (found {seen})", _REINSTALL)

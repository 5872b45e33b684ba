"""Writes a small decoder of random weights as a GGUF file: it says letters and full stops, and never ends by itself."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CONTEXT = 512
LAYERS, HIDDEN, HEADS, FEED = 2, 32, 4, 64
SAID = "abcdefghijklmnopqrstuvwxyz. "  # what may be drawn; other tokens have logits of 0
BEGIN, END = 1, 2
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "


def write_tiny_decoder(path: Path, context: int = CONTEXT, seed: int = 5) -> Path:
    """Write the file; one token is one byte."""
    random = np.random.default_rng(seed)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)

    def drawn(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) * 0.3).astype(np.float32)

    output = np.zeros((len(tokens), HIDDEN), np.float32)
    said = [tokens.index(f"<0x{ord(letter):02X}>") for letter in SAID]
    output[said] = 3 * drawn(len(said), HIDDEN)
    writer.add_tensor("token_embd.weight", drawn(len(tokens), HIDDEN))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(HIDDEN, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", drawn(HIDDEN, HIDDEN))
        writer.add_tensor(f"blk.{layer}.ffn_gate.weight", drawn(FEED, HIDDEN))
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", drawn(FEED, HIDDEN))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", drawn(HIDDEN, FEED))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

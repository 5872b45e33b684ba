"""Umbel: many language tasks over one shared Transformer, reading each input once."""

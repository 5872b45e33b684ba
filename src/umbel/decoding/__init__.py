"""Decoders: a prefix read once, branches that are scored or grow into text, and the writers above them."""

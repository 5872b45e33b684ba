"""Backbones in torch: small, readable modules, checked against transformers on the same weights."""

"""Retrieval: an index of passages in one file, searched by meaning and by words."""

from umbel.retrieval.index import Changes, Document, Hit, Index

__all__ = ["Changes", "Document", "Hit", "Index"]

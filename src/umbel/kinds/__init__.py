"""Task kinds: one file per family, all against the protocol in `base`."""

from umbel.kinds.base import Kind, kind_of, kinds

__all__ = ["Kind", "kind_of", "kinds"]

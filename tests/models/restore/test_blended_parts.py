"""Blending between qualities 90 and 95, of files whose parts are smaller than the picture too."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import data.jpeg
from data.jpeg import encode_jpeg, read_jpeg
from data.tables import standard_tables
from models.restore.fidelity import shares_of_change
from models.restore.parts import parts_of
from models.restore.restorer import Restorer
from tests.conftest import photograph, tiny_network
from tests.made_jpegs import Plane, assembled

_PICTURE = np.asarray(cv2.GaussianBlur(photograph(80, 96), (0, 0), 1.5), np.uint8)


def _rgb(quality: int) -> bytes:
    table = standard_tables(quality)[0]
    planes = [np.ascontiguousarray(_PICTURE[:, :, i]) for i in range(3)]
    sampling = ((2, 2), (1, 1), (1, 1))
    made = [Plane(p, h, v, table=table) for p, (h, v) in zip(planes, sampling, strict=True)]
    return assembled(made, adobe=0)


def test_a_subsampled_part_keeps_the_same_share_of_its_decoding() -> None:
    stored = read_jpeg(_rgb(93))
    part = parts_of(stored)[1]
    assert (part.height, part.width) == (40, 48)
    assert part.decoded() is None
    blending = Restorer(tiny_network(), "cpu", "float32")
    always = Restorer(tiny_network(), "cpu", "float32", leave_fine=False)
    (share,) = set(shares_of_change(part))
    assert 0 < share < 1
    plain = always.decoded(part).astype(float)
    expected = plain + share * (always.restore(part) - plain)
    assert np.abs(always.restore(part) - plain).max() > 2  # there is something to blend
    assert np.abs(blending.restore(part) - expected).max() <= 1


@pytest.mark.parametrize("quality", [50, 93, 98])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_file_is_decoded_once(
    quality: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    decode = data.jpeg.decode_jpeg
    monkeypatch.setattr(data.jpeg, "decode_jpeg", lambda file: calls.append(1) or decode(file))
    stored = read_jpeg(encode_jpeg(_PICTURE, quality))
    restored = Restorer(tiny_network(), "cpu", "float32", strength=strength).restore(stored)
    decoded = stored.decoded()
    assert decoded is not None
    assert len(calls) == 1
    restored[:] = 0  # is the caller's own
    assert decoded.any()

"""IJCN.stages: a stage that is added there works in training, in tiles and in the export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data.jpeg import encode_jpeg, read_jpeg
from models import IJCN, Restorer
from models.export import export_onnx
from models.ijcn import Known, Stage
from models.losses import RestorationLoss
from models.restore.restorer import network_input
from tests.conftest import TINY, photograph, tiny_network

_FAR = 70


class _Longer(IJCN):
    """With a last stage that adds what stands 70 pixels to the left, times a trained weight."""

    def __init__(self, config: object = TINY) -> None:
        super().__init__(config)  # type: ignore[arg-type]
        self.weight = torch.nn.Parameter(torch.tensor(3.0))

    def stages(self) -> list[Stage]:
        return [*super().stages(), Stage(self._echo, around=_FAR, mirrors=False)]

    def _echo(self, known: Known, image: Tensor) -> Tensor:
        shifted = F.pad(image, (_FAR, 0, 0, 0), mode="replicate")[..., : image.shape[-1]]
        return image + self.weight * (shifted - image) / known.tables[:, :1, :1, :1]


@pytest.fixture
def longer() -> IJCN:
    network = _Longer()
    network.load_state_dict(tiny_network().state_dict(), strict=False)
    return network.eval()


def test_a_new_stage_changes_the_answer_and_is_trained(longer: IJCN) -> None:
    inputs = network_input(read_jpeg(encode_jpeg(photograph(128, 128), 30)))
    levels = (inputs.qts, inputs.y_coef, inputs.c_coef)
    assert (longer(*levels).image - tiny_network()(*levels).image).abs().max() > 1e-3
    clean = jpeg = torch.zeros(1, 3, 128, 128)
    RestorationLoss()(longer(*levels), inputs.qts, clean, jpeg).total.backward()
    assert longer.get_parameter("weight").grad


def test_a_new_stage_works_in_tiles(longer: IJCN) -> None:
    stored = read_jpeg(encode_jpeg(photograph(200, 410), 30))
    restorer = Restorer(longer, precision="float32")
    assert restorer.around == 80
    whole = restorer.restore_in_tiles(stored, 1000).astype(int)
    assert np.abs(restorer.restore_in_tiles(stored, 96) - whole).max() <= 1
    plain = Restorer(tiny_network(), precision="float32").restore(stored)
    assert np.abs(plain - whole).max() > 3


@pytest.mark.slow
def test_a_new_stage_is_exported(longer: IJCN, tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    # Its check compares onnxruntime with the network's own forward.
    difference = export_onnx(longer, tmp_path / "longer.onnx")
    assert difference is not None
    assert difference < 1e-4

"""Load and save weights: released ``.pth`` state dicts and our own safetensors files.

Our files hold the weights under this package's names, the ranges for int8 under ``ranges.NAME``
where they are known, and two metadata entries that rebuild the exact variant: ``format`` (this
layout's version) and ``ijcn_config`` (JSON of :class:`IJCNConfig`).
Released files hold the published network under the authors' names; they are renamed on loading.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from models.ijcn import IJCN, IJCNConfig
from models.int8 import is_in_int8, range_sizes
from utils.image_io import write_atomically
from utils.project import PROJECT, from_project

FORMAT = "ijcn-1"

SHIPPED: Mapping[str, Path] = {
    "full": Path("model_zoo/Color_IJCN.safetensors"),
    "fast": Path("model_zoo/Color_IJCN_fast.safetensors"),
}
"""Words that stand for the weights that come with the project; paths below its root."""

# The authors' names as regular expressions, and ours; the first that matches the whole name wins.
# The mixed Sequentials of the original count parameterless layers too, hence the odd indices.
_BLOCK = r"DCT_offset\.learnable_offset\.blocks\.(\d+)\."
_OURS = r"logm.attention.blocks.\1."
_RENAMES: tuple[tuple[str, str], ...] = (
    # LOGM
    (_BLOCK + r"ln1\.(.*)", _OURS + r"window_norm.\2"),
    (_BLOCK + r"msa\.relative_position_params", _OURS + r"window_attention.position_bias"),
    (_BLOCK + r"msa\.embedding_layer\.(.*)", _OURS + r"window_attention.qkv.\2"),
    (_BLOCK + r"msa\.linear\.(.*)", _OURS + r"window_attention.proj.\2"),
    (_BLOCK + r"ln_channel\.(.*)", _OURS + r"channel_norm.\2"),
    (_BLOCK + r"channel_msa\.channel_pos", _OURS + r"channel_attention.position"),
    (_BLOCK + r"channel_msa\.(.*)", _OURS + r"channel_attention.\2"),
    (_BLOCK + r"ln2\.(.*)", _OURS + r"mlp_norm.\2"),
    (r"DCT_offset\.learnable_offset\.conv_out\.(.*)", r"logm.attention.out.\1"),
    (r"DCT_offset\.learnable_offset\.(.*)", r"logm.attention.\1"),
    (r"DCT_offset\.qt_embed\.(.*)", r"logm.trunk.layers.\1"),
    (r"DCT_offset\.qt_(gamma|beta)\.0\.(.*)", r"logm.guidance.\1.\2"),
    # QTGM; <n> counts levels from 1, our lists from 0
    (r"qf_embed1i\.(.*)", r"qtgm.encoder_trunk.layers.\1"),
    (r"qf_embed1o\.(.*)", r"qtgm.decoder_trunk.layers.\1"),
    (r"qf_(gamma|beta)1_([123])i\.0\.(.*)", r"qtgm.encoder_heads.<\2>.\1.\3"),
    (r"qf_(gamma|beta)1_([123])o\.0\.(.*)", r"qtgm.decoder_heads.<\2>.\1.\3"),
    (r"m_down([123])_QT\.res1\.(.*)", r"backbone.encoder_guides.<\1>.body.\2"),
    (r"m_up([123])_QT\.res1\.(.*)", r"backbone.decoder_guides.<\1>.body.\2"),
    # Backbone
    (r"m_(head|tail)\.(.*)", r"backbone.\1.\2"),
    (r"m_down([12])\.5\.(.*)", r"backbone.down\1.1.\2"),
    (r"m_up([12])\.0\.(weight|bias)", r"backbone.up\1.0.\2"),
    (r"m_down4\.(\d+)\.res\.(.*)", r"backbone.body1.\1.body.\2"),
    (r"m_up4\.(\d+)\.res\.(.*)", r"backbone.body2.\1.body.\2"),
    (r"m_down([123])\.(\d+)\.res\.(.*)", r"backbone.encoder_blocks.<\1>.\2.body.\3"),
    (r"m_up3\.(\d+)\.res\.(.*)", r"backbone.decoder_blocks.<3>.\1.body.\2"),
    # In decoders 1 and 2 blocks follow a convolution and a pixel shuffle: [n] counts from 2.
    (r"m_up([12])\.(\d+)\.res\.(.*)", r"backbone.decoder_blocks.<\1>.[\2].body.\3"),
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line: what, why, what to do."""


def released_name_to_ours(name: str) -> str | None:
    """Our parameter name for one of a released checkpoint, None if it is not one.

    >>> released_name_to_ours("m_up2.2.res.0.weight")
    'backbone.decoder_blocks.1.0.body.0.weight'
    """
    for pattern, replacement in _RENAMES:
        match = re.fullmatch(pattern, name)
        if match:
            ours = match.expand(replacement)
            ours = re.sub(r"<(\d)>", lambda m: str(int(m[1]) - 1), ours)
            return re.sub(r"\[(\d+)\]", lambda m: str(int(m[1]) - 2), ours)
    return None


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The file that ``path`` means: one of :data:`SHIPPED` by its word, or a file here, else below
    the project's root."""
    shipped = SHIPPED.get(os.fspath(path))
    return PROJECT / shipped if shipped else from_project(Path(os.path.expanduser(path)))


def load_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> IJCN:
    """Rebuild the network a checkpoint holds, in eval mode on ``device``, weights in float32.

    Args:
        path: a ``.safetensors`` file written by :func:`save_checkpoint`, or a released ``.pth``
            state dict of the published network. Told apart by content, not by the name. Or a word
            of :data:`SHIPPED`, such as ``"fast"``.
        device: where the network is put.

    Raises:
        CheckpointError: no such file, another kind of file, missing, surplus or misshapen weights.
    """
    path = checkpoint_path(path)
    with _reading(path):
        model = _load_own(path)
        if model is None:
            model = _load_released(path)
    return model.eval().to(device, torch.float32)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of the operating system as a :class:`CheckpointError`."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "not found"
        raise CheckpointError(
            f"checkpoint {path} {kind}; give {', '.join(SHIPPED)} or a file (model_zoo/README.md)"
        )
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {error.strerror or error}"
        ) from error


def save_checkpoint(
    model: IJCN,
    path: str | os.PathLike[str],
    *,
    half: bool = False,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        model: the network; its variant goes into the metadata.
        path: final file name, conventionally ``*.safetensors``.
        half: store weights as float16 (half the size; loading returns float32).
        notes: further metadata, such as the training run; keys must not be ``format`` or
            ``ijcn_config``.

    Raises:
        CheckpointError: a Restorer's copy in int8; weights that float16 cannot hold.
        ImageError: the place cannot be written.
    """
    require_whole(model)
    metadata = {
        **(notes or {}),
        "format": FORMAT,
        "ijcn_config": json.dumps(dataclasses.asdict(model.config)),
    }
    ranges = {_RANGES + name: tensor for name, tensor in (model.ranges or {}).items()}
    weights = {
        name: tensor.detach().to("cpu", torch.float16 if half else torch.float32).contiguous()
        for name, tensor in {**model.state_dict(), **ranges}.items()
    }
    if beyond := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"{path} is not written: {beyond[0]} would not be finite numbers"
            + (" in float16; save it in float32" if half else "")
        )
    write_atomically(path, _in_order(safetensors.torch.save(weights, metadata)))


def require_whole(model: IJCN) -> None:
    """Refuse a copy in int8, whose weights are not all there.

    Raises:
        CheckpointError: it is such a copy.
    """
    if is_in_int8(model):
        raise CheckpointError(
            "this is a network in 8-bit integers, which has no weights to save; take the one that "
            "the Restorer was given"
        )


def _in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted, so that the same network is the same bytes."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def read_notes(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """The metadata of one of our files, see :func:`save_checkpoint`; None of a released one.

    Raises:
        CheckpointError: no such file.
    """
    with _reading(Path(path)):
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                return dict(file.metadata() or {})
        except safetensors.SafetensorError:
            return None


def _load_own(path: Path) -> IJCN | None:
    """The network of a safetensors file, None if the file is of another kind."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        if path.suffix == ".safetensors":
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}); fetch it again"
            ) from error
        return None
    if metadata.get("format") != FORMAT or "ijcn_config" not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file of another project: its metadata lacks "
            f"format={FORMAT} and ijcn_config; give a checkpoint listed in model_zoo/README.md"
        )
    try:
        config = TypeAdapter(IJCNConfig).validate_json(metadata["ijcn_config"])
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{path} describes a network this version does not know ({first['msg']}: "
            f"{'.'.join(map(str, first['loc']))}); update the project"
        ) from error
    ranges = {n: weights.pop(n).float() for n in list(weights) if n.startswith(_RANGES)}
    sound = all(each.isfinite().all() and each.min() >= 0 for each in ranges.values())
    network = _filled(IJCN(config), weights, path)
    sizes = {_RANGES + name: (size,) for name, size in range_sizes(network).items()}
    if ranges and sound and {name: tuple(each.shape) for name, each in ranges.items()} == sizes:
        network.ranges = {name.removeprefix(_RANGES): each for name, each in ranges.items()}
    return network


def _load_released(path: Path) -> IJCN:
    """The published network from the authors' state dict."""
    foreign = CheckpointError(
        f"{path} is neither one of our safetensors checkpoints nor a state dict of the published "
        "network; model_zoo/README.md says what can be loaded"
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # on damaged files torch.load raises nearly anything
        raise foreign from error
    if not isinstance(content, Mapping):
        raise foreign
    for wrapper in ("params_ema", "params", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    weights: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in content.items():
        plain = str(name).removeprefix("module.")
        ours = released_name_to_ours(plain)
        if ours is None or not isinstance(tensor, Tensor):
            unknown.append(plain)
        else:
            weights[ours] = tensor
    if not weights:
        raise foreign
    if unknown:
        raise _misfit(path, "holds unknown weights", unknown)
    return _filled(IJCN(), weights, path)


_ADDED_LATER = re.compile(r"level_check\.(luma|chroma)\.reach\.(weight|bias)")
"""Weights that our first files lack; what a fresh network has does there."""


_RANGES = "ranges."
"""Before the names of ranges, which a file may lack, or have for other layers than this version."""


def _filled(model: IJCN, weights: Mapping[str, Tensor], path: Path) -> IJCN:
    """``model`` with ``weights``, all of them and no others."""
    expected = model.state_dict()
    added = [name for name in expected if _ADDED_LATER.fullmatch(name) and name not in weights]
    weights = {**weights, **{name: expected[name] for name in added}}
    missing = [name for name in expected if name not in weights]
    surplus = [name for name in weights if name not in expected]
    misshapen = [
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    whole = [name for name, tensor in weights.items() if not tensor.is_floating_point()]
    if sparse := [name for name, tensor in weights.items() if tensor.layout != torch.strided]:
        raise CheckpointError(f"{path}: {sparse[0]} is a sparse tensor; save it as a dense one")
    weights = {name: tensor.float() for name, tensor in weights.items()}
    broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    for complaint, names in (
        ("lacks", missing),
        ("holds unknown weights", surplus),
        ("has weights of the wrong shape", misshapen),
        ("has weights that are no floating-point numbers", whole),
        ("has weights that are not finite numbers", broken),
    ):
        if names:
            raise _misfit(path, complaint, names)
    model.load_state_dict(weights)
    return model


def _misfit(path: Path, complaint: str, names: list[str]) -> CheckpointError:
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return CheckpointError(
        f"{path} {complaint}: {some}; it is not a whole checkpoint of a network this version knows"
    )

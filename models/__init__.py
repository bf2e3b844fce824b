"""The network and everything between a JPEG's levels and a restored picture."""

from models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from models.ijcn import IJCN, IJCNConfig, IJCNOutput
from models.restore.layouts import RestoreError
from models.restore.restorer import Restorer

__all__ = [
    "IJCN",
    "CheckpointError",
    "IJCNConfig",
    "IJCNOutput",
    "RestoreError",
    "Restorer",
    "load_checkpoint",
    "save_checkpoint",
]

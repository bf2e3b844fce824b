"""Restore a 4:2:0 JPEG with onnxruntime, without PyTorch: JPEG in, PNG out.

    pip install onnxruntime numpy pyjpegio opencv-python-headless
    python restore_onnx.py ijcn.onnx photo.jpg restored.png

`python -m models.export` writes ijcn.onnx. A picture is restored whole: allow 1 GB per megapixel.
"""

import sys

import cv2
import jpegio
import numpy as np
import onnxruntime


def mirrored(blocks: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """(r, c, 8, 8) -> (rows, cols, 8, 8): mirroring reverses blocks, negates odd frequencies."""
    for axis, wanted in enumerate((rows, cols)):
        length = blocks.shape[axis]
        place = np.arange(wanted) % (2 * length)
        sign = np.where((place >= length)[:, None] & (np.arange(8) % 2 == 1), -1, 1)
        blocks = blocks.take(np.minimum(place, 2 * length - 1 - place), axis)
        blocks = blocks * np.expand_dims(sign, (1, 3) if axis == 0 else (0, 2))
    return blocks


def main(network: str, source: str, target: str) -> None:
    """Restore ``source``, a JPEG, to ``target``, a PNG; orientation tags are left aside."""
    stored = jpegio.read(source)
    factors = [(c.h_samp_factor, c.v_samp_factor) for c in stored.comp_info]
    if stored.jpeg_color_space != 3 or factors != [(2, 2), (1, 1), (1, 1)]:
        sys.exit(f"{source}: not a YCbCr 4:2:0 JPEG; test_real_IJCN.py restores every layout")
    planes = zip(stored.coef_arrays, stored.comp_info, strict=True)
    y, cb, cr = (
        np.reshape(plane, (info.height_in_blocks, 8, info.width_in_blocks, 8)).swapaxes(1, 2)
        for plane, info in planes
    )
    rows, cols = -(-stored.image_height // 64), -(-stored.image_width // 64)
    y = mirrored(y, 2 * cb.shape[0], 2 * cb.shape[1])  # luma of whole MCUs first
    levels = {
        "qts": np.stack([stored.quant_tables[c.quant_tbl_no] for c in stored.comp_info])[None],
        "y_coef": mirrored(y, 8 * rows, 8 * cols)[None, None],
        "c_coef": np.stack([mirrored(c, 4 * rows, 4 * cols) for c in (cb, cr)])[None],
    }
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    (image,) = session.run(None, {name: x.astype(np.float32) for name, x in levels.items()})
    image = image[0, :, : stored.image_height, : stored.image_width].transpose(1, 2, 0)
    if not cv2.imwrite(target, np.rint(image * 255).astype(np.uint8)[:, :, ::-1]):
        sys.exit(f"{target}: cannot be written")


if __name__ == "__main__":
    if len(sys.argv) != 4 or not sys.argv[3].lower().endswith(".png"):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Exception as error:  # each library has its own kinds
        sys.exit(f"error: {' '.join(str(error).split())}")

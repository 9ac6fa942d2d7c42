"""Export of a codec as a model version for a server. `serving.export` is its command line.

BASE_PATH/VERSION/ appears atomically: a server that polls the folder never sees a partial model.
The version contains warm-up requests, so that the first request to a server is not slow.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import math
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE, Codec
from tfc_models.serving.servable import WARMUP

WARMUP_SIDES = (64, 256)
Request = tuple[str, "dict[str, np.ndarray]"]
WRITING = "writing-"  # Prefix of the names of incomplete folders.


def export(
    codec: Codec, base_path: str | os.PathLike[str], version: int | None = None, **options: Any
) -> pathlib.Path:
    """Exports a version of a codec. Returns its folder.

    Args:
        codec: codec to export.
        base_path: folder of versions; it is created if it does not exist.
        version: version number (default: one more than the latest).
        **options: options of `Codec.save`.
    """
    base = pathlib.Path(base_path)
    base.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(base)
    # Its name is not a number, so servers ignore it. It is in the same file system as the version,
    # so that a rename moves it atomically.
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=WRITING, dir=base))
    lock = os.open(scratch, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        codec.save(str(scratch), **options)
        requests = warmup_requests(codec, _largest_side(options), bool(options.get("max_effort")))
        _write_warmup(codec.model_name, requests, scratch)
        scratch.chmod(0o755)
        for path in [*scratch.rglob("*"), scratch]:
            _sync(path)
        return _move(scratch, base, version)
    finally:
        os.close(lock)
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_leftovers(base: pathlib.Path) -> None:
    """Deletes folders of killed exports, which are no longer locked."""
    for path in base.glob(f"{WRITING}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)


def _move(scratch: pathlib.Path, base: pathlib.Path, version: int | None) -> pathlib.Path:
    while True:
        taken = [int(p.name) for p in base.iterdir() if p.name.isdecimal()]
        target = base / str(version if version is not None else max(taken, default=0) + 1)
        try:
            os.rename(scratch, target)  # Fails if the target is a folder that is not empty.
        except OSError as error:
            if not target.exists():
                raise
            if version is not None:
                raise ValueError(
                    f"{target} exists: versions cannot be overwritten; choose another number."
                ) from error
        else:
            _sync(base)
            return target


def _sync(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _largest_side(limits: dict[str, Any]) -> int:
    """Returns the side of the largest square image that the export accepts."""
    pixels = int(limits.get("max_pixels", DEFAULT_MAX_PIXELS))
    return min(int(limits.get("max_side", DEFAULT_MAX_SIDE)), math.isqrt(pixels))


def _write_warmup(name: str, requests: list[Request], folder: pathlib.Path) -> None:
    path = folder / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name=name, signature_name=signature),
                inputs={k: tf.make_tensor_proto(v) for k, v in inputs.items()},
            )
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def warmup_requests(codec: Codec, largest: int, searches: bool = False) -> list[Request]:
    """Returns requests that compress and decompress images of two sizes.

    Args:
        codec: exported codec.
        largest: side of the largest square image that it accepts.
        searches: whether it has `compress_at_effort`, which is called once, for the smaller image.
    """
    requests: list[Request] = []
    sides = sorted({min(side, largest) for side in WARMUP_SIDES})
    for side in sides:
        y, x = np.mgrid[:side, :side]
        image = np.stack([y % 256, x % 256, (x * y) % 256], -1).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        image_files = {"image_bytes": np.array([file.getvalue()], object)}
        bitstreams = {"bitstream_bytes": np.array([codec.compress(image)], object)}
        requests += [("compress", image_files), ("decompress", bitstreams)]
        if codec.many_rates:
            inputs = {**image_files, "quality": np.array([50], np.int32)}
            requests.append(("compress_at_quality", inputs))
        if searches and side == sides[0]:
            inputs = {**image_files, "effort": np.array([1], np.int32)}
            if codec.many_rates:
                inputs["quality"] = np.array([50], np.int32)
            requests.append(("compress_at_effort", inputs))
        if codec.has_realism:
            inputs = {**bitstreams, "realism": np.array([1.0], np.float32)}
            requests.append(("decompress_at_realism", inputs))
        if codec.has_fast:
            requests.append(("decompress_fast", bitstreams))
    return requests

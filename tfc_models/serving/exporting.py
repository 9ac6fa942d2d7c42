"""Writes a codec as a version that a server can load; `serving.export` is the command.

BASE_PATH/VERSION/ appears whole or not at all: a server that looks at the folder never sees
half a model. It holds warm-up requests, so that a server's first real one is not slow.
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

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tfc_models.codec import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE, Codec
from tfc_models.serving.servable import WARMUP

WARMUP_SIDES = (64, 256)
Request = tuple[str, "dict[str, np.ndarray]"]
WRITING = "writing-"  # what the name of a folder begins with that is no version yet


def export(
    codec: Codec, base_path: str | os.PathLike[str], version: int | None = None, **options: object
) -> pathlib.Path:
    """Writes a version of a codec; returns its folder.

    Args:
        codec: what to write.
        base_path: the folder of versions; made if there is none.
        version: a number; by default one more than the largest there is.
        **options: see `Codec.save`.
    """
    base = pathlib.Path(base_path)
    base.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(base)
    # Not a number, so no server looks at it; beside its place, so that a rename moves it.
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
    """Folders of exports that were killed: nobody holds their locks any more."""
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
            os.rename(scratch, target)  # Fails if there is a folder with something in it.
        except OSError as error:
            if not target.exists():
                raise
            if version is not None:
                raise ValueError(
                    f"{target} exists: versions do not change; choose another."
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


def _largest_side(limits: dict[str, object]) -> int:
    """Side of a square picture that the export accepts."""
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
    """Signatures with inputs: pictures of two sizes, there and back.

    Args:
        codec: what was exported.
        largest: side of the largest picture that it accepts.
        searches: whether it has `compress_at_effort`: called once, for the smaller picture.
    """
    requests: list[Request] = []
    sides = sorted({min(side, largest) for side in WARMUP_SIDES})
    for side in sides:
        y, x = np.mgrid[:side, :side]
        picture = np.stack([y % 256, x % 256, (x * y) % 256], -1).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        pictures = {"image_bytes": np.array([file.getvalue()], object)}
        bitstreams = {"bitstream_bytes": np.array([codec.compress(picture)], object)}
        requests += [("compress", pictures), ("decompress", bitstreams)]
        if codec.many_rates:
            at = {**pictures, "quality": np.array([50], np.int32)}
            requests.append(("compress_at_quality", at))
        if searches and side == sides[0]:
            at = {**pictures, "effort": np.array([1], np.int32)}
            if codec.many_rates:
                at["quality"] = np.array([50], np.int32)
            requests.append(("compress_at_effort", at))
        if codec.has_realism:
            at = {**bitstreams, "realism": np.array([1.0], np.float32)}
            requests.append(("decompress_at_realism", at))
    return requests

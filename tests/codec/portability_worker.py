"""Decodes latents under one machine setting; test_portability runs it as a process.

    python portability_worker.py encode,decode|decode FOLDER WAY [WAY …]

`encode` writes files of each image: with the frozen model of weights.npz, with the same model and
its float network in place of the exact one, and, for a crop of one image, with the other models.
`decode` prints the hash of the latents for each way of decoding and each file; for the float
network, the numbers of scale indexes, means and latents that differ from those of the encoding
process; and a crop of the first image at realism 1. The environment is the setting; a process can
decode in several ways.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from tfc_models import zoo
from tfc_models.codec import Codec
from tfc_models.entropy import EntropyParameters
from tfc_models.entropy.tables import decodable
from tfc_models.layers import pad_to_multiple
from tfc_models.models import STRIDE
from tfc_models.zoo import files

GRAPH, EAGER, BATCH, SAVED, XLA = WAYS = ("graph", "eager", "batch of 4", "saved model", "xla")
SIDE = 128  # of a crop


def models(weights_path: pathlib.Path):
    """Returns the frozen codec and the same model with its float hyper-synthesis."""
    weights = files.read(weights_path)
    codec = Codec(zoo.build_model(weights))
    frozen_parts = ("cdf", "/exact/", "/rates/", "/estimates")  # by freezing
    plain = {k: v for k, v in weights.state.items() if not any(part in k for part in frozen_parts)}
    return codec, zoo.build_model(weights._replace(state=plain))


def float_parameters(floating, z_hat, y):
    """Returns the rounded scale indexes and the means of the float network.

    A context model reads the true latents, as if all previous latents were decoded correctly.
    """
    index, mean, *_ = floating.coder.parameters_for(y, z_hat)
    return np.rint(index.numpy()), np.zeros(0) if mean is None else mean.numpy()


def encode(folder: pathlib.Path) -> Codec:
    codec, floating = models(folder / "weights.npz")
    floating.set_bfloat16("off")
    # Eager, because building graphs takes most of the time.
    tf.config.run_functions_eagerly(True)
    for path in sorted(folder.glob("*.npy")):
        image = np.load(path)
        path.with_suffix(".tfcm").write_bytes(codec.compress(image))
        y = codec.model.to_latents(pad_to_multiple(tf.constant(image[None]), STRIDE))
        z_hat = tf.round(codec.model.coder.hyper_latents(y))
        index, mean = float_parameters(floating, z_hat, y)
        coder = tfc.LocationScaleIndexedEntropyModel
        np.savez(
            path.with_suffix(".npz"),
            z=z_hat,
            y=y,
            index=index,
            mean=mean,
            latent=codec.model.coder.quantization.quantize(y, EntropyParameters(None, mean)),
            string=np.frombuffer(
                coder.compress(codec.model.coder, y, index, mean)[0].numpy(), "u1"
            ),
        )
    for weights in sorted(folder.glob("*.weights")):
        also = Codec(zoo.build_model(files.read(weights)))
        path = min(folder.glob("*.npy"))
        data = also.compress(np.load(path)[:SIDE, :SIDE], 30 if also.many_rates else None)
        path.with_name(f"{path.stem}.{weights.stem}.also").write_bytes(data)
    tf.config.run_functions_eagerly(False)
    return codec


def latents_off(codec, index, mean, was) -> int:
    """Returns the number of latents of the float network's file that decode to other values."""
    string = decodable(
        tf.constant([was["string"].tobytes()]), tf.constant(0.0), tf.constant(mean.size)
    )
    coder = tfc.LocationScaleIndexedEntropyModel
    latent = coder.decompress(codec.model.coder, string, index, mean)
    return int(np.sum(np.abs(latent - was["latent"]) > 0.5))


def decode(folder: pathlib.Path, ways: list[str]) -> dict:
    codec, floating = models(folder / "weights.npz")
    floating.set_bfloat16("off")
    others = {
        weights.stem: Codec(zoo.build_model(files.read(weights)))
        for weights in sorted(folder.glob("*.weights"))
    }
    lost = {path.stem: lost_by(floating, codec, path) for path in sorted(folder.glob("*.tfcm"))}
    first = min(folder.glob("*.tfcm"))
    lost[first.stem]["sharp"] = sharp_piece(codec, first.read_bytes())
    # Eager, because building graphs takes most of the time.
    ways_of_others = {way: EAGER if way in (GRAPH, SAVED) else way for way in ways}
    small = {way: of_others(way, folder, others) for way in set(ways_of_others.values())}
    return {
        way: {**decoded_in(way, folder, codec, lost), **small[ways_of_others[way]]} for way in ways
    }


def sharp_piece(codec, data: bytes) -> list:
    """Returns a crop decoded by the zoo's model at realism 1."""
    sharp = Codec(codec.model, codec.model_name, realism=zoo.entry_of(zoo.DEFAULT))
    tf.config.run_functions_eagerly(True)
    image = sharp.decompress(data, realism=1.0)
    tf.config.run_functions_eagerly(False)
    return image[:SIDE, :SIDE].tolist()


def lost_by(floating, codec, path: pathlib.Path) -> dict[str, Any]:
    """Returns how many float parameters and latents differ from those of the encoding process."""
    with np.load(path.with_suffix(".npz")) as was:
        index, mean = float_parameters(floating, tf.constant(was["z"]), tf.constant(was["y"]))
        return {
            "indexes": int(np.sum(index != was["index"])),
            "means": int(np.sum(mean != was["mean"])),
            "latents": latents_off(codec, index, mean, was),
        }


def of_others(way: str, folder: pathlib.Path, others: dict) -> dict:
    """Returns the reports about the models that only code a crop of one image."""
    return {
        path.stem: {"latent": sha256(decoded(other, path.read_bytes(), way))}
        for name, other in others.items()
        for path in sorted(folder.glob(f"*.{name}.also"))
    }


def decoded_in(way: str, folder: pathlib.Path, codec, lost: dict) -> dict:
    report = {}
    for path in sorted(folder.glob("*.tfcm")):
        latents = decoded(codec, path.read_bytes(), way)
        if way == SAVED:
            verified_by_saved_model(folder, path.read_bytes())
        report[path.stem] = {"latent": sha256(latents), **lost[path.stem]}
    return report


def sha256(latents: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(latents).tobytes()).hexdigest()


def decoded(codec, data: bytes, way: str) -> np.ndarray:
    if way == BATCH:
        return batch_of_four(codec, data)
    if way == XLA and hasattr(codec.model.coder, "exact"):
        return compiled(codec, data)
    tf.config.run_functions_eagerly(way == EAGER)
    latents = codec.latents(data)
    tf.config.run_functions_eagerly(False)
    return latents


def streams_of(codec, data):
    from tfc_models.codec import graph

    limit = tf.constant(2**40, tf.int64)
    count = len(codec.model.coder.streams)
    fields = graph.read(
        tf.constant(data), codec.model_name, [codec.digest_bytes], count, limit, limit, 100
    )
    shape = tf.stack([-(-fields.height // STRIDE), -(-fields.width // STRIDE)])
    return fields.streams, shape, tf.cast(fields.rate, tf.float32)


def batch_of_four(codec, data):
    streams, shape, rate = streams_of(codec, data)
    streams = tuple(tf.repeat(s[None], 4) for s in streams)
    latents = codec.model.coder.decompress(streams, shape, rate)
    assert bool(tf.reduce_all(latents == latents[:1]))
    return latents[0].numpy()


class Compiled:
    """Exact network compiled by XLA."""

    def __init__(self, network):
        self.plain = network
        self._call = tf.function(lambda z: network(z), jit_compile=True, autograph=False)

    def __call__(self, maps):
        return self._call(maps)

    def __getattr__(self, name):
        return getattr(self.plain, name)


def compiled(codec, data):
    """Decodes with the exact network under XLA; the range decoder has no XLA kernel."""
    coder = codec.model.coder
    networks = coder.prediction.networks
    networks.replace_exact(Compiled)
    streams, shape, rate = streams_of(codec, data)
    try:
        return coder.decompress(tuple(s[None] for s in streams), shape, rate)[0].numpy()
    finally:
        networks.replace_exact(lambda network: network.plain)


def verified_by_saved_model(folder, data):
    """Decodes with a SavedModel, which refuses latents whose fingerprint differs."""
    if not hasattr(verified_by_saved_model, "decompress"):
        loaded = tf.saved_model.load(str(folder / "saved"))
        verified_by_saved_model.decompress = loaded.signatures["decompress_tensor"]
    verified_by_saved_model.decompress(bitstream_bytes=tf.constant(data))


def main() -> None:
    verbs, folder, ways = sys.argv[1].split(","), pathlib.Path(sys.argv[2]), sys.argv[3:]
    if "encode" in verbs:
        codec = encode(folder)
        if SAVED in ways:
            codec.save(folder / "saved")
    print(json.dumps(decode(folder, ways)))


if __name__ == "__main__":
    main()

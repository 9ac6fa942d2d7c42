"""Compression of the features of networks that were not trained for it.

All methods have one interface: `fit` on features of the training set, then `coded` for others,
which returns their reconstruction and the bytes. Bytes that the decoder needs besides the data
(tables, bases, codebooks) are counted separately.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from tfc_models.byte_fields import FieldWriter
from tfc_models.entropy.integer_tables import PRECISIONS, IntegerTables

FLOAT_BYTES = 4
LARGEST_TABLE = 2**12


class CodedFeatures(NamedTuple):
    """Reconstruction of features, and the bytes of the data and of the decoder's parameters."""

    features: np.ndarray
    data_bytes: int
    side_bytes: int


class Baseline:
    """Base class of methods that code vectors, examples × channels."""

    name: str

    def fit(self, features: np.ndarray) -> Baseline:
        """Sets the method's parameters by features of the training set; returns the method."""
        features = checked(features)
        if not len(features):
            raise ValueError(f"{self.name} needs at least one vector to fit.")
        self._fit(features)
        return self

    def coded(self, features: np.ndarray) -> CodedFeatures:
        """Codes features; returns their reconstruction and the numbers of bytes."""
        return self._coded(checked(features))

    def _fit(self, features: np.ndarray) -> None:
        """Sets the method's parameters, if it has any."""

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        """See `coded`."""
        raise NotImplementedError


def checked(features: np.ndarray) -> np.ndarray:
    """Returns features as float32; raises ValueError unless they are finite vectors."""
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise ValueError(
            "features are floating-point numbers, examples × channels; got "
            f"{features.dtype} of shape {features.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError("features contain NaN or infinite values: check the backbone.")
    return features.astype(np.float32)


class Float32(Baseline):
    """Features as they are, 32 bits each."""

    name = "float32"

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        return CodedFeatures(features, features.nbytes, 0)


class Zip(Baseline):
    """Deflate (as in zip files) of float32 numbers, channel by channel; lossless."""

    name = "float32 + zip"

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        # The bytes of equal significance are next to each other, which deflate compresses better.
        planes = np.ascontiguousarray(features).view(np.uint8).reshape(-1, FLOAT_BYTES).T
        return CodedFeatures(features, len(zlib.compress(planes.tobytes(), 9)), 0)


class Int8(Baseline):
    """One byte per number, in uniform steps between each channel's extremes."""

    name = "int8"

    def _fit(self, features: np.ndarray) -> None:
        self.low = features.min(0)
        self.step = np.maximum((features.max(0) - self.low) / 255.0, 1e-12)

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        codes = np.clip(np.rint((features - self.low) / self.step), 0, 255).astype(np.uint8)
        decoded = codes * self.step + self.low
        return CodedFeatures(decoded, codes.nbytes, 2 * FLOAT_BYTES * len(self.low))


class PcaQuantization(Baseline):
    """Principal components, uniform quantization, and one coding table per component.

    Args:
        rank: number of components.
        step: quantization step of all components, relative to the first's standard deviation.
    """

    def __init__(self, rank: int, step: float) -> None:
        if rank < 1 or not step > 0.0:
            raise ValueError(f"rank is at least 1 and step above 0; got {rank} and {step}.")
        self.rank, self.relative_step = rank, step
        self.name = f"PCA {rank}"

    def _fit(self, features: np.ndarray) -> None:
        if self.rank > features.shape[1]:
            raise ValueError(f"rank is at most {features.shape[1]}; got {self.rank}.")
        self.mean = features.mean(0)
        # Eigenvectors of the covariance, by decreasing variance.
        variances, vectors = np.linalg.eigh(
            np.cov(features.T.astype(np.float64)).reshape(features.shape[1], features.shape[1])
        )
        self.basis = vectors[:, ::-1][:, : self.rank].astype(np.float32)
        self.step = np.float32(max(self.relative_step * np.sqrt(max(variances[-1], 0.0)), 1e-12))
        self.tables = tables_of(self._integers(features))

    def _integers(self, features: np.ndarray) -> np.ndarray:
        return np.rint((features - self.mean) @ self.basis / self.step).astype(np.int32)

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        integers = self._integers(features)
        columns = np.tile(np.arange(self.rank, dtype=np.int32), len(features))
        (string,) = self.tables.encode(integers.reshape(1, -1), columns)
        writer = FieldWriter()
        self.tables.write(writer)
        side = FLOAT_BYTES * (1 + self.mean.size + self.basis.size) + len(writer.finish())
        decoded = (integers * self.step) @ self.basis.T + self.mean
        return CodedFeatures(decoded, len(string), side)


def tables_of(integers: np.ndarray) -> IntegerTables:
    """Returns a table with an escape for each column, by the frequencies of its integers."""
    minima, rows = [], []
    for column in integers.T:
        minimum = int(column.min())
        if int(column.max()) - minimum >= LARGEST_TABLE:
            raise ValueError("the integers need too large a table: use a larger step.")
        counts = np.bincount(column - minimum).astype(np.float64)
        minima.append(minimum)
        # The estimate of Krichevsky and Trofimov, for the integers and for all others.
        rows.append((counts + 0.5) / (counts.sum() + 0.5 * (len(counts) + 1)))
    widest = max(map(len, rows))
    precision = next(p for p in PRECISIONS if p >= 12 and 2 ** (p - 3) > widest)
    return IntegerTables.of_probabilities(minima, rows, precision)


class ProductQuantization(Baseline):
    """Product quantization: equal parts of a vector, each with a codebook by k-means.

    Args:
        parts: number of parts; divides the number of channels.
        codewords: per codebook, a power of two.
        seed: of the initial codewords.
    """

    def __init__(self, parts: int, codewords: int, seed: int = 0) -> None:
        if parts < 1 or codewords < 2 or codewords & (codewords - 1):
            raise ValueError(
                f"parts are at least 1, and codewords a power of two; got {parts}, {codewords}."
            )
        self.parts, self.codewords, self.seed = parts, codewords, seed
        self.name = f"product quantization {parts} × {codewords}"

    def _fit(self, features: np.ndarray) -> None:
        if features.shape[1] % self.parts or len(features) < self.codewords:
            raise ValueError(
                f"product quantization needs channels divisible by {self.parts}, and at least "
                f"{self.codewords} vectors to fit; got the shape {features.shape}."
            )
        self.codebooks = [
            kmeans2(part, self.codewords, iter=20, minit="++", seed=self.seed, missing="warn")[0]
            for part in np.split(features.astype(np.float64), self.parts, axis=1)
        ]

    def _coded(self, features: np.ndarray) -> CodedFeatures:
        parts = np.split(features.astype(np.float64), self.parts, axis=1)
        decoded = [book[vq(part, book)[0]] for part, book in zip(parts, self.codebooks)]
        bits = self.parts * (self.codewords.bit_length() - 1) * len(features)
        side = FLOAT_BYTES * self.codewords * features.shape[1]
        return CodedFeatures(np.concatenate(decoded, 1).astype(np.float32), -(-bits // 8), side)

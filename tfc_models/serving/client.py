"""Client of a model server, over REST or gRPC. `python -m serving.client` is its command line."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tfc_models.decoder_choice import check_choice

DEFAULT_SERVER = "http://127.0.0.1:8501"


class ServerError(Exception):
    """Error response of a server. `status` is an HTTP status or the name of a gRPC code."""

    def __init__(self, status: int | str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Client of one model on a server.

    >>> client = Client("http://127.0.0.1:8501")
    >>> bitstream = client.compress(open("photo.png", "rb").read(), quality=40)
    >>> png = client.decompress(bitstream)
    """

    def __init__(
        self, server: str = DEFAULT_SERVER, model: str = "default", timeout: float = 60.0
    ) -> None:
        rest = server.startswith(("http://", "https://"))
        self._transport: Any = (_Rest if rest else _Grpc)(server, model, timeout)

    def compress(self, image: bytes, quality: int | None = None, effort: int = 0) -> bytes:
        """Compresses an image file. Returns the bitstream.

        Args:
            image: content of the image file.
            quality: quality of a variable-rate model, 0 to 100.
            effort: encoder effort, 0 to 9, for a model that was exported with a maximum effort.
                Higher values take longer, which the timeouts of client and server must allow.
                A variable-rate model also needs a quality.
        """
        inputs: dict[str, Any] = {"image_bytes": image}
        if quality is not None:
            inputs["quality"] = quality
        if effort:
            inputs["effort"] = effort
            return self._transport.predict("compress_at_effort", inputs)
        signature = "compress" if quality is None else "compress_at_quality"
        return self._transport.predict(signature, inputs)

    def decompress(
        self, bitstream: bytes, realism: float | None = None, decoder: str = "full"
    ) -> bytes:
        """Decompresses a bitstream. Returns a PNG file.

        Args:
            bitstream: content of the compressed file.
            realism: realism of a model with a realism decoder, 0 to 1.
            decoder: "full", or "fast" of a model with a fast decoder.
        """
        check_choice(decoder, realism or 0.0)
        if decoder == "fast":
            return self._transport.predict("decompress_fast", {"bitstream_bytes": bitstream})
        if realism is None:
            return self._transport.predict("decompress", {"bitstream_bytes": bitstream})
        # The signature takes float32 only, so that 1 must be sent as 1.0.
        inputs = {"bitstream_bytes": bitstream, "realism": float(realism)}
        return self._transport.predict("decompress_at_realism", inputs)

    def status(self) -> dict[str, str]:
        """Returns the state of each version."""
        return self._transport.status()

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Rest:
    def __init__(self, server: str, model: str, timeout: float) -> None:
        self._url = f"{server.rstrip('/')}/v1/models/{urllib.parse.quote(model, safe='')}"
        self._timeout = timeout

    def predict(self, signature: str, inputs: dict[str, Any]) -> bytes:
        columns = {
            k: [{"b64": base64.b64encode(v).decode("ascii")} if isinstance(v, bytes) else v]
            for k, v in inputs.items()
        }
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode("ascii")
        answer = self._request(f"{self._url}:predict", body)
        return base64.b64decode(answer["outputs"][0]["b64"])

    def status(self) -> dict[str, str]:
        answer = self._request(self._url)
        return {v["version"]: v["state"] for v in answer["model_version_status"]}

    def close(self) -> None:
        pass

    def _request(self, url: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServerError(error.code, _error_of(error.read())) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(0, f"no answer from {url}: {reason}") from None


def _error_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:200] or "an empty answer"


class _Grpc:
    def __init__(self, server: str, model: str, timeout: float) -> None:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(server, unlimited)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._model, self._timeout = model, timeout

    def predict(self, signature: str, inputs: dict[str, Any]) -> bytes:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto([value]))
        answer = self._request(self._prediction.Predict, request)
        return next(iter(answer.outputs.values())).string_val[0]

    def status(self) -> dict[str, str]:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        states = get_model_status_pb2.ModelVersionStatus.State
        answer = self._request(self._models.GetModelStatus, request)
        return {str(v.version): states.Name(v.state) for v in answer.model_version_status}

    def close(self) -> None:
        self._channel.close()

    def _request(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise ServerError(error.code().name, error.details()) from None

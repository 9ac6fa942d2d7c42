"""Loading of models, without TensorFlow's start-up messages."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import tfc_models
from tfc_models import remote
from tfc_models.cli.errors import ModelError, UsageError, one_line

if TYPE_CHECKING:
    from tfc_models.codec import Codec


def check_model(name: str) -> None:
    """Checks that a model exists, before TensorFlow is loaded."""
    names = tfc_models.list_models()
    known = name in names or (names and name == "default") or remote.is_address(name)
    if not known and not os.path.isfile(name):
        raise UsageError(
            f"there is no model {name!r} and no weights file with that name; "
            f"the models are: {', '.join(names) or 'none'}."
        )


def check_decoder_weights(realism: str | None, fast: str | None) -> None:
    """Checks that the weights of other decoders exist, before TensorFlow is loaded."""
    try:
        if realism:
            remote.check_there(realism, "a realism decoder")
        if fast:
            remote.check_there(fast, "a fast decoder")
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None


def load_model(name: str, realism: str | None = None, fast: str | None = None) -> Codec:
    """Returns the codec that all files of the command need.

    Raises:
        ModelError: the command cannot continue.
    """
    silence_tensorflow()
    try:
        return tfc_models.load(name, realism, fast)
    except Exception as error:
        raise ModelError(f"model {name}: {one_line(error)}") from error


def load_model_of(data: bytes, realism: str | None, fast: str | None) -> Codec:
    """Returns the codec that compressed a file."""
    silence_tensorflow()
    from tfc_models.codec import codec_for

    return codec_for(data, realism, fast)


def silence_tensorflow() -> None:
    """Disables TensorFlow's start-up messages. Call it before TensorFlow is imported.

    A log level that the user has set stays in effect.
    """
    # Level 3 hides errors too: every machine logs "Unable to register cuDNN factory" as one.
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        logging.getLogger("tensorflow").setLevel(logging.ERROR)

"""Asking for definitions: whoever finds that words lack one sends the same request."""

import time

from shared.contracts.commands import DefineWords

MOMENT_SECONDS = 5


def define_words(dataset: str, version: int) -> DefineWords:
    """However often it is asked for within a moment, it is done once."""
    return DefineWords(dataset=dataset, version=version, moment=int(time.time()) // MOMENT_SECONDS)

"""The command that has missing definitions of words fetched."""

import time

from shared.contracts.commands import DefineWords

WINDOW_SECONDS = 5


def define_words(dataset: str, version: int) -> DefineWords:
    """Returns the command. Commands that are built within a window are equal, and run once."""
    return DefineWords(dataset=dataset, version=version, moment=int(time.time()) // WINDOW_SECONDS)

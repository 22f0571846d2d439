"""An upload whose beginning is held against the dataset before the rest is read."""

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

from services.gateway.http.problems import Detail, Problem
from services.gateway.uploads.media_types import Media
from shared.catalog import header
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect, Format

PEEK_BYTES = header.WINDOW
QUOTE = '"'


class Said(NamedTuple):
    """How the file is written, as its sender says. All but `format` is about CSV alone."""

    format: Format
    delimiter: str
    quote: str
    header: Literal["auto", "present", "absent"]


def to_said(media: Media, *, delimiter: str | None, quote: str, header: Literal["auto", "present", "absent"]) -> Said:
    """Raises Problem 422 for cells that are described in a file that has none."""
    told = {"delimiter": delimiter is not None, "quote": quote != QUOTE, "header": header != "auto"}
    if media.format != "csv" and any(told.values()):
        names = ", ".join(name for name, given in told.items() if given)
        raise Problem(
            422,
            "not_csv",
            f"{names}: this is said of CSV, and the file is {media.format}.",
            hint="Leave it out, or send the file as text/csv if it is one.",
        )
    return Said(media.format, delimiter or media.delimiter, quote, header)


class CheckedUpload:
    """Passes the pieces on; `dialect` is known with the first one."""

    dialect: Dialect

    def __init__(self, pieces: AsyncIterator[bytes], dataset: Dataset, said: Said) -> None:
        self._pieces = pieces
        self._dataset = dataset
        self._said = said

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of them. Raises Problem 422 as soon as the first lines show that the file does not fit."""
        begun: list[bytes] = []
        size = 0
        async for piece in self._pieces:
            begun.append(piece)
            size += len(piece)
            if size >= PEEK_BYTES:
                break
        self._judge(b"".join(begun)[:PEEK_BYTES])
        for piece in begun:
            yield piece
        async for piece in self._pieces:
            yield piece

    def _judge(self, start: bytes) -> None:
        said = self._said
        try:
            if said.format == "csv":
                delimiter = header.DELIMITERS.get(said.delimiter, said.delimiter)
                self.dialect = header.detect_csv(
                    start, self._dataset, delimiter=delimiter, quote=said.quote, header=said.header
                )
            else:
                self.dialect = header.detect_json(start, self._dataset, said.format)
        except header.HeaderMismatch as error:
            errors = [Detail(code=e.code, column=e.column, detail=e.detail, line=1) for e in error.errors]
            raise Problem(422, error.code, error.detail, hint=error.hint, errors=errors) from error

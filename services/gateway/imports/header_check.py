"""Header check: compares the first record of an upload with the dataset before the rest is read."""

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

from services.gateway.http.problems import Detail, Problem
from services.gateway.uploads.media_types import Media
from shared.catalog import header
from shared.catalog.dataset import Dataset
from shared.contracts.parts import Dialect, Format

PEEK_BYTES = header.WINDOW
QUOTE = '"'
Header = Literal["auto", "present", "absent"]


class FileOptions(NamedTuple):
    """The client's description of the file. All options except `format` are about CSV."""

    format: Format
    delimiter: str
    quote: str
    header: Header


def parse_file_options(media: Media, *, delimiter: str | None, quote: str, header: Header) -> FileOptions:
    """Completes the options by those of the media type. Raises Problem 422 for CSV options of another format."""
    csv_options = {"delimiter": delimiter is not None, "quote": quote != QUOTE, "header": header != "auto"}
    if media.format != "csv" and any(csv_options.values()):
        names = ", ".join(name for name, is_set in csv_options.items() if is_set)
        raise Problem(
            422,
            "not_csv",
            f"{names}: only CSV has these options, and the file is {media.format}.",
            hint="Omit them, or send the file as text/csv if it is CSV.",
        )
    return FileOptions(media.format, delimiter or media.delimiter, quote, header)


class CheckedUpload:
    """Passes the pieces of a file on; `dialect` is set before the first piece."""

    dialect: Dialect

    def __init__(self, pieces: AsyncIterator[bytes], dataset: Dataset, options: FileOptions) -> None:
        self._pieces = pieces
        self._dataset = dataset
        self._options = options

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields all pieces. Raises Problem 422 first if the first record does not fit the dataset."""
        peeked: list[bytes] = []
        size = 0
        async for piece in self._pieces:
            peeked.append(piece)
            size += len(piece)
            if size >= PEEK_BYTES:
                break
        self._check(b"".join(peeked)[:PEEK_BYTES])
        for piece in peeked:
            yield piece
        async for piece in self._pieces:
            yield piece

    def _check(self, start: bytes) -> None:
        options = self._options
        try:
            if options.format == "csv":
                delimiter = header.DELIMITERS.get(options.delimiter, options.delimiter)
                self.dialect = header.detect_csv(
                    start, self._dataset, delimiter=delimiter, quote=options.quote, header=options.header
                )
            else:
                self.dialect = header.detect_json(start, self._dataset, options.format)
        except header.HeaderMismatch as error:
            errors = [Detail(code=e.code, column=e.column, detail=e.detail, line=1) for e in error.errors]
            raise Problem(422, error.code, error.detail, hint=error.hint, errors=errors) from error

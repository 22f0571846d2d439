"""The commands about declarations: a draft from a file, and putting one."""

import codecs
import contextlib
import gzip
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path, PurePath
from typing import IO, cast

import click
import msgspec

from cli import show
from cli.answers import Dataset, Draft
from cli.client import json_option
from cli.gateway import Gateway, decode, route
from cli.uploading import content_type

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SAMPLE_BYTES = 1 << 20
"""As many as the gateway looks at."""
BETWEEN = re.compile(r"[ \t\r\n,]*")
ACCEPTED = 202


@click.command()
@click.argument("file")
@click.option("-n", "--name", help="What the dataset is to be called; by default, like the file.")
@click.option("--delimiter", help="Between cells: one character, or comma, semicolon, tab, pipe.")
@click.option(
    "--header", type=click.Choice(["auto", "present", "absent"]), help="Whether the first line names the columns."
)
@click.option("--encoding", help="Like utf-16, latin-1, windows-1252; what the file's mark says, or UTF-8, by default.")
@json_option
def infer(file: str, name: str | None, *, as_json: bool, **parameters: str | None) -> None:
    """Draft a declaration from the beginning of a file, or of standard input (-).

    The text is that of a catalog file: look it over, save it as NAME.toml, and `millrace declare NAME.toml`.
    """
    stem = PurePath(file).name.split(".")[0] or "dataset"
    sample = _sample(file)
    with Gateway.find() as gateway:
        body = gateway.send(
            "POST", route("datasets", "infer"), sample, content_type(file), {"name": name or stem, **parameters}
        ).content
    if as_json:
        show.answer(body)
        return
    draft = decode(body, Draft)
    click.echo(draft.toml, nl=False)
    for warned in draft.warnings:
        click.echo(f"{click.style(warned.code, fg='yellow')}: {show.printable(warned.detail)}", err=True)
    command = ["millrace", "import", file, "-d", draft.name]
    command += [word for key, value in draft.parameters.items() for word in (f"--{key}", value)]
    click.echo(f"Learnt from {draft.rows:,} rows. To import it: {shlex.join(command)}", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-n", "--name", help="What the dataset is called; by default, like the file.")
@json_option
def declare(file: Path, name: str | None, *, as_json: bool) -> None:
    """Declare a dataset, or change it where that loses nothing, as a TOML file says."""
    try:
        declaration = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        message = f"{file} can't be read as TOML: {error}."
        raise click.ClickException(message) from None
    with Gateway.find() as gateway:
        path = route("datasets", name or file.stem)
        answer = gateway.send("PUT", path, msgspec.json.encode(declaration), "application/json")
    if as_json:
        show.answer(answer.content)
        return
    found = decode(answer.content, Dataset)
    if answer.status_code == ACCEPTED:
        click.echo(f"Accepted, but not applied yet: `millrace datasets {found.name}` tells when it stands.")
    else:
        click.echo(f"{found.name} stands as declared, at revision {found.revision}.")


def _sample(file: str) -> bytes:
    """The beginning of the file, inflated, up to the end of a row."""
    try:
        with click.open_file(file, "rb") as opened:
            data = _inflated(opened, file).read(SAMPLE_BYTES + 1)
    except (OSError, EOFError, zstd.ZstdError) as error:
        message = f"{file} can't be read: {getattr(error, 'strerror', None) or error}."
        raise click.ClickException(message) from None
    if len(data) <= SAMPLE_BYTES:
        return data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="ignore").encode()[:SAMPLE_BYTES]
    if content_type(file) == "application/json":
        return _elements(data[:SAMPLE_BYTES].decode(errors="ignore")).encode()
    return data[: data.rfind(b"\n", 0, SAMPLE_BYTES) + 1] or data[:SAMPLE_BYTES]


def _inflated(opened: IO[bytes], file: str) -> IO[bytes]:
    match PurePath(file.lower()).suffix:
        case ".gz":
            return cast("IO[bytes]", gzip.open(opened))
        case ".zst":
            return cast("IO[bytes]", zstd.open(opened))
    return opened


def _elements(text: str) -> str:
    """The array of those elements that are whole."""
    decoder = json.JSONDecoder()
    start = end = text.find("[") + 1
    with contextlib.suppress(ValueError, RecursionError):
        while between := BETWEEN.match(text, end):
            _, end = decoder.raw_decode(text, between.end())
    return f"[{text[start:end]}]"


COMMANDS: list[click.Command] = [infer, declare]

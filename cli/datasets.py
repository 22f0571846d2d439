"""`millrace datasets`, `infer` and `declare`: lists datasets, drafts and applies declarations."""

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

from cli.gateway import Gateway, decode, route
from cli.options import file_options, json_option
from cli.responses import Collection, Dataset
from cli.tables import print_json, print_table, printable
from cli.upload import content_type

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SAMPLE_BYTES = 1 << 20
"""The most that the gateway reads of a sample."""
BETWEEN_ELEMENTS = re.compile(r"[ \t\r\n,]*")
ACCEPTED = 202


class DraftWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a draft that needs a check."""

    code: str
    detail: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A drafted declaration; `parameters` are those for importing the file."""

    name: str
    toml: str
    warnings: list[DraftWarning]
    rows: int
    parameters: dict[str, str]


@click.command()
@click.argument("name", required=False)
@json_option
def datasets(name: str | None, *, as_json: bool) -> None:
    """Lists all datasets, or the fields of one."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", name) if name else route("datasets")).content
    if as_json:
        print_json(body)
    elif name:
        _print_dataset(decode(body, Dataset))
    else:
        rows = decode(body, Collection[Dataset]).data
        columns = ("NAME", "TITLE", "KEY", "VERSION")
        print_table(columns, ([d.name, d.title, ", ".join(d.declaration.primary_key), d.version] for d in rows))


@click.command()
@click.argument("file")
@click.option("-n", "--name", help="Name of the dataset. Default: the name of the file.")
@file_options
@json_option
def infer(file: str, name: str | None, *, as_json: bool, **parameters: str | None) -> None:
    """Drafts a declaration from the beginning of a file, or of standard input (-).

    The draft is printed as TOML. Check it, save it as NAME.toml, and run `millrace declare NAME.toml`.
    """
    stem = PurePath(file).name.split(".")[0] or "dataset"
    sample = _sample(file)
    with Gateway.find() as gateway:
        body = gateway.send(
            "POST", route("datasets", "infer"), sample, content_type(file), {"name": name or stem, **parameters}
        ).content
    if as_json:
        print_json(body)
        return
    draft = decode(body, Draft)
    click.echo(draft.toml, nl=False)
    for warning in draft.warnings:
        click.echo(f"{click.style(warning.code, fg='yellow')}: {printable(warning.detail)}", err=True)
    command = ["millrace", "import", file, "-d", draft.name]
    command += [word for key, value in draft.parameters.items() for word in (f"--{key}", value)]
    click.echo(f"Drafted from {draft.rows:,} rows. To import the file: {shlex.join(command)}", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-n", "--name", help="Name of the dataset. Default: the name of the file.")
@json_option
def declare(file: Path, name: str | None, *, as_json: bool) -> None:
    """Declares or changes a dataset from a TOML file.

    Changes that would lose data are rejected.
    """
    try:
        declaration = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file} cannot be read as TOML: {error}.") from None
    with Gateway.find() as gateway:
        path = route("datasets", name or file.stem)
        response = gateway.send("PUT", path, msgspec.json.encode(declaration), "application/json")
    if as_json:
        print_json(response.content)
        return
    dataset = decode(response.content, Dataset)
    if response.status_code == ACCEPTED:
        click.echo(f"Accepted, not applied yet. Run `millrace datasets {dataset.name}` to see when it is.")
    else:
        click.echo(f"{dataset.name} is declared, revision {dataset.revision}.")


def _print_dataset(dataset: Dataset) -> None:
    declaration = dataset.declaration
    key = ", ".join(declaration.primary_key) or "none"
    click.echo(f"{dataset.name}: {dataset.title}, key: {key}, version {dataset.version}")
    print_table(
        ("FIELD", "TYPE", "REQUIRED", "FILLED BY", "REFERENCES", "DESCRIPTION"),
        (
            [f.name, f.type, f.required, "Millrace" if f.generated else "input", f.references, f.description]
            for f in declaration.fields
        ),
    )


def _sample(file: str) -> bytes:
    """Returns the beginning of the file, decompressed, up to the end of a row."""
    try:
        with click.open_file(file, "rb") as opened:
            data = _decompressed(opened, file).read(SAMPLE_BYTES + 1)
    except (OSError, EOFError, zstd.ZstdError) as error:
        message = f"{file} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise click.ClickException(message) from None
    if len(data) <= SAMPLE_BYTES:
        return data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="ignore").encode()[:SAMPLE_BYTES]
    if content_type(file) == "application/json":
        return _whole_elements(data[:SAMPLE_BYTES].decode(errors="ignore")).encode()
    return data[: data.rfind(b"\n", 0, SAMPLE_BYTES) + 1] or data[:SAMPLE_BYTES]


def _decompressed(opened: IO[bytes], file: str) -> IO[bytes]:
    match PurePath(file.lower()).suffix:
        case ".gz":
            return cast("IO[bytes]", gzip.open(opened))
        case ".zst":
            return cast("IO[bytes]", zstd.open(opened))
    return opened


def _whole_elements(text: str) -> str:
    """Returns a JSON array of the elements that are complete."""
    decoder = json.JSONDecoder()
    start = end = text.find("[") + 1
    with contextlib.suppress(ValueError, RecursionError):
        while between := BETWEEN_ELEMENTS.match(text, end):
            _, end = decoder.raw_decode(text, between.end())
    return f"[{text[start:end]}]"


COMMANDS: list[click.Command] = [datasets, infer, declare]

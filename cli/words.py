"""The commands about the words of a dataset."""

import datetime as dt

import click
import msgspec

from cli import show
from cli.client import json_option
from cli.gateway import Gateway, decode, route
from cli.show import Counted

stop_words_option = click.option(
    "--stop-words", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="Of its language."
)


class Word(msgspec.Struct, frozen=True):
    """How often it occurs, and in how many rows."""

    word: str
    documents: int
    occurrences: int


class Words(msgspec.Struct, frozen=True):
    """The most frequent; `total` are all different ones."""

    data: list[Word]
    total: int


class Definition(msgspec.Struct, frozen=True):
    """One meaning."""

    part_of_speech: str
    definition: str


class Entry(msgspec.Struct, frozen=True):
    """A word with its meanings, or why there are none."""

    word: str
    occurrences: int
    phonetic: str | None
    definitions: list[Definition] | None
    definitions_state: str | None
    fetched_at: dt.datetime | None
    stale: bool


class Entries(msgspec.Struct, frozen=True):
    """The most frequent; `definitions` tells how many of theirs there are."""

    data: list[Entry]
    definitions: str


@click.command()
@click.argument("dataset")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many words.")
@stop_words_option
@json_option
def words(dataset: str, limit: int, stop_words: str, *, as_json: bool) -> None:
    """Show the most frequent words of a dataset."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", dataset, "words"), {"limit": limit, "stop_words": stop_words}).content
    if as_json:
        show.answer(body)
        return
    found = decode(body, Words)
    show.table(
        ("WORD", "DOCUMENTS", "OCCURRENCES"),
        ([one.word, Counted(one.documents), Counted(one.occurrences)] for one in found.data),
    )
    click.echo(f"{len(found.data):,} of {found.total:,} words")


@click.command()
@click.argument("dataset")
@click.option("--limit", type=click.IntRange(1, 100), help="How many words; 10 by default.")
@stop_words_option
@json_option
def dictionary(dataset: str, limit: int | None, stop_words: str, *, as_json: bool) -> None:
    """Show the most frequent words of a dataset with their sound and meaning."""
    with Gateway.find() as gateway:
        body = gateway.get(route("datasets", dataset, "dictionary"), {"limit": limit, "stop_words": stop_words}).content
    if as_json:
        show.answer(body)
        return
    found = decode(body, Entries)
    show.table(
        ("WORD", "OCCURRENCES", "PHONETIC", "DEFINITIONS"),
        ([one.word, Counted(one.occurrences), one.phonetic, _meaning(one)] for one in found.data),
    )
    click.echo(f"Definitions: {found.definitions.replace('_', ' ')}")


def _meaning(entry: Entry) -> str:
    if entry.definitions is None:
        return f"({entry.definitions_state})" if entry.definitions_state else ""
    meanings = "; ".join(f"{one.part_of_speech}: {one.definition}" for one in entry.definitions)
    return f"{meanings} (as of {entry.fetched_at:%Y-%m-%d %H:%M} UTC)" if entry.stale else meanings


COMMANDS: list[click.Command] = [words, dictionary]

"""`millrace words` and `dictionary`: the most frequent words of a dataset."""

import datetime as dt

import click
import msgspec

from cli.gateway import Gateway, decode, route
from cli.options import json_option
from cli.tables import Count, print_json, print_table

stop_words_option = click.option(
    "--stop-words",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="Keep or drop stop words of the dataset's language.",
)


class Word(msgspec.Struct, frozen=True):
    """A word, the number of documents that contain it, and its number of occurrences."""

    word: str
    documents: int
    occurrences: int


class Words(msgspec.Struct, frozen=True):
    """The most frequent words; `total` counts all distinct ones."""

    data: list[Word]
    total: int


class Definition(msgspec.Struct, frozen=True):
    """One meaning of a word."""

    part_of_speech: str
    definition: str


class Entry(msgspec.Struct, frozen=True):
    """A word with its definitions, or the reason why they are missing."""

    word: str
    occurrences: int
    phonetic: str | None
    definitions: list[Definition] | None
    definitions_state: str | None
    fetched_at: dt.datetime | None
    stale: bool


class Entries(msgspec.Struct, frozen=True):
    """The most frequent words; `definitions` is the state of all their definitions."""

    data: list[Entry]
    definitions: str


@click.command()
@click.argument("dataset")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000), help="Maximum number of words.")
@stop_words_option
@json_option
def words(dataset: str, limit: int, stop_words: str, *, as_json: bool) -> None:
    """Lists the most frequent words of a dataset."""
    body = _get(dataset, "words", limit, stop_words)
    if as_json:
        print_json(body)
        return
    response = decode(body, Words)
    print_table(
        ("WORD", "DOCUMENTS", "OCCURRENCES"),
        ([word.word, Count(word.documents), Count(word.occurrences)] for word in response.data),
    )
    click.echo(f"{len(response.data):,} of {response.total:,} words")


@click.command()
@click.argument("dataset")
@click.option("--limit", type=click.IntRange(1, 100), help="Maximum number of words. Default: 10.")
@stop_words_option
@json_option
def dictionary(dataset: str, limit: int | None, stop_words: str, *, as_json: bool) -> None:
    """Lists the most frequent words of a dataset with pronunciation and definitions."""
    body = _get(dataset, "dictionary", limit, stop_words)
    if as_json:
        print_json(body)
        return
    response = decode(body, Entries)
    print_table(
        ("WORD", "OCCURRENCES", "PHONETIC", "DEFINITIONS"),
        ([entry.word, Count(entry.occurrences), entry.phonetic, _definitions(entry)] for entry in response.data),
    )
    click.echo(f"Definitions: {response.definitions.replace('_', ' ')}")


def _get(dataset: str, resource: str, limit: int | None, stop_words: str) -> bytes:
    with Gateway.find() as gateway:
        return gateway.get(route("datasets", dataset, resource), {"limit": limit, "stop_words": stop_words}).content


def _definitions(entry: Entry) -> str:
    if entry.definitions is None:
        return f"({entry.definitions_state})" if entry.definitions_state else ""
    text = "; ".join(f"{meaning.part_of_speech}: {meaning.definition}" for meaning in entry.definitions)
    return f"{text} (as of {entry.fetched_at:%Y-%m-%d %H:%M} UTC)" if entry.stale else text


COMMANDS: list[click.Command] = [words, dictionary]

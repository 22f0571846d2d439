"""Tantivy, in its Python binding: `python -m bench.peers.search_tantivy DOCUMENTS QUESTIONS`.

Words are indexed stemmed, and as they are. Hits are counted by the same pass that ranks them.
"""

import json
import sys
from tempfile import TemporaryDirectory
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Query

from bench.peers.asking import FOUND, answers, documents

HEAP_BYTES = 1 << 30


def main() -> None:
    """Reads the documents from a file, keeps the index on disk, and answers."""
    source, asked = sys.argv[1:]
    with TemporaryDirectory() as folder:
        index = _build(source, folder)
        searcher = index.searcher()

        def ask(question: dict[str, Any]) -> int:
            query = _query(index, question)
            result = searcher.search(query, FOUND)
            for _, address in result.hits:
                searcher.doc(address).to_dict()
            if question["kind"] == "filter":
                searcher.aggregate(query, {"categories": {"terms": {"field": "category", "size": 20}}})
            return int(result.count)

        print(json.dumps(answers(asked, ask)))


def _build(source: str, folder: str) -> Any:
    schema = tantivy.SchemaBuilder()
    schema.add_integer_field("id", stored=True)
    schema.add_text_field("category", stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    schema.add_float_field("price", stored=True, fast=True)
    schema.add_text_field("body", stored=True, tokenizer_name="en_stem")
    schema.add_text_field("exact", tokenizer_name="default")
    index = tantivy.Index(schema.build(), path=folder)
    writer = index.writer(heap_size=HEAP_BYTES)
    for number, category, price, body in documents(source):
        document = tantivy.Document()
        document.add_integer("id", number)
        document.add_text("category", category)
        document.add_float("price", price)
        document.add_text("body", body)
        document.add_text("exact", body)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def _query(index: Any, question: dict[str, Any]) -> Any:
    kind, words = question["kind"], question["words"]
    match kind:
        case "phrase":
            return index.parse_query('"{}"'.format(" ".join(words)), ["body"])
        case "exact and" | "exact or":
            occur = Occur.Must if kind == "exact and" else Occur.Should
            terms = [(occur, Query.term_query(index.schema, "exact", word, "freq")) for word in words]
            return Query.boolean_query(terms)
        case "prefix":
            return Query.regex_query(index.schema, "exact", f"{words[0]}.*")
        case "typo":
            return Query.fuzzy_term_query(index.schema, "exact", words[0], distance=1)
        case "filter":
            cheap = Query.range_query(
                index.schema, "price", FieldType.Float, 0.0, float(question["below"]), include_upper=False
            )
            stemmed = index.parse_query(words[0], ["body"])
            return Query.boolean_query([(Occur.Must, stemmed), (Occur.Must, Query.const_score_query(cheap, 0.0))])
        case _:
            return index.parse_query(" ".join(words), ["body"], conjunction_by_default=True)


if __name__ == "__main__":
    main()

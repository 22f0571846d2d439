"""Tantivy, in its Python binding: `python -m bench.peers.search_tantivy DOCUMENTS QUERIES`.

It has a stemmed and an exact index. One pass ranks and counts the hits.
"""

import json
import sys
from tempfile import TemporaryDirectory
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Query

from bench.peers.runner import HITS_READ, read_documents, run_queries

HEAP_BYTES = 1 << 30


def main() -> None:
    """Builds the index on disk and runs the queries."""
    source, queries = sys.argv[1:]
    with TemporaryDirectory() as folder:
        index = _build(source, folder)
        searcher = index.searcher()

        def search(query: dict[str, Any]) -> int:
            parsed = _parse(index, query)
            result = searcher.search(parsed, HITS_READ)
            for _, address in result.hits:
                searcher.doc(address).to_dict()
            if query["kind"] == "filter":
                searcher.aggregate(parsed, {"categories": {"terms": {"field": "category", "size": 20}}})
            return int(result.count)

        print(json.dumps(run_queries(queries, search)))


def _build(source: str, folder: str) -> Any:
    schema = tantivy.SchemaBuilder()
    schema.add_integer_field("id", stored=True)
    schema.add_text_field("category", stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    schema.add_float_field("price", stored=True, fast=True)
    schema.add_text_field("body", stored=True, tokenizer_name="en_stem")
    schema.add_text_field("exact", tokenizer_name="default")
    index = tantivy.Index(schema.build(), path=folder)
    writer = index.writer(heap_size=HEAP_BYTES)
    for number, category, price, body in read_documents(source):
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


def _parse(index: Any, query: dict[str, Any]) -> Any:
    kind, words = query["kind"], query["words"]
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
                index.schema, "price", FieldType.Float, 0.0, float(query["below"]), include_upper=False
            )
            stemmed = index.parse_query(words[0], ["body"])
            return Query.boolean_query([(Occur.Must, stemmed), (Occur.Must, Query.const_score_query(cheap, 0.0))])
        case _:
            return index.parse_query(" ".join(words), ["body"], conjunction_by_default=True)


if __name__ == "__main__":
    main()

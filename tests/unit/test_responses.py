"""Content negotiation by the Accept header."""

import pytest

from services.gateway.http.responses import negotiate

TYPES = {
    "application/json": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "image/svg+xml": "svg",
}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/csv", "csv"),
        ("Text/CSV;charset=utf-8", "csv"),
        ("text/*", "csv"),
        ("application/ndjson", "ndjson"),
        ("application/x-ndjson, text/csv", "ndjson"),
        # The preferred one, and of those that are equally good the one that is named, wherever it stands.
        ("text/csv;q=0.5, application/json", "json"),
        ("application/json;q=0.5, text/csv;q=0.9", "csv"),
        ("*/*, text/csv", "csv"),
        ("*/*;q=0.1, application/x-ndjson;q=0.2", "ndjson"),
        # A browser that opens an address, and one that shows an image.
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", "json"),
        ("image/avif,image/webp,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "svg"),
        # Nothing that we have, or nothing at all.
        ("text/html", "json"),
        ("application/xml, image/png", "json"),
        (",;/", "json"),
        ("text/csv;q=1e400", "json"),
        ("text/csv;q=high", "csv"),
    ],
)
def test_a_client_gets_what_it_prefers_and_else_json(accept: str | None, form: str) -> None:
    assert negotiate(accept, TYPES) == form

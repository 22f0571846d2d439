"""Paginators against difficult sources: endless, repeating, capping, null, with wrong totals."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest

from services.ingestor.sources import mapping, sync_progress
from services.ingestor.sources.sync_progress import LoopDetector, Progress, Step
from shared.catalog import jsonpath, source_mistakes
from shared.catalog.files import to_dataset
from shared.catalog.paginators import (
    AnyPaginator,
    BadPage,
    Cursor,
    HeaderLink,
    JsonLink,
    Offset,
    Page,
    PageNumber,
    Paginator,
    Place,
    SinglePage,
    Token,
)
from shared.catalog.source import Incremental, Source

ROWS = [{"id": number} for number in range(1, 8)]
MOST = 60
BASE = "https://there.example/rows"
Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""From query parameters to a document, whose `link` is the header's."""


def source(paginator: AnyPaginator, **limits: Any) -> Source:
    return Source(**{"name": "there", "url": BASE, "data_selector": "rows", "paginator": paginator, **limits})


class Synced(NamedTuple):
    """Result of a sync: ids in order, requests, and the warning if it ended early."""

    ids: list[int]
    requests: list[dict[str, Any]]
    warning: str


def sync(declared: Source, answer: Answer, *, seconds: Sequence[float] = (0.0,)) -> Synced:
    """All pages, as `pull_page` asks for them; progress is written down after each, as between two messages."""
    now = sync_progress.begin(declared, None)
    ids: list[int] = []
    requests: list[dict[str, Any]] = []
    for number in range(MOST):
        link = declared.paginator.link(now.place)
        params: dict[str, Any] = dict(declared.paginator.parameters(now.place))
        if link is not None:
            assert params == {}
            params = dict(httpx2.URL(BASE).join(link).params)
        requests.append(params)
        document = answer({name: int(text) if str(text).isdecimal() else text for name, text in params.items()})
        links = {"next": document.pop("link")} if "link" in document else {}
        page = Page(mapping.rows(document, declared), document, links)
        step = sync_progress.advance(declared, now, page, seconds=seconds[min(number, len(seconds) - 1)])
        ids += [row["id"] for row in step.rows]
        if step.ended:
            return Synced(ids, requests, step.warning.code if step.warning else "")
        now = msgspec.json.decode(msgspec.json.encode(step.progress), type=Progress)
    raise AssertionError("nothing ends it")


def numbered(size: int = 3, *, base: int = 1, rows: Sequence[Any] = ROWS, **extra: Any) -> Answer:
    """A source whose pages have numbers."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        start = (params["page"] - base) * size
        return {"rows": rows[start : start + size], **extra}

    return answer


def sliced(*, most: int = 100, rows: Sequence[Any] = ROWS, **extra: Any) -> Answer:
    """A source that is read by offset and limit, of which it takes `most` at most."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        return {"rows": rows[params["offset"] : params["offset"] + min(most, params["limit"])], **extra}

    return answer


def pages(*documents: dict[str, Any]) -> Answer:
    """One after the other, whatever the request; the last one again and again."""
    waiting = list(documents)
    return lambda _params: dict(waiting.pop(0) if len(waiting) > 1 else waiting[0])


def rows(*ids: int) -> list[dict[str, int]]:
    return [{"id": number} for number in ids]


ALL = [row["id"] for row in ROWS]
PAGES = PageNumber(base_page=1)


@pytest.mark.parametrize(
    ("paginator", "answer", "ids", "requests", "warning"),
    [
        pytest.param(SinglePage(), pages({"rows": ROWS}), ALL, 1, "", id="a single page"),
        pytest.param(SinglePage(), pages({"rows": ROWS, "next": "/more"}), ALL, 1, "", id="a single page alone"),
        # page_number
        pytest.param(PAGES, numbered(), ALL, 4, "", id="pages until an empty one"),
        pytest.param(PAGES, numbered(7), ALL, 2, "", id="a full last page is not known to be the last"),
        pytest.param(PAGES, numbered(rows=[]), [], 1, "", id="nothing at all"),
        pytest.param(PageNumber(), numbered(base=0), ALL, 4, "", id="pages from 0"),
        pytest.param(PageNumber(base_page=1, total_path="n"), numbered(n=3), ALL, 3, "", id="a total of pages"),
        pytest.param(PageNumber(total_path="n"), numbered(base=0, n=3), ALL, 3, "", id="a total of pages from 0"),
        pytest.param(PageNumber(base_page=1, total_path="m.n"), numbered(m={"n": "3"}), ALL, 3, "", id="total as text"),
        pytest.param(
            PageNumber(base_page=1, total_path="n", total_of="rows"), numbered(n=7), ALL, 3, "", id="a total of rows"
        ),
        pytest.param(PageNumber(base_page=1, total_path="n"), numbered(n=None), ALL, 4, "", id="a total that is null"),
        pytest.param(PageNumber(base_page=1, total_path="n"), numbered(), ALL, 4, "", id="a total that is not there"),
        pytest.param(PageNumber(base_page=1, maximum_page=2), numbered(), ALL[:6], 2, "", id="a last page"),
        pytest.param(
            PageNumber(base_page=1, maximum_page=2, has_more_path="more"),
            numbered(more=True),
            ALL[:6],
            2,
            "",
            id="has_more does not override the maximum",
        ),
        pytest.param(
            PageNumber(base_page=1, has_more_path="more"), numbered(more=False), ALL[:3], 1, "", id="has_more is false"
        ),
        pytest.param(
            PageNumber(base_page=1, has_more_path="more"),
            pages({"rows": rows(1, 2), "more": True}, {"rows": [], "more": True}, {"rows": rows(3), "more": "false"}),
            [1, 2, 3],
            3,
            "",
            id="an empty page in the middle, and has_more as text",
        ),
        pytest.param(
            PageNumber(base_page=1, has_more_path="more"), numbered(), ALL, 4, "", id="has_more that is not there"
        ),
        pytest.param(
            PAGES,
            pages({"rows": rows(1, 2, 3)}, {"rows": rows(4)}, {"rows": rows(5, 6, 7)}, {"rows": []}),
            ALL,
            4,
            "",
            id="a short page is not the end",
        ),
        pytest.param(PAGES, pages({"rows": rows(1, 2)}, {"rows": None}), [1, 2], 2, "", id="a page that is null"),
        pytest.param(PAGES, pages({"rows": rows(1, 2)}, {}), [1, 2], 2, "", id="a page without rows"),
        pytest.param(PAGES, pages({"rows": rows(1, 2)}, {"rows": [None]}), [1, 2], 2, "", id="a row of null"),
        pytest.param(
            PageNumber(base_page=1, stop_after_empty_page=False, total_path="n"),
            pages({"rows": rows(1), "n": 3}, {"rows": None, "n": 3}, {"rows": rows(2), "n": 3}),
            [1, 2],
            3,
            "",
            id="a null page in the middle of a known number",
        ),
        pytest.param(
            PAGES,
            pages({"rows": rows(1, 2)}, {"rows": rows(3)}),
            [1, 2, 3],
            3,
            "pagination_loop",
            id="the last page for ever",
        ),
        pytest.param(
            PAGES,
            lambda params: {"rows": rows(params["page"])},
            list(range(1, 11)),
            10,
            "max_pages",
            id="new pages for ever",
        ),
        pytest.param(
            PageNumber(base_page=1, stop_after_empty_page=False, has_more_path="more"),
            pages({"rows": rows(1), "more": True}, {"rows": [], "more": True}),
            [1],
            10,
            "max_pages",
            id="empty pages for ever",
        ),
        # offset
        pytest.param(Offset(limit=3), sliced(), ALL, 4, "", id="offsets until an empty page"),
        pytest.param(Offset(limit=3, total_path="n"), sliced(n=7), ALL, 3, "", id="offsets with a total"),
        pytest.param(Offset(limit=7, total_path="n"), sliced(n=7), ALL, 1, "", id="as many as there are"),
        pytest.param(Offset(limit=5, total_path="n"), sliced(most=2, n=7), ALL, 4, "", id="a limit that is capped"),
        pytest.param(Offset(limit=3, offset=4), sliced(), ALL[4:], 2, "", id="from an offset on"),
        pytest.param(Offset(limit=3, maximum_offset=3), sliced(), ALL[:6], 2, "", id="up to an offset"),
        pytest.param(
            Offset(limit=2, has_more_path="more", maximum_offset=3),
            sliced(more=True),
            ALL[:4],
            2,
            "",
            id="has_more does not override the greatest offset",
        ),
        pytest.param(
            Offset(limit=3),
            lambda params: {"rows": ROWS[min(params["offset"], 4) :][:3]},
            [1, 2, 3, 4, 5, 6, 5, 6, 7],
            4,
            "pagination_loop",
            id="an offset beyond the end gives the last rows",
        ),
        pytest.param(
            Offset(limit=2, stop_after_empty_page=False, total_path="n"),
            pages({"rows": rows(1, 2), "n": 6}, {"rows": [], "n": 6}, {"rows": rows(5, 6), "n": 6}),
            [1, 2, 5, 6],
            3,
            "",
            id="an empty page is passed by its limit",
        ),
        # cursor
        pytest.param(
            Cursor(cursor_path="next"),
            pages({"rows": rows(1), "next": "b"}, {"rows": rows(2), "next": "c"}, {"rows": rows(3), "next": None}),
            [1, 2, 3],
            3,
            "",
            id="cursors until null",
        ),
        pytest.param(
            Cursor(), pages({"rows": rows(1), "cursors": {"next": 7}}, {"rows": rows(2)}), [1, 2], 2, "", id="a number"
        ),
        pytest.param(
            Cursor(cursor_path="next"), pages({"rows": rows(1), "next": ""}), [1], 1, "", id="an empty text ends"
        ),
        pytest.param(
            Cursor(cursor_path="next", has_more_path="more"),
            pages({"rows": rows(1), "next": "b", "more": True}, {"rows": rows(2), "next": "b", "more": False}),
            [1, 2],
            2,
            "",
            id="a cursor on the last page, and has_more",
        ),
        pytest.param(
            Cursor(cursor_path="next"),
            pages({"rows": rows(1), "next": "b"}, {"rows": rows(2), "next": "b"}),
            [1, 2],
            2,
            "pagination_loop",
            id="the same cursor again",
        ),
        pytest.param(
            Cursor(cursor_path="next"),
            pages({"rows": rows(1), "next": "b"}, {"rows": rows(2), "next": "c"}, {"rows": rows(2), "next": "d"}),
            [1, 2],
            3,
            "pagination_loop",
            id="new cursors, the same rows",
        ),
        pytest.param(
            Cursor(cursor_path="next"),
            pages({"rows": rows(1), "next": "b"}, {"rows": [], "next": "c"}, {"rows": rows(2)}),
            [1, 2],
            3,
            "",
            id="an empty page is not the end of cursors",
        ),
        pytest.param(
            Cursor(cursor_path="next"),
            pages({"rows": [], "next": "b"}, {"rows": None, "next": "c"}, {"next": "d"}, {"rows": rows(1)}),
            [1],
            4,
            "",
            id="empty pages may follow each other",
        ),
        # links
        pytest.param(
            JsonLink(next_url_path="links.next"),
            pages(
                {"rows": rows(1), "links": {"next": f"{BASE}?p=2"}},
                {"rows": rows(2), "links": {"next": "/rows?p=3"}},
                {"rows": rows(3), "links": {}},
            ),
            [1, 2, 3],
            3,
            "",
            id="links, whole and relative",
        ),
        pytest.param(
            JsonLink(has_more_path="more"),
            pages({"rows": rows(1), "next": "?p=2", "more": False}),
            [1],
            1,
            "",
            id="a link after which there is no more",
        ),
        pytest.param(
            JsonLink(),
            pages({"rows": rows(1), "next": "?p=2"}, {"rows": rows(2), "next": "?p=2"}),
            [1, 2],
            2,
            "pagination_loop",
            id="a link to itself",
        ),
        pytest.param(
            HeaderLink(),
            pages({"rows": rows(1), "link": "?p=2"}, {"rows": rows(2)}),
            [1, 2],
            2,
            "",
            id="links in the header",
        ),
    ],
)  # fmt: skip
def test_a_source_is_read_to_its_end_or_a_warning_says_why_not(
    paginator: AnyPaginator, answer: Answer, ids: list[int], requests: int, warning: str
) -> None:
    synced = sync(source(paginator, max_pages=10), answer)
    assert (synced.ids, len(synced.requests), synced.warning) == (ids, requests, warning)


@pytest.mark.parametrize("period", range(1, 9))
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_circle_of_cursors_of_any_length_is_noticed_soon(period: int, before: int) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        here = params.get("after", 0)
        following = here + 1 if here < before + period else before + 1
        return {"rows": rows(here), "cursors": {"next": following}}

    synced = sync(source(Cursor()), answer)
    assert synced.warning == "pagination_loop"
    assert set(synced.ids) == set(range(before + period + 1))
    assert len(synced.requests) <= 3 * (before + period) + 3


def test_the_requests_of_each_paginator() -> None:
    assert sync(source(PageNumber(base_page=1, limit=3, limit_param="size")), numbered()).requests == [
        {"page": number, "size": 3} for number in (1, 2, 3, 4)
    ]
    requests = sync(source(Offset(limit=4)), sliced()).requests
    assert requests == [{"offset": offset, "limit": 4} for offset in (0, 4, 7)]
    cursors = pages({"rows": rows(1), "at": {"next": "b"}}, {"rows": []})
    assert sync(source(Cursor(cursor_path="at.next", cursor_param="from", limit=2)), cursors).requests == [
        {"limit": 2},
        {"limit": 2, "from": "b"},
    ]


def test_hard_stops_win_over_whatever_the_source_says() -> None:
    def endless(params: dict[str, Any]) -> dict[str, Any]:
        return {"rows": rows(*range(params["page"] * 10, params["page"] * 10 + 10)), "total": 10**9, "more": True}

    paginator = PageNumber(total_path="total", has_more_path="more")
    synced = sync(source(paginator, max_pages=4), endless)
    assert (len(synced.ids), len(synced.requests), synced.warning) == (40, 4, "max_pages")
    synced = sync(source(paginator, max_rows=25), endless)
    assert (len(synced.ids), len(synced.requests), synced.warning) == (25, 3, "max_rows")
    synced = sync(source(paginator, max_seconds=60), endless, seconds=(0, 30, 61))
    assert (len(synced.ids), len(synced.requests), synced.warning) == (30, 3, "max_seconds")


def test_a_limit_that_is_just_reached_at_the_end_is_no_reason_to_worry() -> None:
    assert sync(source(PageNumber(base_page=1, total_path="n"), max_pages=3), numbered(n=3)) == Synced(
        ALL, [{"page": 1}, {"page": 2}, {"page": 3}], ""
    )
    assert sync(source(SinglePage(), max_rows=7), pages({"rows": ROWS})).warning == ""
    assert sync(source(SinglePage(), max_rows=6), pages({"rows": ROWS})) == Synced(ALL[:6], [{}], "max_rows")


@pytest.mark.parametrize(
    ("paginator", "document"),
    [
        (Offset(limit=3, total_path="n"), {"rows": ROWS, "n": "many"}),
        (PageNumber(total_path="n"), {"rows": ROWS, "n": {"of": 3}}),
        (Cursor(cursor_path="next"), {"rows": ROWS, "next": {"id": 3}}),
        (Cursor(cursor_path="next"), {"rows": ROWS, "next": True}),
        (JsonLink(), {"rows": ROWS, "next": ["?p=2"]}),
    ],
)
def test_an_answer_that_a_paginator_cannot_follow_is_no_end(paginator: AnyPaginator, document: dict[str, Any]) -> None:
    with pytest.raises(BadPage, match="should be"):
        sync(source(paginator), pages(document))


def test_the_highest_value_is_kept_and_the_one_of_the_request_stays() -> None:
    declared = source(SinglePage(), incremental=Incremental(cursor_path="at", start_param="since", initial_value=5))
    assert (sync_progress.begin(declared, None).since, sync_progress.begin(declared, None).highest) == ("5", None)
    before = sync_progress.begin(declared, "9")
    assert (before.since, before.highest) == ("9", "9")
    page = Page([{"at": 8}, {"at": 11}, {"at": None}, {}, {"at": True}, {"at": 10}], None, {})
    step: Step = sync_progress.advance(declared, before, page, seconds=0)
    assert (step.progress.since, step.progress.highest) == ("9", "11")


def test_a_trail_stays_small() -> None:
    detector: LoopDetector | None = LoopDetector()
    for number in range(1000):
        assert detector is not None
        detector = detector.advance(Page(rows(number), None, {}), Place(token=f"cursor {number}"))
    assert len(msgspec.json.encode(detector)) < 200


class LastId(Paginator, frozen=True, kw_only=True, tag="last_id"):
    """A paginator made up: each page begins after the id of the last row of the page before."""

    id_path: str = "id"
    after_param: str = "after_id"

    def parameters(self, place: Place) -> dict[str, Token]:
        return {} if place.token is None else {self.after_param: place.token}

    def next_place(self, place: Place, page: Page) -> Place | None:
        if not page.rows:
            return None
        return Place(token=jsonpath.first(page.rows[-1], self.id_path), rows=place.rows + len(page.rows))


class SourceWithLastId(Source, frozen=True, kw_only=True):
    """As if LastId were a member of AnyPaginator, which is the one line that registers it."""

    paginator: AnyPaginator | LastId = SinglePage()  # type: ignore[assignment] # wider than in Source


def test_a_paginator_is_one_class_and_one_member_of_the_union() -> None:
    declaration = {"name": "there", "url": BASE, "data_selector": "rows", "paginator": {"type": "last_id"}}
    declared = msgspec.convert(declaration, SourceWithLastId)

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        return {"rows": [row for row in ROWS if row["id"] > params.get("after_id", 0)][:3]}

    assert sync(declared, answer) == Synced(ALL, [{}, {"after_id": 3}, {"after_id": 6}, {"after_id": 7}], "")

    def mistakes(**changes: Any) -> list[str]:
        wrong = msgspec.convert({**declaration, **changes}, SourceWithLastId)
        items = to_dataset("items", {"title": "Items", "fields": [{"name": "id", "type": "integer", "required": True}]})
        return [
            found.detail for found in source_mistakes.find_mistakes(msgspec.structs.replace(items, sources=(wrong,)))
        ]

    assert mistakes() == []
    (bad_path,) = mistakes(paginator={"type": "last_id", "id_path": "a b"})
    assert bad_path.startswith("sources[0].paginator.id_path: 'a b' is not a path")
    (no_text,) = mistakes(format="text", fields={"id": "$"})
    assert no_text.startswith("sources[0].paginator: must be single_page or header_link")

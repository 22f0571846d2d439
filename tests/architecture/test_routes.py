"""Routes: HTTP operations with their scopes, and messages with their publishers and queues."""

import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import aio_pika
import httpx2
import msgspec
import pytest
from litestar import Litestar, get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.serialization import encode_json
from litestar.testing import AsyncTestClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from deploy.topology import HEARD
from services.analytics import app as analytics
from services.analytics.settings import AnalyticsSettings
from services.gateway import app as gateway
from services.gateway.http import api_keys
from services.gateway.http.api_keys import Key
from services.gateway.http.auth import Authentication
from services.gateway.http.problems import to_response
from services.gateway.settings import GatewaySettings
from services.indexer import app as indexer
from services.indexer.settings import IndexerSettings
from services.ingestor import app as ingestor
from services.ingestor.settings import IngestorSettings
from shared.bus import topology
from shared.bus.routes import BadRoute, Route, on
from shared.contracts.commands import (
    BuildIndex,
    DeclareDataset,
    DiscardRows,
    LoadChunk,
    LoadRows,
    PlanDetach,
    PlanImport,
    PlanReplay,
    RebuildRollup,
    RunSearch,
)
from shared.contracts.dead_letter_events import DiscardRequested, RedriveRequested
from shared.contracts.events import (
    ChunkCounted,
    ChunkIndexed,
    ChunkLoaded,
    DatasetDeclared,
    JobCreated,
    PublicJobEvent,
    WorkFailed,
)
from shared.contracts.message import Command, Message
from shared.db import Connection, Pool
from tests.integration.ingestor_runner import CATALOG, connected
from tests.stack import SERVICES, Stack
from tests.waiting import eventually

SCOPES = ("read", "write", "admin")
OPERATIONS = {"/health/live", "/health/ready", "/metrics"}
DOCUMENTATION = {"/", "/docs", "/docs/assets/{file_path:path}", "/openapi.json", "/oauth2-redirect.html", "/{path:str}"}
LOOKED_AT_ONLY = ("/v1/datasets/infer", "/v1/datasets/{dataset:str}/search", "/v1/searches")
"""POSTs because of the sample or the question that they take; what a search as a job keeps, its key may read."""
OUTSIDE_OF_ROUTES: set[type[Message]] = {DatasetDeclared, JobCreated, WorkFailed}
"""Published at the ingestor's start, by the gateway when it accepts a job, and for handlers that give up."""
SECONDS = 20.0
NOBODY = "00000000-0000-7000-8000-000000000000"


class Operation(NamedTuple):
    """A method and a path of the HTTP interface."""

    method: str
    path: str
    scope: str | None
    public: bool


def settings(kind: type[Any], folder: Path, **more: str) -> Any:
    return kind(database_url="postgresql://nowhere", broker_url="amqp://nowhere", spool_url=folder.as_uri(), **more)


@pytest.fixture
def gateway_app(tmp_path: Path) -> Litestar:
    """Built, not started."""
    return gateway.build(settings(GatewaySettings, tmp_path, catalog_dir=str(CATALOG)))


def handlers(app: Litestar) -> list[Operation]:
    """Everything that the app answers to."""
    found = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if isinstance(handler, HTTPRouteHandler):
                scope, public = handler.opt.get("scope"), bool(handler.opt.get("public"))
                found += [Operation(method, route.path, scope, public) for method in handler.http_methods]
    return [operation for operation in found if operation.method != "OPTIONS"]


def path_of(operation: Operation) -> str:
    """The route's path with something in the place of its parameters."""
    return re.sub(r"\{(\w+):(\w+)\}", lambda match: NOBODY if match[1] == "job" else "nothing", operation.path)


def test_every_route_has_a_scope_or_is_public(gateway_app: Litestar) -> None:
    found = handlers(gateway_app)
    assert len(found) > 10
    for operation in found:
        assert (operation.scope in SCOPES) != operation.public, operation
    assert {operation.path for operation in found if operation.public} == OPERATIONS | DOCUMENTATION


def test_whatever_changes_something_needs_more_than_to_read(gateway_app: Litestar) -> None:
    for operation in handlers(gateway_app):
        looks_only = operation.method in ("GET", "HEAD") or operation.path in LOOKED_AT_ONLY
        assert looks_only or operation.scope in ("write", "admin"), operation


async def test_anonymous_is_refused_everywhere_but_in_public(stack: Stack, gateway_app: Litestar) -> None:
    async with httpx2.AsyncClient(base_url=stack.url) as anonymous:
        for operation in handlers(gateway_app):
            answer = await anonymous.request(operation.method, path_of(operation))
            if operation.public:
                assert answer.status_code in (200, 404), operation
            else:
                assert answer.status_code == 401, operation
                assert answer.json()["code"] == "unauthorized"
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_options_lists_the_methods_of_every_route_without_a_key(stack: Stack, gateway_app: Litestar) -> None:
    methods: dict[str, set[str]] = {}
    for operation in handlers(gateway_app):
        methods.setdefault(path_of(operation), {"OPTIONS"}).add(operation.method)
    async with httpx2.AsyncClient(base_url=stack.url) as anonymous:
        for path in methods.keys() - {"/docs/assets/nothing"}:
            answer = await anonymous.options(path)
            assert (answer.status_code, answer.content) == (204, b""), path
            assert set(answer.headers["Allow"].split(", ")) >= methods[path], path
        assert (await anonymous.options("/v1/nothing")).status_code == 404


async def test_a_framework_error_of_500_hides_its_detail() -> None:
    @get("/broken")
    async def broken() -> str:
        raise ImproperlyConfiguredException("secret")

    async with AsyncTestClient(Litestar([broken], exception_handlers={Exception: to_response})) as client:
        answer = await client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_the_openapi_document_is_valid(gateway_app: Litestar) -> None:
    document = msgspec.json.decode(encode_json(gateway_app.openapi_schema.to_schema()))
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer x", "Bearer mr_00000000_secret", "Basic {key}", "{key}", "Bearer {key}x"],
)
async def test_what_is_no_key_is_refused(stack: Stack, value: str) -> None:
    async with httpx2.AsyncClient(base_url=stack.url) as client:
        answer = await client.get("/v1/jobs", headers={"Authorization": value.format(key=stack.key)})
    assert answer.status_code == 401


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_opens_what_its_scope_allows_and_nothing_else(
    stack: Stack, gateway_app: Litestar, scope: str
) -> None:
    async with connected(stack.env["GATEWAY_DATABASE_URL"], "tests", 1) as pool, pool.acquire() as db:
        key = await api_keys.create(db, f"tests, {scope}", scope)
    async with httpx2.AsyncClient(base_url=stack.url, headers={"Authorization": f"Bearer {key}"}) as client:
        for operation in handlers(gateway_app):
            may = operation.scope is None or SCOPES.index(operation.scope) <= SCOPES.index(scope)
            answer = await client.request(operation.method, path_of(operation))
            if may:
                assert answer.status_code not in (401, 403), operation
                assert answer.status_code < 500, operation
            else:
                assert answer.status_code == 403, operation
                assert answer.json()["code"] == "forbidden"


async def test_a_route_that_names_no_scope_is_refused_even_to_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    monkeypatch.setitem(Authentication.cache, b"k", (time.monotonic(), Key("1", "admin", b"", "admin")))
    app = Litestar([forgotten], middleware=[Authentication], exception_handlers={Exception: to_response})
    async with AsyncTestClient(app) as client:
        assert (await client.get("/forgotten", headers={"Authorization": "Bearer k"})).status_code == 403


@pytest.mark.parametrize("service", SERVICES)
def test_every_handler_takes_and_returns_what_its_route_says(service: str) -> None:
    for route in HEARD[service]:
        said = dict.fromkeys(route.then)
        again = on(
            route.message,
            route.handler,
            then=_any_of(list(said)),
            concurrency=route.concurrency,
            together=route.together,
        )
        assert again == route
        assert len({other.message for other in HEARD[service]}) == len(HEARD[service])


async def takes_a_load(command: LoadChunk, db: Connection) -> ChunkLoaded:
    raise NotImplementedError(command, db)


@pytest.mark.parametrize(
    ("message", "then"),
    [(PlanImport, ChunkLoaded), (LoadChunk, None), (LoadChunk, ChunkIndexed), (LoadChunk, ChunkLoaded | ChunkIndexed)],
)
def test_a_route_that_says_something_else_than_its_handler_is_refused(message: type[Message], then: Any) -> None:
    on(LoadChunk, takes_a_load, then=ChunkLoaded)
    with pytest.raises(BadRoute):
        on(message, takes_a_load, then=then)


def test_what_handlers_need_is_given_to_them(tmp_path: Path) -> None:
    apps = {
        "gateway": gateway.build(settings(GatewaySettings, tmp_path, catalog_dir=str(CATALOG))),
        "ingestor": ingestor.build(settings(IngestorSettings, tmp_path)),
        "indexer": indexer.build(IndexerSettings(database_url="", broker_url="amqp://nowhere")),
        "analytics": analytics.build(AnalyticsSettings(database_url="", broker_url="amqp://nowhere")),
    }
    assert set(apps) == set(HEARD) == set(SERVICES)
    for service, app in apps.items():
        consumer = consumer_of(app)
        assert consumer.routes == HEARD[service]
        needed = {kind for route in consumer.routes for kind in route.dependencies.values()}
        assert needed <= set(consumer._dependencies) | {Connection, Pool}, service


def consumer_of(app: Litestar) -> Any:
    """The one whose `running` is the app's lifespan."""
    running: Any
    (running,) = app._lifespan_managers
    return running.__self__


def test_every_command_is_heard_by_exactly_one_service() -> None:
    hearers = _hearers()
    commands = {kind for kind in _messages() if issubclass(kind, Command)}
    assert {PlanImport, LoadChunk} <= commands
    assert {kind.__name__: len(hearers.get(kind, [])) for kind in commands} == {kind.__name__: 1 for kind in commands}


def test_every_event_that_is_published_is_consumed_or_public() -> None:
    hearers = _hearers()
    unheard = {kind for kind in _said() if kind not in hearers and not issubclass(kind, PublicJobEvent)}
    assert unheard == set()


def test_everything_consumed_is_published_and_every_message_is_one_or_the_other() -> None:
    said, heard = _said(), set(_hearers())
    # What the gateway says when it accepts something.
    assert heard - said == {
        PlanImport,
        LoadRows,
        PlanReplay,
        PlanDetach,
        DiscardRows,
        DeclareDataset,
        BuildIndex,
        RunSearch,
        RebuildRollup,
        RedriveRequested,
        DiscardRequested,
    }
    assert said | heard == _messages()


def test_the_receivers_of_a_message_are_the_services_with_a_route_for_it() -> None:
    hearers = _hearers()
    expected = {kind.__name__: set(hearers.get(kind, [])) for kind in _messages()}
    assert {kind.__name__: set(kind.receivers) for kind in _messages()} == expected
    assert all(set(kind.optional) < set(kind.receivers) for kind in _messages() if kind.optional)


def test_who_waits_for_an_event_of_every_chunk_hears_it() -> None:
    hearers = _hearers()
    assert hearers[ChunkLoaded] == ["gateway", "indexer", "analytics"]
    assert hearers[ChunkIndexed] == hearers[ChunkCounted] == ["gateway"]


async def test_there_are_the_queues_of_the_routes_and_of_the_dead_with_their_consumers_and_no_others(
    stack: Stack,
) -> None:
    expected = {topology.DEAD: 1} | {
        queue: 1 for service, routes in HEARD.items() for route in routes for queue in route.queues(service).values()
    }

    async def listed() -> dict[str, float]:
        found = await queues(stack)
        return found if all(found.get(name) == number for name, number in expected.items()) else {}

    found = await eventually(listed, SECONDS)
    assert {name for name in found if not name.startswith("probe_")} == {*expected}


async def queues(stack: Stack) -> dict[str, float]:
    """Consumers by queue, as RabbitMQ itself counts them."""
    url = stack.env["RABBITMQ_METRICS_URL"] + "/detailed"
    async with httpx2.AsyncClient() as client:
        text = (await client.get(url, params={"family": "queue_consumer_count", "vhost": "millrace"})).text
    lines = re.findall(r'^rabbitmq_detailed_queue_consumers\{.*?queue="([^"]+)"\} (\d+)', text, re.MULTILINE)
    return {name: float(number) for name, number in lines}


async def test_a_queue_that_stands_as_declared_can_be_declared_again(stack: Stack) -> None:
    names = await topology.declare(stack.env["BROKER_URL"], HEARD)
    queues = [
        queue for service, routes in HEARD.items() for route in routes for queue in route.queues(service).values()
    ]
    assert sorted(names) == sorted(queues)
    async with await aio_pika.connect(stack.env["BROKER_URL"]) as broker, broker.channel() as channel:
        for name in names:
            assert (await channel.declare_queue(name, passive=True)).name == name


def _hearers() -> dict[type[Message], list[str]]:
    found: dict[type[Message], list[str]] = {}
    for service, routes in HEARD.items():
        for route in routes:
            found.setdefault(route.message, []).append(service)
    return found


def _said() -> set[type[Message]]:
    routes: list[Route] = [route for routes in HEARD.values() for route in routes]
    return {kind for route in routes for kind in route.then} | OUTSIDE_OF_ROUTES


def _messages(kind: type[Message] = Message) -> set[type[Message]]:
    """The contracts' messages that can be sent."""
    below = [one for one in kind.__subclasses__() if one.__module__.startswith("shared.contracts.")]
    found = set[type[Message]]().union(*map(_messages, below))
    return found or {kind}


def _any_of(kinds: list[type[Message]]) -> Any:
    """Their union, as a route writes it."""
    union: Any = None
    for kind in kinds:
        union = kind if union is None else union | kind
    return union

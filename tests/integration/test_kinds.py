"""A made-up kind of job: one declaration, and the gateway submits, follows and describes it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.serialization import encode_json

from services.gateway import app as gateway
from services.gateway.jobs import follow, kinds, queries
from services.gateway.jobs.announcements import JobEvents
from services.gateway.jobs.job import KIND_NAMES, Job, JobBody, JobRequest
from services.gateway.jobs.kinds import JobKind, to_body
from services.gateway.jobs.submit import Submission, submit_jobs, uuid7
from services.gateway.settings import GatewaySettings
from shared.bus.routes import on
from shared.contracts.commands import JobCommand
from shared.contracts.events import JobStarted, JobSucceeded
from shared.contracts.message import Event
from shared.db import Connection, Pool, transaction
from shared.telemetry import metrics
from tests.integration.ingestor_runner import CATALOG, connected


class CountStars(JobCommand, frozen=True, kw_only=True, omit_defaults=True):
    """Count the stars of a sky."""

    receivers = ("analytics",)

    sky: str


class StarsCounted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The stars of a sky are counted."""

    receivers = ("gateway",)
    identity = ("job_id",)

    job_id: Any
    stars: int


class StarsJobBody(JobBody, frozen=True, kw_only=True):
    """A job that counts stars."""

    sky: str
    stars: int | None


def to_stars_body(job: Job, body: JobBody) -> StarsJobBody:
    stars = (job.result or {}).get("stars")
    return StarsJobBody(**msgspec.structs.asdict(body), sky=job.target or "", stars=stars)


async def follow_counted_stars(event: StarsCounted, db: Connection) -> JobEvents:
    return await follow.succeed(db, event.job_id, 0, {"stars": event.stars})


STARS = JobKind(
    name="stars",
    command=CountStars,
    owner="analytics",
    routes=(on(StarsCounted, follow_counted_stars, then=JobEvents),),
    phase="count",
    exclusive="sky",
    body=StarsJobBody,
    to_body=to_stars_body,
    result="A job that counts stars has their number under `stars`.",
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    kinds.register(STARS)
    yield
    del kinds._registered[STARS.name]
    KIND_NAMES.remove(STARS.name)


@pytest.fixture
async def pool(database: dict[str, str]) -> AsyncIterator[Pool]:
    async with connected(database["gateway"], "tests", 4) as pool:
        await pool.execute("INSERT INTO api_keys VALUES ('k', 'k', '', 'write')")
        yield pool


def stars(sky: str) -> JobRequest:
    command = CountStars(dataset="skies", job_id=uuid7(), sky=sky)
    return kinds.build_request(STARS, command, sky, api_key="k", idempotency_key=None)


async def submit(pool: Pool, request: JobRequest) -> Submission:
    async with transaction(pool) as db:
        (accepted,) = await submit_jobs(db, [request])
    assert isinstance(accepted, Submission), accepted
    return accepted


async def test_it_is_submitted_with_its_command_and_first_phase(pool: Pool) -> None:
    request = stars("north")
    job = (await submit(pool, request)).job
    assert (job.kind, job.status, job.phase, job.target) == ("stars", "queued", "count", "north")
    assert await pool.fetchval("SELECT name FROM outbox WHERE id = $1", request.command.id) == "count_stars"


async def test_its_target_is_exclusive(pool: Pool) -> None:
    first = await submit(pool, stars("north"))
    second = await submit(pool, stars("north"))
    other = await submit(pool, stars("south"))
    assert (second.job.id, second.attached) == (first.job.id, True)
    assert (other.job.id != first.job.id, other.attached) == (True, False)


async def test_its_event_ends_it_and_its_body_has_its_own_fields(pool: Pool) -> None:
    job = (await submit(pool, stars("north"))).job
    async with transaction(pool) as db:
        events = await follow_counted_stars(StarsCounted(dataset="skies", job_id=job.id, stars=7), db)
        found = await queries.select_job(db, job.id)
    assert [type(event) for event in events] == [JobStarted, JobSucceeded]
    assert found is not None
    body = to_body(*found)
    assert isinstance(body, StarsJobBody)
    assert (body.kind, body.status, body.sky, body.stars) == ("stars", "succeeded", "north", 7)
    assert events[-1].job["stars"] == 7


def test_the_gateway_hears_its_event_and_describes_it(tmp_path: Path) -> None:
    assert STARS.routes[0] in gateway.routes()
    settings = GatewaySettings(
        database_url="postgresql://nowhere",
        broker_url="amqp://nowhere",
        spool_url=tmp_path.as_uri(),
        catalog_dir=str(CATALOG),
    )
    api = msgspec.json.decode(encode_json(gateway.build(settings).openapi_schema.to_schema()))
    read = api["paths"]["/v1/jobs/{job}"]["get"]
    bodies = read["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    assert {"$ref": "#/components/schemas/StarsJobBody"} in bodies
    assert STARS.result in read["description"]
    assert "stars" in api["components"]["schemas"]["JobBody"]["properties"]["kind"]["enum"]
    labels = [sample.labels for family in metrics.JOBS_ENDED.collect() for sample in family.samples]
    assert {"kind": "stars", "status": "failed"} in labels


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'stars' is registered twice"):
        kinds.register(STARS)


def test_only_an_exclusive_kind_has_a_target() -> None:
    command = CountStars(dataset="skies", job_id=uuid7(), sky="north")
    shared = msgspec.structs.replace(STARS, exclusive=None)
    with pytest.raises(ValueError, match="'stars' has no target"):
        kinds.build_request(shared, command, "north", api_key="k", idempotency_key=None)

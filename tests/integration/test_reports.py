"""Reports on Postgres: checks of their SQL, changes of files and tables, parameters, and the report cache."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.gateway.catalog import Catalog
from services.gateway.http.problems import Problem
from services.gateway.reports import registry, run, sql_check
from services.gateway.reports.cache import ENTRY_BYTES, RenderedReport, ReportCache
from services.gateway.reports.formats import FORMS
from services.gateway.reports.freshness import select_freshness
from services.gateway.reports.registry import ReadyReport, ReportRegistry
from services.gateway.reports.routes import _render
from services.gateway.reports.run import ReportTable, compute
from services.gateway.reports.sql_check import BadStatement, CheckedStatement, TableRef
from shared.catalog.report import Kind, Parameter, Report
from shared.db import Connection, Pool
from tests.integration.ingestor_runner import CATALOG, DATASETS, Ingestor, connected
from tests.integration.reader_runners import Analytics
from tests.waiting import eventually

SECONDS = 10.0
HIRES = "rollups.hired_employees__hires"
ROWS = "data.hired_employees"
ANYTHING_ELSE = "depend on rows and parameters alone"

GOOD = (
    f"SELECT hired_at_year, sum(hires) AS n FROM {HIRES} WHERE hired_at_year = :year GROUP BY 1",
    f"WITH x AS (SELECT * FROM {HIRES}) SELECT a.hires, avg(b.hires) OVER () AS m FROM x a JOIN x b USING (job_id)",
    (
        f"SELECT hired_at::date AS d, to_char(hired_at, 'YYYY') AS y, hired_at - interval '1 day' AS z FROM {ROWS}"
        " WHERE hired_at >= '2021-01-01' AND hired_at::date < :day AND extract(year FROM hired_at) = :year"
    ),
    f"SELECT array_agg(id ORDER BY id) AS ids, json_agg(name) AS names, count(DISTINCT name) FROM {ROWS}",
    f"SELECT lower(name) AS name, :share * 2 AS twice, :word || '!' AS word, :sure AS sure FROM {ROWS} LIMIT 3",
    f"SELECT y, count(id) AS n FROM generate_series(2000, :year) y LEFT JOIN {ROWS} ON id = y GROUP BY y",
)
BAD: tuple[tuple[str, str, str | None], ...] = (
    (f"SELECT selec FROM {ROWS}", 'column "selec" does not exist', "selec "),
    (f"SELECT id FROM {ROWS} WHERE", "syntax error", None),
    (f"SELECT id FROM {ROWS} WHERE id = :word", "operator does not exist: bigint = text", "= :word"),
    (f"SELECT frobnicate(id) FROM {ROWS}", "function frobnicate(bigint) does not exist", "frobnicate"),
    (f"SELECT id FROM {ROWS} WHERE hired_at > 'yesteryear'", "invalid input syntax", "'yesteryear"),
    ("SELECT id FROM data.nothing", 'relation "data.nothing" does not exist', "data.nothing"),
    ("SELECT id FROM nothing.at_all", "does not exist", "nothing.at_all"),
    (f"SELECT id, id FROM {ROWS}", "more than one column is called 'id'", None),
    (f"SELECT interval '1 day' AS i FROM {ROWS}", "'i' is of type interval: cast it", None),
    (f"WITH x AS (DELETE FROM {ROWS} RETURNING id) SELECT id FROM x", "data-modifying", "x AS"),
    ("SELECT 1 AS one", "`datasets` lists 'hired_employees', which the SQL does not read", None),
    ("SELECT hash FROM gateway.api_keys", "gateway.api_keys is not in the declared datasets", "api_keys"),
    ("SELECT id FROM gateway.jobs", "gateway.jobs is not in the declared datasets", "jobs"),
    ("SELECT relname::text FROM pg_class", "pg_catalog.pg_class is not", "pg_class"),
    ("SELECT id FROM data.jobs", "data.jobs is not in the declared datasets", "jobs"),
    ("SELECT items FROM rollups.items__stock", "rollups.items__stock is not", "items__stock"),
    (f"SELECT now() AS n FROM {ROWS}", ANYTHING_ELSE, "now()"),
    (f"SELECT random() AS n FROM {ROWS}", ANYTHING_ELSE, "random()"),
    (f"SELECT pg_sleep(1)::text AS n FROM {ROWS}", ANYTHING_ELSE, "pg_sleep"),
    (f"SELECT PG_READ_FILE('/etc/passwd') AS n FROM {ROWS}", ANYTHING_ELSE, "PG_READ_FILE"),
    (f"SELECT set_config('a.b', 'c', false) AS n FROM {ROWS}", ANYTHING_ELSE, "set_config"),
    (f"SELECT current_setting('port') AS n FROM {ROWS}", ANYTHING_ELSE, "current_setting"),
    (f"SELECT query_to_xml('SELECT 1', true, true, '')::text AS n FROM {ROWS}", ANYTHING_ELSE, "query_to_xml"),
    (f"SELECT id FROM {ROWS} WHERE pg_try_advisory_lock(1)", ANYTHING_ELSE, "pg_try"),
    (f"SELECT id FROM {ROWS} ORDER BY random()", ANYTHING_ELSE, "random()"),
    (f"SELECT age(hired_at)::text AS a FROM {ROWS}", ANYTHING_ELSE, "age("),
    (f"SELECT CURRENT_DATE AS n FROM {ROWS}", ANYTHING_ELSE, None),
    (f"SELECT current_user::text AS n FROM {ROWS}", ANYTHING_ELSE, None),
    (f"SELECT id FROM {ROWS} WHERE hired_at > 'today'", ANYTHING_ELSE, "'today'"),
    (f"SELECT id FROM {ROWS} WHERE hired_at > date 'Yesterday'", ANYTHING_ELSE, "'Yesterday'"),
    (f"SELECT id FROM {ROWS} WHERE hired_at > :word::timestamptz", "which allows 'today'", None),
    (f"SELECT id FROM {ROWS} TABLESAMPLE system(10)", ANYTHING_ELSE, None),
    (f"SELECT id FROM {ROWS} FOR UPDATE", ANYTHING_ELSE, None),
    (
        f"SELECT id FROM {ROWS}) x, LATERAL (SELECT hash FROM gateway.api_keys",
        "gateway.api_keys is not",
        "api_keys",
    ),
)
"""SQL, the error message, and its place: the text that the place points at, if it is known."""


@pytest.fixture
async def gateway(database: dict[str, str], analytics: Analytics) -> AsyncIterator[Pool]:
    for name in DATASETS:
        await analytics.prepare(name)
    async with connected(database["gateway"], "gateway", 4) as pool:
        yield pool


def report(sql: str, **about: Any) -> Report:
    kinds: dict[str, Kind] = {"year": "integer", "day": "date", "share": "number", "word": "string", "sure": "boolean"}
    used = [Parameter(name=name, type=kind) for name, kind in kinds.items() if f":{name}" in sql]
    declaration = {"name": "r", "title": "R", "datasets": ("hired_employees",), "parameters": tuple(used), "sql": sql}
    return Report(**{**declaration, **about})


async def examined(pool: Pool, declared: Report) -> CheckedStatement:
    assert declared.find_mistakes() == []
    async with pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        try:
            return await sql_check.check(db, declared, DATASETS)
        finally:
            await transaction.rollback()


async def refused(pool: Pool, declared: Report) -> BadStatement:
    with pytest.raises(BadStatement) as caught:
        await examined(pool, declared)
    return caught.value


async def test_what_depends_on_rows_and_parameters_alone_is_good(gateway: Pool) -> None:
    for sql in GOOD:
        found = await examined(gateway, report(sql))
        assert {read.dataset for read in found.reads} == {"hired_employees"}, sql
        assert found.columns, sql
    assert await gateway.fetchval("SELECT count(*) FROM pg_proc WHERE proname LIKE 'report\\_%'") == 0


async def test_a_report_names_the_datasets_that_it_reads(gateway: Pool) -> None:
    sql = f"SELECT d.id FROM data.departments d JOIN {HIRES} h ON h.department_id = d.id"
    found = await examined(gateway, report(sql, datasets=("hired_employees", "departments")))
    assert found == CheckedStatement(
        (TableRef("departments", None), TableRef("hired_employees", "hires")), ("id",), ("id",)
    )


async def test_what_is_no_good_is_refused_where_it_stands(gateway: Pool) -> None:
    for sql, message, at in BAD:
        error = await refused(gateway, report(sql))
        assert message in str(error), sql
        assert at is None or (error.place is not None and sql[error.place :].startswith(at)), sql


async def test_a_second_statement_has_no_way_in(gateway: Pool) -> None:
    """Whatever a check of the text alone may overlook."""
    for sql in (f"SELECT id FROM {ROWS}) r; DROP TABLE jobs; --", f"SELECT id FROM {ROWS}; END; SELECT 1; --"):
        with pytest.raises(BadStatement, match=r"syntax error|multiple commands"):
            async with gateway.acquire() as db, db.transaction():
                await sql_check.check(db, report(sql), DATASETS)


async def test_a_partition_is_no_table_to_read(gateway: Pool, ingestor: Ingestor) -> None:
    await ingestor.bring("hired_employees", "1,Ada,2021-11-07T00:00:00Z,1,1\n")
    error = await refused(gateway, report("SELECT id FROM data.hired_employees__2021"))
    assert "data.hired_employees__2021 is not in the declared datasets" in str(error)


class Folder:
    """A catalog whose reports a test writes."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.path = folder / "catalog"
        shutil.copytree(CATALOG, self.path)
        for file in (self.path / "reports").iterdir():
            file.unlink()
        self.pool = pool
        self.reports = ReportRegistry(self.path, Catalog())

    def write(self, name: str, sql: str, *, datasets: str = '["hired_employees"]', chart: str = "") -> None:
        text = f'title = "T"\ndatasets = {datasets}\nsql = """\n{sql}\n"""\n{chart}'
        (self.path / "reports" / f"{name}.toml").write_text(text)

    async def states(self) -> dict[str, str]:
        await self.reports.run(self.pool)
        return {one.name: one.state for one in await self.reports.all(self.pool)}

    async def problem(self, name: str) -> Problem:
        with pytest.raises(Problem) as caught:
            await self.reports.ready(self.pool, name)
        return caught.value


@pytest.fixture
async def folder(gateway: Pool, tmp_path: Path) -> Folder:
    return Folder(tmp_path / "declared", gateway)


async def test_files_are_looked_at_again_when_they_change(folder: Folder) -> None:
    folder.write("one", f"SELECT id\nFROM {ROWS}")
    folder.write("two", f"SELECT id,\n  nme FROM {ROWS}")
    assert await folder.states() == {"one": "ready", "two": "broken"}
    problem = await folder.problem("two")
    assert (problem.status, problem.code) == (503, "report_broken")
    assert "catalog/reports/two.toml:5:3: column" in problem.detail
    folder.write("two", f"SELECT name FROM {ROWS}")
    folder.write("one", "SELECT")
    (folder.path / "reports" / "three.toml").write_text("title =")
    assert await folder.states() == {"one": "broken", "two": "ready", "three": "broken"}
    (folder.path / "reports" / "one.toml").unlink()
    assert "one" not in await folder.states()
    assert (await folder.problem("one")).status == 404
    assert (await folder.reports.ready(folder.pool, "two")).columns == ("name",)


async def test_a_chart_must_fit_the_columns(folder: Folder) -> None:
    sql = f"SELECT name, count(*) AS n FROM {ROWS} GROUP BY 1"
    folder.write("good", sql, chart='[chart]\nx = "name"\nseries = ["n"]\n')
    folder.write("bad", sql, chart='\n[chart]\nx = "nme"\nseries = ["name"]\n')
    folder.write("worse", sql, chart='[chart]\nkind = "pie"\n')
    assert await folder.states() == {"good": "ready", "bad": "broken", "worse": "broken"}
    flaws = [str(flaw) for flaw in folder.reports.statuses["bad"].flaws]
    assert flaws == [
        "catalog/reports/bad.toml:7: chart: 'nme' is not a column; columns: name, n",
        "catalog/reports/bad.toml:7: chart: 'name' in `series` is not numeric",
    ]
    (worse,) = folder.reports.statuses["worse"].flaws
    assert worse.line == 6
    assert "pie" in worse.detail


async def test_nothing_is_checked_again_while_nothing_changes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("one", f"SELECT id FROM {ROWS}")
    assert await folder.states() == {"one": "ready"}
    monkeypatch.setattr(registry, "_check", None)
    assert await folder.states() == {"one": "ready"}


async def test_a_report_waits_for_its_tables_and_is_ready_when_they_are_there(
    folder: Folder, analytics: Analytics
) -> None:
    await analytics.admin.execute(f"ALTER TABLE {HIRES} RENAME TO elsewhere")
    folder.write("one", f"SELECT sum(hires) AS n FROM {HIRES}")
    folder.write("two", "SELECT id FROM data.later", datasets='["later"]')
    assert await folder.states() == {"one": "waiting", "two": "waiting"}
    problem = await folder.problem("one")
    assert (problem.status, problem.code) == (503, "report_waiting")
    assert "there is no rollup hired_employees__hires yet" in problem.detail
    await analytics.admin.execute("ALTER TABLE rollups.elsewhere RENAME TO hired_employees__hires")
    assert (await folder.reports.ready(folder.pool, "one")).columns == ("n",)


async def test_a_table_that_changes_under_a_report_is_no_fault_of_the_gateway(
    folder: Folder, analytics: Analytics
) -> None:
    folder.write("one", f"SELECT sum(hires) AS n FROM {HIRES}")
    assert await folder.states() == {"one": "ready"}
    ready = await folder.reports.ready(folder.pool, "one")
    await analytics.admin.execute(f"ALTER TABLE {HIRES} RENAME COLUMN hires TO hirings")
    with pytest.raises(run.TablesChanged):
        await compute(folder.pool, ready, ())
    folder.reports.invalidate()
    assert await folder.states() == {"one": "broken"}


async def standing(pool: Pool, declared: Report) -> ReadyReport:
    found = await examined(pool, declared)
    return ReadyReport(report=declared, reads=found.reads, columns=found.columns, digest=declared.sql.encode())


async def test_more_rows_than_the_limit_are_reported(gateway: Pool) -> None:
    numbers = "SELECT y FROM generate_series(1, :year) y WHERE NOT EXISTS (SELECT FROM data.hired_employees)"
    ready = await standing(gateway, report(numbers, row_limit=3))
    for year, rows, truncated in ((3, 3, False), (4, 3, True)):
        table = await compute(gateway, ready, (year,))
        assert (len(table.rows), table.truncated) == (rows, truncated)
        assert (b'"truncated":true' in FORMS["json"].render(ready.report, table)) == truncated


async def test_others_are_answered_while_a_chart_is_drawn(gateway: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end = threading.Event(), threading.Event()

    def render(_report: Report, _table: ReportTable) -> bytes:
        began.set()
        assert may_end.wait(SECONDS), "the loop stood still"
        return b"drawn"

    monkeypatch.setitem(FORMS, "svg", FORMS["svg"]._replace(render=render))
    ready = await standing(gateway, report(f"SELECT id FROM {ROWS}"))
    drawing = asyncio.create_task(_render(gateway, ready, (), "svg"))

    async def has_begun() -> bool:
        return began.is_set()

    assert await eventually(has_begun, SECONDS)
    may_end.set()
    assert (await drawing).body == b"drawn"


async def test_what_takes_too_long_is_broken_off(gateway: Pool) -> None:
    slow = f"SELECT count(*) AS n FROM generate_series(1, 100000000) WHERE NOT EXISTS (SELECT FROM {ROWS})"
    with pytest.raises(Problem, match=r"within the 0\.1 seconds") as caught:
        await compute(gateway, await standing(gateway, report(slow, timeout=0.1)), ())
    assert (caught.value.status, caught.value.code) == (422, "too_slow")


async def test_a_computation_that_fails_with_these_values_is_reported(gateway: Pool) -> None:
    ready = await standing(gateway, report(f"SELECT 1 / :year AS n, (SELECT count(*) FROM {ROWS}) AS rows"))
    assert (await compute(gateway, ready, (1,))).rows == [(1, 0)]
    with pytest.raises(Problem, match="division by zero") as caught:
        await compute(gateway, ready, (0,))
    assert caught.value.code == "not_computable"


async def test_a_statement_that_was_prepared_before_a_table_changed_is_prepared_again(
    gateway: Pool, analytics: Analytics
) -> None:
    ready = await standing(gateway, report(f"SELECT * FROM {HIRES}"))
    for _ in range(3):
        await compute(gateway, ready, ())
    await analytics.admin.execute(f"ALTER TABLE {HIRES} ALTER COLUMN hires TYPE numeric")
    await compute(gateway, ready, ())


async def test_no_number_that_json_does_not_know_gets_into_it(gateway: Pool) -> None:
    ready = await standing(gateway, report(f"SELECT 'NaN'::numeric AS n, 1.50 AS m, count(*) AS c FROM {ROWS}"))
    body = FORMS["json"].render(ready.report, await compute(gateway, ready, ()))
    assert body.startswith(b'{"data":[{"n":null,"m":1.50,"c":0}],')


async def test_freshness_is_that_of_what_is_read(gateway: Pool, ingestor: Ingestor, analytics: Analytics) -> None:
    await analytics.admin.execute("DELETE FROM analytics.freshness")
    loaded = await ingestor.load_all(await ingestor.plan("hired_employees", "1,Ada,2021-11-07T00:00:00Z,1,1\n" * 4))
    versions = sorted(event.version for event in loaded)
    assert len(versions) > 1

    async def fresh(*reads: TableRef) -> Any:
        async with gateway.acquire() as db:
            return await select_freshness(db, ("hired_employees",), reads)

    rows, rollup = TableRef("hired_employees", None), TableRef("hired_employees", "hires")
    assert (await fresh(rows)).versions == {"hired_employees": versions[-1]}
    assert (await fresh(rows)).lag_versions == 0
    assert (await fresh(rows)).key == (await fresh(rows)).key
    assert (await fresh(rollup)).versions == {"hired_employees": 0}
    assert (await fresh(rollup)).key != (await fresh(rollup)).key
    assert (await fresh(rollup)).lag_versions == versions[-1]
    assert (await fresh(rollup)).lag_seconds > 0
    counted = "INSERT INTO analytics.freshness VALUES ('hired_employees', $1)"
    await analytics.admin.execute(counted, versions[-1])
    assert (await fresh(rollup)).versions == {"hired_employees": versions[-1]}
    assert ((await fresh(rollup)).lag_versions, (await fresh(rollup)).lag_seconds) == (0, 0)
    assert (await fresh(rollup)).key == (await fresh(rollup)).key != (await fresh(rows, rollup)).key


async def test_a_rollup_that_is_rebuilt_has_another_key(gateway: Pool, analytics: Analytics) -> None:
    read = TableRef("hired_employees", "hires")

    async def key(db: Connection) -> Any:
        return (await select_freshness(db, ("hired_employees",), (read,))).key

    await analytics.admin.execute(
        "INSERT INTO analytics.freshness VALUES ('hired_employees', 1) ON CONFLICT DO NOTHING;"
        "INSERT INTO analytics.rollups VALUES ('hired_employees', 'hires', '{}') ON CONFLICT DO NOTHING"
    )
    async with gateway.acquire() as db:
        before = await key(db)
        assert await key(db) == before
        await analytics.admin.execute("UPDATE analytics.rollups SET built_at = built_at + interval '1 second'")
        assert await key(db) != before


class Computer:
    """A computation that counts its calls and waits until it may go on."""

    def __init__(self, fresh: Any) -> None:
        self.fresh = fresh
        self.calls = 0
        self.may = asyncio.Event()

    async def __call__(self) -> RenderedReport:
        self.calls += 1
        await self.may.wait()
        return RenderedReport(body=b"x" * 100, tag="", freshness=self.fresh)


async def test_what_many_ask_for_is_computed_once_and_kept_until_it_is_another(gateway: Pool) -> None:
    async with gateway.acquire() as db:
        fresh = await select_freshness(db, ("departments",), (TableRef("departments", None),))
    cache, computer = ReportCache(), Computer(fresh)
    asking = [asyncio.create_task(cache.get("a", fresh, computer)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    computer.may.set()
    await asyncio.gather(*asking[1:])
    assert asking[0].cancelled()
    await cache.get("a", fresh, computer)
    assert computer.calls == 1
    await cache.get("b", fresh, computer)
    assert computer.calls == 2
    newer = msgspec.structs.replace(fresh, key=(99,))
    await cache.get("a", newer, computer)
    assert computer.calls == 3


async def test_an_answer_is_kept_as_what_its_snapshot_was(gateway: Pool) -> None:
    async with gateway.acquire() as db:
        fresh = await select_freshness(db, ("departments",), (TableRef("departments", None),))
    newer = msgspec.structs.replace(fresh, key=(99,))
    cache, computer = ReportCache(), Computer(newer)
    computer.may.set()
    _, cached = await cache.get("a", fresh, computer)
    assert cached == newer
    await cache.get("a", newer, computer)
    assert computer.calls == 1
    await cache.get("a", fresh, computer)
    assert computer.calls == 2


async def test_a_failure_reaches_all_callers_and_is_not_cached(gateway: Pool) -> None:
    async with gateway.acquire() as db:
        fresh = await select_freshness(db, ("departments",), (TableRef("departments", None),))
    cache, calls = ReportCache(), []

    async def fails() -> RenderedReport:
        calls.append(1)
        await asyncio.sleep(0)
        raise Problem(422, "x", "x")

    for times in (1, 2):
        answers = await asyncio.gather(*(cache.get("a", fresh, fails) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(one, Problem) for one in answers)
        assert len(calls) == times


async def test_the_cache_is_bounded_in_bytes_and_evicts_the_least_recently_used(gateway: Pool) -> None:
    async with gateway.acquire() as db:
        fresh = await select_freshness(db, ("departments",), (TableRef("departments", None),))
    cache, computer = ReportCache(3 * (100 + ENTRY_BYTES)), Computer(fresh)
    computer.may.set()
    for name in ("a", "b", "c", "a", "d"):
        await cache.get(name, fresh, computer)
    assert computer.calls == 4
    assert cache.size == 3 * (100 + ENTRY_BYTES)
    await cache.get("a", fresh, computer)
    assert computer.calls == 4
    await cache.get("b", fresh, computer)
    assert computer.calls == 5

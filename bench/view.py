"""What Postgres offers for reports: their SQL over the table itself, or over a materialized view of the same groups."""

from bench import psql
from bench.hired import DATASET, ROLLUP
from bench.stack import Stack
from deploy.local.state import REPOSITORY
from shared.catalog.report_files import read_reports

VIEW = "public.peer_hires"
KEY = "hired_at_year, hired_at_quarter, department_id, job_id"
ROWS = f"""
SELECT extract(year FROM hired_at AT TIME ZONE 'UTC')::int AS hired_at_year,
       extract(quarter FROM hired_at AT TIME ZONE 'UTC')::int AS hired_at_quarter,
       department_id, job_id, count(*) AS hires
FROM data.{DATASET}
"""
YEAR = """
WHERE hired_at >= make_timestamptz($1::int, 1, 1, 0, 0, 0, 'UTC')
  AND hired_at < make_timestamptz($1::int + 1, 1, 1, 0, 0, 0, 'UTC')
"""
REFRESH = f"REFRESH MATERIALIZED VIEW CONCURRENTLY {VIEW}"


def create(stack: Stack) -> None:
    """The view as of now, with the index that refreshing it beside its readers needs."""
    psql.run(
        stack,
        "SET client_min_messages = warning",
        f"DROP MATERIALIZED VIEW IF EXISTS {VIEW}",
        f"CREATE MATERIALIZED VIEW {VIEW} AS {ROWS} GROUP BY {KEY}",
        f"CREATE UNIQUE INDEX ON {VIEW} ({KEY})",
        f"VACUUM (ANALYZE) {VIEW}",
    )


def drop(stack: Stack) -> None:
    """Frees the disk."""
    psql.run(stack, f"DROP MATERIALIZED VIEW {VIEW}")


def refresh(stack: Stack) -> float:
    """How many milliseconds it takes."""
    return psql.milliseconds(stack, REFRESH)


def over_view(report: str) -> str:
    """The SQL of the catalog's report, which has one parameter, with the view in the rollup's place."""
    return _sql(report).replace(ROLLUP, VIEW)


def over_table(report: str) -> str:
    """The same with the rows of the year counted first: only they are read, as one would write it by hand."""
    return _sql(report).replace(ROLLUP, f"({ROWS}{YEAR}GROUP BY {KEY})")


def _sql(report: str) -> str:
    found = next(each for each in read_reports(REPOSITORY / "catalog") if each.name == report)
    assert found.report is not None, found.flaws
    return found.report.build_statement().text

"""Peers of the reports: their SQL over the table, or over a materialized view of the same groups."""

from bench import psql
from bench.catalog_hires import DATASET, ROLLUP
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
    """Creates the view with the unique index that a concurrent refresh needs."""
    psql.run(
        stack,
        "SET client_min_messages = warning",
        f"DROP MATERIALIZED VIEW IF EXISTS {VIEW}",
        f"CREATE MATERIALIZED VIEW {VIEW} AS {ROWS} GROUP BY {KEY}",
        f"CREATE UNIQUE INDEX ON {VIEW} ({KEY})",
        f"VACUUM (ANALYZE) {VIEW}",
    )


def drop(stack: Stack) -> None:
    """Drops the view."""
    psql.run(stack, f"DROP MATERIALIZED VIEW {VIEW}")


def refresh(stack: Stack) -> float:
    """Refreshes the view and returns the milliseconds."""
    return psql.milliseconds(stack, REFRESH)


def over_view(report: str) -> str:
    """Returns the report's SQL with the view in place of the rollup."""
    return _sql(report).replace(ROLLUP, VIEW)


def over_table(report: str) -> str:
    """Returns the report's SQL with a query over the year's rows in place of the rollup."""
    return _sql(report).replace(ROLLUP, f"({ROWS}{YEAR}GROUP BY {KEY})")


def _sql(report: str) -> str:
    source = next(each for each in read_reports(REPOSITORY / "catalog") if each.name == report)
    assert source.report is not None, source.flaws
    return source.report.build_statement().text

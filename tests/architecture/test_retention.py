"""Every table of a service has a stated life, or a reason why it does not grow."""

import asyncpg
import msgspec
import pytest

from deploy.reference import RETENTION, SETTINGS
from shared.db.migrate import LEDGER_TABLES
from tests.stack import SERVICES

BUS = {*LEDGER_TABLES, "resent"}
"""The bus deletes these itself."""


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_goes_or_does_not_grow(database: dict[str, str], service: str) -> None:
    admin = await asyncpg.connect(database["admin"])
    rows = await admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", service)
    await admin.close()
    tables = {row["tablename"] for row in rows}
    going = {retention.table.partition(".")[0] for retention in RETENTION[service].RETENTIONS}
    assert going - {"replacing_*"} | RETENTION[service].STEADY.keys() | BUS == tables
    assert not going & RETENTION[service].STEADY.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_life_is_a_setting_and_every_setting_is_a_life(service: str) -> None:
    used = {retention.setting for retention in RETENTION[service].RETENTIONS} - {None}
    assert used == {field.name for field in msgspec.structs.fields(SETTINGS[service]) if field.name.startswith("keep_")}

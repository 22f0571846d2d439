"""Schedules: due times across clock changes, and ticks that come late."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.sources import schedules
from services.gateway.sources.schedules import find_due_ticks
from shared.catalog.schedule import Schedule, find_mistakes, next_after

UTC = dt.UTC
MINUTE = dt.timedelta(minutes=1)
# A place, and a day on which its clocks are put forward or back; the last one skipped a whole day.
CHANGES = [
    ("UTC", (2026, 3, 29)),
    ("Asia/Kolkata", (2026, 3, 29)),
    ("Europe/Berlin", (2026, 3, 29)),
    ("Europe/Berlin", (2026, 10, 25)),
    ("America/New_York", (2026, 3, 8)),
    ("America/New_York", (2026, 11, 1)),
    ("America/Santiago", (2026, 4, 5)),
    ("America/Santiago", (2026, 9, 6)),
    ("Africa/Cairo", (2026, 4, 24)),
    ("Antarctica/Troll", (2026, 3, 29)),
    ("Pacific/Apia", (2011, 12, 30)),
]


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(schedule: Schedule, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    found = []
    while (after := next_after(schedule, after)) <= until:
        found.append(after)
    return found


def matching(field: str, numbers: range) -> set[int]:
    if field.startswith("*"):
        return set(numbers[:: int(field[2:] or 1)])
    return {int(number) for number in field.split(",")}


def counted_out(schedule: Schedule, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    """The ticks by the stated policy, minute by minute, of a schedule that names minutes and hours alone."""
    minute, hour, *_ = schedule.cron.split()
    minutes, hours = matching(minute, range(60)), matching(hour, range(24))
    place = ZoneInfo(schedule.timezone)
    found: set[dt.datetime] = set()
    if minute.startswith("*") or hour.startswith("*"):
        moment = after.replace(second=0, microsecond=0)
        while moment <= until:
            shown = moment.astimezone(place)
            if shown.minute in minutes and shown.hour in hours:
                found.add(moment)
            moment += MINUTE
    else:
        day = after.date() - dt.timedelta(days=2)
        while day <= until.date() + dt.timedelta(days=2):
            for named in (dt.time(h, m) for h in hours for m in minutes):
                local = dt.datetime.combine(day, named)
                while not is_shown(local, place):
                    local += MINUTE
                found.add(local.replace(tzinfo=place).astimezone(UTC))
            day += dt.timedelta(days=1)
    return sorted(moment for moment in found if after < moment <= until)


def is_shown(local: dt.datetime, place: ZoneInfo) -> bool:
    return local.replace(tzinfo=place).astimezone(UTC).astimezone(place).replace(tzinfo=None) == local


def some(numbers: range) -> st.SearchStrategy[str]:
    named = st.lists(st.sampled_from(numbers), min_size=1, max_size=3, unique=True)
    return st.sampled_from(["*", "*/2", "*/5", "*/7"]) | named.map(lambda many: ",".join(map(str, many)))


@given(
    change=st.sampled_from(CHANGES),
    minute=some(range(60)),
    hour=some(range(5)) | some(range(24)),
    early=st.timedeltas(dt.timedelta(0), dt.timedelta(hours=30)),
)
@settings(deadline=None, max_examples=200)
def test_ticks_around_a_change_of_clocks_are_those_that_the_policy_names(
    change: tuple[str, tuple[int, int, int]], minute: str, hour: str, early: dt.timedelta
) -> None:
    place, day = change
    schedule = Schedule(cron=f"{minute} {hour} * * *", timezone=place)
    assert find_mistakes(schedule) == []
    noon = dt.datetime(*day, 12, tzinfo=UTC)
    after, until = noon - early, noon + dt.timedelta(hours=24)
    assert ticks(schedule, after, until) == counted_out(schedule, after, until)


def test_a_time_that_the_clock_skips_comes_when_the_skip_is_over() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    # 02:30 is not shown on 29 March: 01:59:59 is followed by 03:00:00.
    assert ticks(nightly, at("2026-03-28 00:00"), at("2026-03-30 12:00")) == [
        at("2026-03-28 01:30"),
        at("2026-03-29 01:00"),
        at("2026-03-30 00:30"),
    ]


def test_a_time_that_the_clock_shows_twice_counts_the_first_time() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    expected = [at("2026-10-24 00:30"), at("2026-10-25 00:30"), at("2026-10-26 01:30")]
    assert ticks(nightly, at("2026-10-24 00:00"), at("2026-10-26 12:00")) == expected
    # Also for who asks within the second showing of that hour.
    assert next_after(nightly, at("2026-10-25 01:15")) == at("2026-10-26 01:30")


def test_what_goes_by_the_hour_goes_on_through_both() -> None:
    quarterly = Schedule(cron="*/15 * * * *", timezone="Europe/Berlin")
    for night in ("2026-03-29", "2026-10-25"):
        assert len(ticks(quarterly, at(f"{night} 00:00"), at(f"{night} 04:00"))) == 16


def test_midnight_is_that_of_the_place() -> None:
    assert next_after(Schedule(cron="0 0 * * *"), at("2026-07-01 12:00")) == at("2026-07-02 00:00")
    assert next_after(Schedule(cron="0 0 * * *", timezone="Asia/Tokyo"), at("2026-07-01 12:00")) == at(
        "2026-07-01 15:00"
    )


def test_the_next_tick_is_later_than_the_moment_even_if_that_is_one() -> None:
    schedule = Schedule(cron="*/5 * * * *", timezone="America/New_York")
    assert next_after(schedule, at("2026-07-01 12:00")) == at("2026-07-01 12:05")
    assert next_after(schedule, at("2026-07-01 12:00") - dt.timedelta(microseconds=1)) == at("2026-07-01 12:00")
    assert next_after(schedule, at("2026-07-01 12:00") + dt.timedelta(microseconds=1)) == at("2026-07-01 12:05")


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"cron": "0 0 * *"}, "5 fields"),
        ({"cron": "0 0 0 * * *"}, "5 fields"),
        ({"cron": "@daily"}, "5 fields"),
        ({"cron": "0 24 * * *"}, "hour"),
        ({"cron": "0 0 30 2 *"}, "day-of-month"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"catch_up_seconds": 0}, "catch_up_seconds"),
        ({"catch_up_seconds": 10**15}, "catch_up_seconds"),
    ],
)
def test_what_can_not_be_used_is_named(changes: dict[str, Any], about: str) -> None:
    (found,) = find_mistakes(Schedule(**{"cron": "0 0 * * *", **changes}))
    assert about in found


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="tz"):
        msgspec.convert({"cron": "0 0 * * *", "tz": "UTC"}, Schedule)


# What becomes of ticks

HOURLY = Schedule(cron="0 * * * *", catch_up_seconds=3600)


def test_a_tick_on_time_runs() -> None:
    due = find_due_ticks(HOURLY, at("2026-07-01 12:00"), at("2026-07-01 12:00"))
    assert (due.earlier, due.last, due.runs) == ([], at("2026-07-01 12:00"), True)
    assert due.next_at == at("2026-07-01 13:00")


def test_a_tick_that_is_too_late_is_missed() -> None:
    daily = Schedule(cron="0 0 * * *", catch_up_seconds=3600)
    assert find_due_ticks(daily, at("2026-07-01 00:00"), at("2026-07-01 01:00")).runs
    late = find_due_ticks(daily, at("2026-07-01 00:00"), at("2026-07-01 01:00") + dt.timedelta(seconds=1))
    assert not late.runs
    assert (late.earlier, late.last, late.next_at) == ([], at("2026-07-01 00:00"), at("2026-07-02 00:00"))


def test_after_an_outage_only_the_last_tick_runs() -> None:
    patient = Schedule(cron="0 * * * *", catch_up_seconds=100_000)
    due = find_due_ticks(patient, at("2026-07-01 09:00"), at("2026-07-01 12:30"))
    assert due.earlier == [at("2026-07-01 09:00"), at("2026-07-01 10:00"), at("2026-07-01 11:00")]
    assert (due.last, due.runs, due.next_at) == (at("2026-07-01 12:00"), True, at("2026-07-01 13:00"))


def test_of_a_very_long_outage_every_tick_is_accounted_for_and_only_the_last_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedules, "MAX_TICKS", 10)
    now, next_at = at("2026-07-03 12:30"), at("2026-07-01 00:00")
    missed: list[dt.datetime] = []
    ran: list[dt.datetime] = []
    while next_at <= now:
        due = find_due_ticks(HOURLY, next_at, now)
        assert len(due.earlier) <= 10
        missed += due.earlier
        (ran if due.runs else missed).append(due.last)
        next_at = due.next_at
    assert ran == [at("2026-07-03 12:00")]
    assert missed == ticks(HOURLY, at("2026-06-30 23:59"), at("2026-07-03 11:59"))

"""Schedule of a source: a cron expression in a time zone.

Daylight saving time is handled like in Debian's cron. A schedule with fixed minutes and hours runs once for each: right
after the change if the clock skips that time, and the first time if the clock repeats it. A schedule whose minute or
hour begins with `*` follows the clock: it skips the skipped hour, and repeats all runs of the repeated hour.
"""

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

FIELDS = ("minute", "hour", "day", "month", "day of week")
LEAST_CATCH_UP_SECONDS, MOST_CATCH_UP_SECONDS = 10, 366 * 86400
"""Gateways check once a second, so each run is late by up to a second."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Five cron fields in an IANA time zone.

    `overlap` says what to do while the previous sync is still running. After an outage, a run that is late by more than
    `catch_up_seconds` is missed; of several that are not, only the last runs.
    """

    cron: str
    timezone: str = "UTC"
    overlap: Literal["skip", "allow"] = "skip"
    catch_up_seconds: int = 3600


def find_mistakes(schedule: Schedule) -> list[str]:
    """Returns a sentence for each mistake."""
    mistakes = []
    if not LEAST_CATCH_UP_SECONDS <= schedule.catch_up_seconds <= MOST_CATCH_UP_SECONDS:
        limits = f"from {LEAST_CATCH_UP_SECONDS} to {MOST_CATCH_UP_SECONDS}"
        mistakes.append(f"catch_up_seconds is {schedule.catch_up_seconds}; it must be {limits}")
    try:
        ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):  # for an unknown name, one with `..`, and a folder
        mistakes.append(f"timezone {schedule.timezone!r} is unknown; use a name like UTC or Europe/Berlin")
    if len(schedule.cron.split()) != len(FIELDS):
        mistakes.append(f"cron {schedule.cron!r} must have {len(FIELDS)} fields: {', '.join(FIELDS)}")
        return mistakes
    try:
        next(CronSim(schedule.cron, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))
    except CronSimError as error:
        mistakes.append(f"cron {schedule.cron!r} is invalid: {error}")
    except StopIteration:
        mistakes.append(f"cron {schedule.cron!r} never runs")
    return mistakes


def next_after(schedule: Schedule, moment: dt.datetime) -> dt.datetime:
    """Returns the first run after `moment`, in UTC."""
    # cronsim starts with the first of two equal local times, which may be before the moment.
    runs = CronSim(schedule.cron, moment.astimezone(ZoneInfo(schedule.timezone)))
    return next(run for run in (run.astimezone(dt.UTC) for run in runs) if run > moment)

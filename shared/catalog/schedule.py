"""When a source is to be pulled by itself: a cron expression in the time of a place.

Clocks that are put forward or back are met as Debian's cron meets them. A schedule that names minutes and hours runs
once for each: where the clock skips one, as soon as the skip is over; where the clock shows one twice, the first time.
One whose minute or hour begins with `*` goes by what the clock really shows: it has no tick in an hour that is skipped,
and all of its ticks twice in one that is shown twice.
"""

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

FIELDS = ("minute", "hour", "day", "month", "day of week")
LEAST_CATCH_UP_SECONDS, MOST_CATCH_UP_SECONDS = 10, 366 * 86400
"""Every gateway looks each second, so no tick is on time to the second."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Five fields of cron in an IANA time zone.

    `overlap`: what a tick does while the sync before it has not ended. A tick that is later than `catch_up_seconds`, as
    after an outage, is missed; of several that are not, the last one runs.
    """

    cron: str
    timezone: str = "UTC"
    overlap: Literal["skip", "allow"] = "skip"
    catch_up_seconds: int = 3600


def mistakes(schedule: Schedule) -> list[str]:
    """Everything wrong with it, a sentence each; empty when it can be used."""
    found = []
    if not LEAST_CATCH_UP_SECONDS <= schedule.catch_up_seconds <= MOST_CATCH_UP_SECONDS:
        limits = f"from {LEAST_CATCH_UP_SECONDS} to {MOST_CATCH_UP_SECONDS}"
        found.append(f"catch_up_seconds is {schedule.catch_up_seconds}; it must be {limits}")
    try:
        ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError):  # what it raises for a name that is none, one with .., and a folder
        found.append(f"timezone {schedule.timezone!r} is not known; use a name like UTC or Europe/Berlin")
    if len(schedule.cron.split()) != len(FIELDS):
        found.append(f"cron {schedule.cron!r} must have {len(FIELDS)} fields: {', '.join(FIELDS)}")
        return found
    try:
        next(CronSim(schedule.cron, dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))
    except CronSimError as error:
        found.append(f"cron {schedule.cron!r} can't be read: {error}")
    except StopIteration:
        found.append(f"cron {schedule.cron!r} is never due")
    return found


def next_after(schedule: Schedule, moment: dt.datetime) -> dt.datetime:
    """The first tick that is later than `moment`, in UTC."""
    # Among equal local times cronsim begins with the first, which may be before the moment.
    ticks = CronSim(schedule.cron, moment.astimezone(ZoneInfo(schedule.timezone)))
    return next(tick for tick in (tick.astimezone(dt.UTC) for tick in ticks) if tick > moment)

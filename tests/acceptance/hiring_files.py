"""Generated hiring files without a header, with gaps in some rows, and the expected reports."""

import csv
import io
import random
from collections import Counter, defaultdict

import msgspec

DEPARTMENTS = {number: f"Department {chr(64 + number)}" for number in range(1, 13)}
JOBS = {number: f"Job {number:03}" for number in range(1, 184)}
GAPS = ("name", "hired_at", "department_id", "job_id")


class HiringFile(msgspec.Struct, frozen=True):
    """`gaps` has for each bad line the column that is empty there."""

    text: str
    good: list[tuple[int, str, str, int, int]]
    gaps: dict[int, str]


def lines(rows: dict[int, str]) -> str:
    """`1,"Department A"` and so on."""
    return "".join(f'{number},"{name}"\r\n' for number, name in rows.items())


def hired(seed: int, rows: int, *, first_id: int, years: tuple[int, ...] = (2021, 2022)) -> HiringFile:
    """One row in thirty has a gap; some names have a line break in them, so that lines and rows differ."""
    chance = random.Random(seed)
    out = io.StringIO()
    writer = csv.writer(out)
    good: list[tuple[int, str, str, int, int]] = []
    gaps: dict[int, str] = {}
    line = 1
    for number in range(first_id, first_id + rows):
        name = f"Person {number}" + ("\nJunior" if chance.random() < 0.01 else "")
        moment = (
            f"{chance.choice(years)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
            f"T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00Z"
        )
        department, job = chance.choice(list(DEPARTMENTS)), chance.choice(list(JOBS))
        row: list[int | str] = [number, name, moment, department, job]
        if chance.random() < 1 / 30:
            column = chance.randint(1, 4)
            row[column] = ""
            gaps[line] = GAPS[column - 1]
        else:
            good.append((number, name, moment, department, job))
        writer.writerow(row)
        line += 1 + str(row[1]).count("\n")
    return HiringFile(out.getvalue(), good, gaps)


def by_quarter(good: list[tuple[int, str, str, int, int]], year: int) -> list[dict[str, object]]:
    """The report, counted by hand."""
    table: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for _, _, moment, department, job in good:
        if moment.startswith(str(year)):
            table[DEPARTMENTS[department], JOBS[job]][(int(moment[5:7]) - 1) // 3] += 1
    return [
        {"department": department, "job": job, "q1": q[0], "q2": q[1], "q3": q[2], "q4": q[3]}
        for (department, job), q in sorted(table.items())
    ]


def above_average(good: list[tuple[int, str, str, int, int]], year: int) -> list[dict[str, object]]:
    """The report, counted by hand."""
    hires = Counter(dict.fromkeys(DEPARTMENTS, 0))
    hires.update(department for _, _, moment, department, _ in good if moment.startswith(str(year)))
    mean = sum(hires.values()) / len(DEPARTMENTS)
    above = [(number, count) for number, count in hires.items() if count > mean]
    return [
        {"id": number, "department": DEPARTMENTS[number], "hired": count}
        for number, count in sorted(above, key=lambda item: (-item[1], item[0]))
    ]

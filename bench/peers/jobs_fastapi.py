"""The usual way to take batches of rows, first half: check them, insert the job, commit, publish, answer 202."""

import datetime as dt
import os
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import DateTime, MetaData, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.peers.jobs_celery import load_rows


class Base(DeclarativeBase):
    """All tables lie in a schema of their own."""

    metadata = MetaData(schema="bench_peer")


class Job(Base):
    """An accepted batch, with its rows: what a lost message could be sent again from."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    status: Mapped[str] = mapped_column(default="queued")
    rows: Mapped[list[Any]] = mapped_column(JSONB)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class Hire(Base):
    """A row that was loaded."""

    __tablename__ = "hires"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hired_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    department_id: Mapped[int]
    job_id: Mapped[int]


class HireIn(BaseModel):
    """A row as it comes in."""

    id: int
    name: str = Field(max_length=200)
    hired_at: dt.datetime
    department_id: int
    job_id: int


class Batch(BaseModel):
    """The body of a request."""

    rows: list[HireIn] = Field(min_length=1, max_length=1000)


class Accepted(BaseModel):
    """The body of an answer."""

    id: UUID
    status: str
    created_at: dt.datetime


engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=20)
Session = async_sessionmaker(engine, expire_on_commit=False)


app = FastAPI()


@app.post("/rows", status_code=202)
async def accept(batch: Batch) -> Accepted:
    """Publishing blocks the loop for a moment; handing it to a thread was tried, and accepts fewer."""
    job = Job(rows=batch.model_dump(mode="json")["rows"])
    async with Session() as session:
        session.add(job)
        await session.commit()
    load_rows.delay(str(job.id))
    return Accepted(id=job.id, status=job.status, created_at=job.created_at)

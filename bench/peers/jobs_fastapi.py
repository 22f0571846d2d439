"""FastAPI route that accepts batches of rows: validates, inserts a job, commits, publishes, answers 202."""

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
    """Base of the tables, which are in the schema `bench_peer`."""

    metadata = MetaData(schema="bench_peer")


class Job(Base):
    """An accepted batch with its rows, from which a lost message could be sent again."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    status: Mapped[str] = mapped_column(default="queued")
    rows: Mapped[list[Any]] = mapped_column(JSONB)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class Hire(Base):
    """A loaded row."""

    __tablename__ = "hires"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hired_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    department_id: Mapped[int]
    job_id: Mapped[int]


class HireIn(BaseModel):
    """A row of a request."""

    id: int
    name: str = Field(max_length=200)
    hired_at: dt.datetime
    department_id: int
    job_id: int


class Batch(BaseModel):
    """Body of a request."""

    rows: list[HireIn] = Field(min_length=1, max_length=1000)


class Accepted(BaseModel):
    """Body of a response."""

    id: UUID
    status: str
    created_at: dt.datetime


engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:"), pool_size=20)
Session = async_sessionmaker(engine, expire_on_commit=False)


app = FastAPI()


@app.post("/rows", status_code=202)
async def accept(batch: Batch) -> Accepted:
    """Accepts a batch. Publishing blocks the event loop; publishing in a thread was slower."""
    job = Job(rows=batch.model_dump(mode="json")["rows"])
    async with Session() as session:
        session.add(job)
        await session.commit()
    load_rows.delay(str(job.id))
    return Accepted(id=job.id, status=job.status, created_at=job.created_at)

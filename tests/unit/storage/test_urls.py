"""Database URLs: which are taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from deadpan.core.errors import SettingsError
from storage.base.database import connect, describe


@pytest.mark.parametrize(
    "url",
    [
        "",
        "deadpan.db",
        "mysql://somebody:s3cret@host/deadpan",
        "postgresql://somebody:s3cret@host:port/deadpan",
        "postgresql://somebody:s3cret/deadpan",
        "postgresql+asyncpg://somebody:s3cret@host/deadpan",
        "nonsense+driver://somebody:s3cret@host/x?password=s3cret",
        "host=x password=s3cret",
        "postgresql://",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://deadpan.db",
        "sqlite:///x.db?mode=ro",
        "sqlite+aiosqlite:///x.db",
        "mysql+pymysql://somebody:s3cret@host/deadpan",
        "postgresql+psycopg2://somebody:s3cret@host/deadpan",
        "postgresql://somebody:s3cret@host/deadpan?pgbouncer=true",
        "postgresql://somebody:s3cret@host/deadpan?schema=s3cret",
    ],
)
def test_a_wrong_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DEADPAN_DATABASE_URL") as caught:
        connect(url)
    assert "cret" not in str(caught.value)
    assert "sqlite:////" in str(caught.value)


def test_what_a_secret_ends_with_is_no_part_of_a_url(tmp_path: Path) -> None:
    engine = connect(" postgresql://somebody:p%40%23%2F@db.example/deadpan?sslmode=require\n")
    assert engine.url.password == "p@#/"
    assert engine.url.query["sslmode"] == "require"
    engine.dispose()
    engine = connect(f"sqlite:///{tmp_path}/deadpan.db\n")
    assert engine.url.database == f"{tmp_path}/deadpan.db"
    engine.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_name_of_postgresql_means_psycopg_3(scheme: str) -> None:
    engine = connect(f"{scheme}://somebody:s3cret@db.example:5433/deadpan")
    assert engine.url.drivername == "postgresql+psycopg"
    assert describe(engine) == "PostgreSQL database 'deadpan' at db.example:5433"
    engine.dispose()


def test_the_folder_of_a_sqlite_database_is_created(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/a/b/deadpan.db")
    assert (tmp_path / "a" / "b").is_dir()
    engine.dispose()


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(SettingsError, match=r"cannot create the folder .*/a/b"):
        connect(f"sqlite:///{tmp_path}/a/b/deadpan.db")


def test_a_relative_path_means_the_folder_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = connect("sqlite:///deadpan.db")
    assert engine.url.database == str(tmp_path / "deadpan.db")
    engine.dispose()

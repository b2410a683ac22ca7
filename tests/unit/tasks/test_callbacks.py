"""Signature, schedule, patience, and what a receiver's answer means."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from deadpan.core.errors import SettingsError
from deadpan.core.settings import load, signing_secrets
from storage.judging.outbox import TakenEvent
from storage.judging.values import NewFlag, NewVerdict
from storage.judging.verdict_event import verdict_created
from tasks.callbacks import webhook as callbacks
from tasks.callbacks.delivery import Patience, Schedule
from tasks.callbacks.webhook import Answer, Sender, body_of, receiver_problem, signature
from tests.receiver import OTHER_SECRET, SECRET, Receiver, Request

KEY, OTHER_KEY = (base64.b64decode(each.removeprefix("whsec_")) for each in (SECRET, OTHER_SECRET))
LOOPBACK = (ip_network("127.0.0.0/8"),)
EVENT = TakenEvent(
    id=1,
    event="verdict.created",
    post_id="p1",
    idempotency_key="verdict-1-1767225600",
    payload={"post_id": "p1", "verdict_id": 1, "name": "Zoë"},
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    attempts=1,
    due_at=datetime(2026, 1, 1, tzinfo=UTC),
)
DOCUMENT = (Path(__file__).parents[3] / "docs/callbacks.md").read_text()


def _sender(url: str, **changes: Any) -> Sender:
    return Sender(url, [KEY], **{"timeout_seconds": 5.0, "allowed_networks": LOOPBACK, **changes})


def test_a_signature_is_the_one_that_standard_webhooks_publishes() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, spec and libraries' tests
    assert (
        signature([KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_receiver_that_knows_one_of_two_secrets_can_verify() -> None:
    body, now = b"{}", int(time.time())
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(now),
        "webhook-signature": signature([OTHER_KEY, KEY], "m", now, body),
    }
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(body, headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(body, headers)


def test_the_body_is_the_same_on_every_try_and_says_when_it_was() -> None:
    assert body_of(EVENT) == body_of(EVENT)
    assert json.loads(body_of(EVENT)) == {
        "type": "verdict.created",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "data": {"post_id": "p1", "verdict_id": 1, "name": "Zoë"},
    }


def test_tries_go_on_for_more_than_a_day_even_with_the_shortest_delays() -> None:
    shortest = Schedule(jitter=lambda: 0.8)
    delays = [shortest.delay_seconds(attempts) for attempts in range(1, shortest.max_attempts)]
    assert sum(each for each in delays if each is not None) > 86_400
    assert delays == sorted(delays)  # type: ignore[type-var]
    assert shortest.delay_seconds(shortest.max_attempts) is None


def test_delays_are_jittered_and_never_shorter_than_asked() -> None:
    random.seed(1)
    assert len({Schedule().delay_seconds(3) for _ in range(10)}) == 10
    assert Schedule().delay_seconds(1, asked_seconds=900.0) == 900.0
    assert (Schedule(jitter=lambda: 1.0).delay_seconds(20, asked_seconds=1.0)) == 7200.0


def test_a_receiver_in_trouble_is_asked_once_in_a_while() -> None:
    now = 0.0
    patience = Patience(clock=lambda: now)
    broken, fine = Answer(False, "500", is_receivers=True), Answer(True)
    for _ in range(4):
        patience.saw(broken, attempts=1)
    assert patience.allowed is None
    patience.saw(broken, attempts=1)
    rests = []
    for _ in range(8):
        assert patience.allowed == 0
        began = now
        while patience.allowed == 0:
            now += 0.5
        rests.append(now - began)
        assert patience.allowed == 1
        patience.saw(broken, attempts=1)
    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]
    now += 30
    patience.saw(fine, attempts=1)
    assert patience.allowed is None


def test_what_concerns_one_event_does_not_slow_the_others() -> None:
    patience = Patience(clock=lambda: 0.0)
    for _ in range(20):
        patience.saw(Answer(False, "404"), attempts=1)
        patience.saw(Answer(False, "500", is_receivers=True), attempts=4)
    assert patience.allowed is None


def test_a_receiver_that_asks_to_wait_is_left_alone_for_so_long() -> None:
    now = 0.0
    patience = Patience(clock=lambda: now)
    patience.saw(Answer(False, "429", is_receivers=True, retry_after_seconds=120.0), attempts=9)
    now = 119.0
    assert patience.allowed == 0
    now = 120.0
    assert patience.allowed is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (200, Answer(True)),
        (204, Answer(True)),
        (410, Answer(False, "the receiver answered 410 (gone)", is_final=True)),
        (400, Answer(False, "the receiver answered 400 (bad request)")),
        (
            500,
            Answer(False, "the receiver answered 500 (internal server error)", is_receivers=True),
        ),
        (
            (429, {"Retry-After": "7"}),
            Answer(
                False,
                "the receiver answered 429 (too many requests)",
                is_receivers=True,
                retry_after_seconds=7.0,
            ),
        ),
        (
            (503, {"Retry-After": "99999"}),
            Answer(
                False,
                "the receiver answered 503 (service unavailable)",
                is_receivers=True,
                retry_after_seconds=3600.0,
            ),
        ),
    ],
)
def test_what_an_answer_means(given: Any, meant: Answer) -> None:
    with Receiver(answer=lambda _: given) as receiver:
        sender = _sender(receiver.url)
        assert sender.send(EVENT) == meant
        assert not receiver.refused
        sender.close()


@pytest.mark.parametrize("status", [200, 204, 500])
def test_one_connection_serves_many_callbacks(status: int) -> None:
    with Receiver(answer=lambda _: status) as receiver:
        sender = _sender(receiver.url)
        assert [sender.send(EVENT).delivered for _ in range(5)] == [status < 300] * 5
        assert len({request.port for request in receiver.requests}) == 1
        sender.close()


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as inside:
        with Receiver(answer=lambda _: (307, {"Location": inside.url})) as receiver:
            sender = _sender(receiver.url)
            answer = sender.send(EVENT)
            sender.close()
        assert (answer.delivered, inside.requests) == (False, [])
    assert "redirects are not followed" in answer.error


def test_a_receiver_that_hangs_is_left_after_the_timeout() -> None:
    receiver = Receiver()

    def hang(_: Request) -> int:
        receiver.ended.wait(30)
        return 204

    receiver.answer = hang
    with receiver:
        sender = _sender(receiver.url, timeout_seconds=0.3)
        answer = sender.send(EVENT)
        sender.close()
    assert answer == Answer(False, "the receiver did not answer in time", is_receivers=True)


def test_a_private_address_is_refused_unless_its_network_is_named() -> None:
    with Receiver() as receiver:
        sender = _sender(f"http://localhost:{receiver.port}/", allowed_networks=())
        answer = sender.send(EVENT)
        sender.close()
        assert receiver.requests == []
    assert "private address" in answer.error
    assert "DEADPAN_ALLOW_PRIVATE_ADDRESSES" in answer.error


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("169.254.169.254", "private address 169.254.169.254"),
        ("::ffff:10.0.0.1", "private address ::ffff:"),
        ("93.184.215.14", "use https://"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_sent(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "resolve", lambda *_, **__: [ip_address(address)])
    sender = _sender("http://receiver.example/")
    assert said in sender.send(EVENT).error
    sender.close()


def test_what_the_url_alone_tells_is_told_before_anything_starts() -> None:
    assert "private address" in (receiver_problem("https://10.0.0.8/x", ()) or "")
    assert receiver_problem("http://10.0.0.8/x", [ip_network("10.0.0.0/8")]) is None
    assert "use https" in (receiver_problem("http://93.184.215.14/", ()) or "")
    assert receiver_problem("https://receiver.example/x", ()) is None


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0x7F.1", "2130706433", "0177.0.0.1"),
        *("017700000001", "127.0.0.1.", "0", "0x0", "[::1]", "[::ffff:127.0.0.1]"),
        *("[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "localhost", "LOCALHOST.", "a.localhost"),
        "localhost.localdomain",
        *("10.1", "0xa000001", "167772161", "192.168.257", "169.254.43518"),
    ],
)
def test_a_private_address_is_one_however_it_is_written(host: str) -> None:
    """What a resolver makes of it when something is sent, `deadpan check` says beforehand."""
    for scheme in ("http", "https"):
        said = receiver_problem(f"{scheme}://{host}:9000/x", ())
        assert said is not None, host
        assert "private address" in said
    networks = [ip_network(n) for n in ("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "::1/128")]
    networks += [ip_network("192.168.0.0/16"), ip_network("169.254.0.0/16")]
    assert receiver_problem(f"http://{host}:9000/x", networks) is None


@pytest.mark.parametrize("host", ["１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1"])
def test_digits_that_only_look_like_some_are_no_address(host: str) -> None:
    assert "not a valid URL" in (receiver_problem(f"https://{host}/x", ()) or "")


@pytest.mark.parametrize("host", ["localhost.example", "1.2.3.4.5", "0xgg", "256.1.1.1.example"])
def test_a_name_is_no_address(host: str) -> None:
    assert receiver_problem(f"https://{host}/x", ()) is None


def test_a_public_address_is_one_however_it_is_written() -> None:
    for host in ("93.184.215.14", "1572394766", "0x5db8d70e", "93.12113678"):
        assert "use https" in (receiver_problem(f"http://{host}/", ()) or "")
        assert receiver_problem(f"https://{host}/", ()) is None


def test_localhost_is_allowed_by_either_of_its_addresses() -> None:
    for network in ("127.0.0.0/8", "::1/128"):
        assert receiver_problem("http://localhost:9000/x", [ip_network(network)]) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CALLBACK_URL": "ftp://x/"}, "DEADPAN_CALLBACK_URL is 'ftp://x/': write https://HOST"),
        ({"CALLBACK_URL": "https://a:b@x/"}, "user name or password"),
        ({"CALLBACK_URL": "https://x/"}, "`deadpan callbacks secret`"),
        ({"CALLBACK_SECRET": "hello"}, "DEADPAN_CALLBACK_SECRET is (hidden): secret 1 is not"),
        ({"CALLBACK_SECRET": f"{SECRET},whsec_aaaa"}, "secret 2 is not"),
    ],
)
def test_settings_that_cannot_work_say_so(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"DEADPAN_{name}": value for name, value in given.items()})
    assert said in str(caught.value)


def test_several_secrets_are_read_in_their_order() -> None:
    settings = load(
        {
            "DEADPAN_CALLBACK_URL": "https://x.example/",
            "DEADPAN_CALLBACK_SECRET": f"{OTHER_SECRET}, {SECRET}",
        }
    )
    assert signing_secrets(settings.callback_secret) == (OTHER_KEY, KEY)


def test_the_document_names_every_field_of_a_payload_and_shows_a_valid_one() -> None:
    verdict = NewVerdict(
        "p", "a" * 64, "m", "c", "p", 0.1, 0.2, 0.7, 0.9, flag=NewFlag("q", 1, [{"rule": "r"}])
    )
    event = verdict_created(verdict, 1, flag_id=2, created_at=EVENT.created_at)
    rows = DOCUMENT.partition("| field of `data` |")[2].partition("\n\n")[0].splitlines()[2:]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert documented == set(event.data)
    shown = json.loads(_snippet("json"))
    assert set(shown["data"]) == set(event.data)
    assert set(shown["data"]["flag"]) == set(event.data["flag"])
    assert set(shown["data"]["versions"]) == set(event.data["versions"])
    assert set(shown) == set(json.loads(body_of(EVENT)))


def _snippet(language: str) -> str:
    return DOCUMENT.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_documents_python_example_takes_a_callback_and_refuses_a_forged_one() -> None:
    names: dict[str, Any] = {}
    exec(compile(_snippet("python"), "docs/callbacks.md", "exec"), names)
    take, taken = names["take"], names["taken"]
    body, now = body_of(EVENT), int(time.time())
    headers = {
        "webhook-id": EVENT.idempotency_key,
        "webhook-timestamp": str(now),
        "webhook-signature": signature([KEY], EVENT.idempotency_key, now, body),
    }
    assert take(body, headers, SECRET) == 204
    assert take(body, headers, SECRET) == 204
    assert list(taken) == [EVENT.idempotency_key]
    assert take(body + b" ", headers, SECRET) == 401
    assert take(body, headers, OTHER_SECRET) == 401


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js on this machine")
def test_the_documents_node_example_verifies() -> None:
    body, now = body_of(EVENT).decode(), int(time.time())
    headers = {
        "webhook-id": EVENT.idempotency_key,
        "webhook-timestamp": str(now),
        "webhook-signature": signature([OTHER_KEY, KEY], EVENT.idempotency_key, now, body.encode()),
    }
    arguments = json.dumps([body, headers])
    script = _snippet("javascript") + (
        f"\nconst [body, headers] = {arguments};"
        f"\nconsole.log(isFromDeadpan(Buffer.from(body), headers, '{SECRET}'),"
        f" isFromDeadpan(Buffer.from(body + ' '), headers, '{SECRET}'));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "true false\n", done.stderr

"""Two moderators in two browsers, on the same flags, as fast as their pages load."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from playwright.sync_api import Page, Response
from sqlalchemy import func, select

from storage import tables
from storage.base.database import transaction
from storage.flags import worklist
from storage.flags.worklist import Filter
from tests.browser.conftest import People
from tests.console_data import flag
from tests.console_server import ConsoleServer

#: Works by keys alone. Every sixth time it opens the first flag of the list, as the other one does
#: at about the same moment, and decides it without a claim; else it takes what "next" gives.
_WORK = """
addEventListener('DOMContentLoaded', () => {
  if (location.search.includes('empty=1') || !document.querySelector('main')) return;
  const press = (key) => document.body.dispatchEvent(
    new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
  const first = document.querySelector('[data-row] [data-open]');
  const turn = Number(sessionStorage.turn || 0) + 1;
  sessionStorage.turn = turn;
  if (location.pathname === '/' && first && turn > 2) location.assign(first.href);
  else if (turn % 6 === 0 && location.pathname !== '/') press('q');
  else press(document.querySelector('#decide [data-key="a"]') ? 'a' : 'n');
});
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_browsers_that_race_for_the_same_flags_decide_each_once(
    people: People, console: ConsoleServer, pytestconfig: pytest.Config
) -> None:
    with transaction(console.database, read_only=True) as connection:
        there = len(worklist.page(connection, Filter(), limit=500))
    number = pytestconfig.getoption("--race-flags")
    for each in range(number - there):
        flag(console.database, f"race{each}")
    answered: Counter[int] = Counter()

    def note(response: Response) -> None:
        if response.request.method == "POST" and response.url.endswith("/decide"):
            answered[response.status] += 1

    racers: list[Page] = []
    for name in ("ann", "bob"):
        page = people.page(name)
        page.on("response", note)
        page.add_init_script(_WORK)
        racers.append(page)
    for page in racers:
        page.goto("/", wait_until="commit")
    for page in racers:
        page.wait_for_url(re.compile("empty=1"), timeout=1_700_000)
    with transaction(console.database, read_only=True) as connection:
        rows, decided = connection.execute(
            select(func.count(), func.count(tables.decisions.c.flag_id.distinct()))
        ).one()
        states = Counter(connection.scalars(select(tables.flags.c.state)))
        by = Counter(
            connection.scalars(
                select(tables.moderators.c.name).join(
                    tables.decisions, tables.decisions.c.moderator_id == tables.moderators.c.id
                )
            )
        )
    print(f"{number} flags: {dict(by)}, answers to decisions {dict(answered)}")
    assert rows == decided == number, "one decision a flag"
    assert states == {"decided": number}, "none is lost"
    assert answered[303] == number, "each browser was told of its decisions, and of no other"
    assert set(answered) <= {303, 409}, "who was beaten was told so"
    assert set(by) == {"ann", "bob"}

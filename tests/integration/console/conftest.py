"""Pages are tested on one database; what is stored, in `tests/integration/storage`, on both.

Modules whose pages differ in SQL say `database_url = postgres.database_url`.
"""

from __future__ import annotations

import pytest

from tests.postgres import new_database

database_url = pytest.fixture(params=["sqlite"])(new_database)

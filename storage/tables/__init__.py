"""The tables; `docs/tables.md` says what each column means.

Each follows from a class whose fields are its columns; rows that are read as a whole are read as
objects of that class. A change here needs a migration in `storage/migrations/versions/`; a test
compares the two.
"""

from storage.base.columns import metadata as metadata
from storage.tables.people import *  # noqa: F403 - read as `tables.NAME` everywhere
from storage.tables.posts import *  # noqa: F403
from storage.tables.upkeep import *  # noqa: F403
from storage.tables.work import *  # noqa: F403

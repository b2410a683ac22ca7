"""Comments, who is asked to look at a flag, and views with the people they belong to. New tables
only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the tables."""
    op.create_table(
        "comments",
        sa.Column("id", _ID, nullable=False),
        sa.Column("flag_id", _ID, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_comments"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_comments_flag_id"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_comments_moderator_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_comments_flag_id_id", "comments", ["flag_id", "id"])
    op.create_table(
        "summonses",
        sa.Column("id", _ID, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("flag_id", _ID, nullable=False),
        sa.Column("why", sa.String(16), nullable=False),
        sa.Column("asked_by", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_summonses"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_summonses_moderator_id"
        ),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_summonses_flag_id"),
        sa.CheckConstraint("why IN ('mention', 'hand-over')", name="why_is_known"),
        sqlite_autoincrement=True,
    )
    unseen = sa.text("seen_at IS NULL")
    op.create_index(
        "uq_summonses_unseen",
        "summonses",
        ["moderator_id", "flag_id", "why"],
        unique=True,
        sqlite_where=unseen,
        postgresql_where=unseen,
    )
    op.create_index("ix_summonses_flag_id", "summonses", ["flag_id"])
    op.create_table(
        "views",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_views"),
        sa.ForeignKeyConstraint(["owner_id"], ["moderators.id"], name="fk_views_owner_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_views_owner_id_name", "views", ["owner_id", "name"])
    op.create_table(
        "view_people",
        sa.Column("view_id", _ID, nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("view_id", "moderator_id", name="pk_view_people"),
        sa.ForeignKeyConstraint(["view_id"], ["views.id"], name="fk_view_people_view_id"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_view_people_moderator_id"
        ),
    )
    op.create_index("ix_view_people_moderator_id", "view_people", ["moderator_id"])


def downgrade() -> None:
    """Removes them."""
    for table in ("view_people", "views", "summonses", "comments"):
        op.drop_table(table)

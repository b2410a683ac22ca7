"""Identities that OpenID providers give. A new table only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "identities",
        sa.Column("id", _ID, nullable=False),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("moderator_id", _ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
        sa.ForeignKeyConstraint(
            ["moderator_id"], ["moderators.id"], name="fk_identities_moderator_id"
        ),
        sa.UniqueConstraint("issuer", "subject", name="uq_identities_issuer_subject"),
        sa.UniqueConstraint("moderator_id", "issuer", name="uq_identities_moderator_id_issuer"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Removes it: those who sign in by a provider are met by their e-mail address again."""
    op.drop_table("identities")

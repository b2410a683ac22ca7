"""Where posts and their pictures come from."""

from __future__ import annotations

from pydantic import Field, SecretStr

from deadpan.core.settings.kinds import Group, Networks, Words


class Source(Group):
    """The post source, and the limits on pictures."""

    source: str = ""
    """Where posts come from: http(s)://…{ids}…, http(s)://…{id}…, file:PATH.jsonl or database.
    Workers need it."""
    source_token: SecretStr | None = None
    """Bearer token for an HTTP post source; sent to no other host."""
    source_fields: Words = ()
    """Where an HTTP source keeps fields under other names, e.g.
    posts=data.items,text=body,images=media.*.url"""
    source_database_url: SecretStr | None = None
    """The platform's database, for the source `database`."""
    source_query: str = ""
    """A query with :ids that returns id, text, images (JSON), author, created_at, language, parent
    and url."""
    fetch_timeout_seconds: float = Field(10.0, gt=0, le=600.0)
    """Longest wait for one response from the source or an image host."""
    max_image_bytes: int = Field(10 * 2**20, ge=1024)
    """Larger image files are skipped."""
    max_image_pixels: int = Field(50_000_000, ge=1024)
    """Images with more pixels are skipped."""
    max_images: int = Field(10, ge=0, le=100)
    """Images looked at in one post, at most."""
    image_hosts: Words = ()
    """The only hosts that images may come from, e.g. cdn.example.org,*.example.net; empty allows
    every public host."""
    allow_private_addresses: Networks = ()
    """Private networks that images may come from and callbacks may go to, e.g. 10.1.0.0/16; empty
    allows none."""

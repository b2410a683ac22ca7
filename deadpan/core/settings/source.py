"""Where posts and their pictures come from."""

from __future__ import annotations

from pydantic import Field, SecretStr

from deadpan.core.settings.kinds import Group, Networks, Words


class Source(Group):
    """The post source, and the limits on pictures."""

    source: str = Field(
        "",
        description="Where posts come from: http(s)://…{ids}…, http(s)://…{id}…, "
        "file:PATH.jsonl or database. Workers need it.",
    )
    source_token: SecretStr | None = Field(
        None, description="Bearer token for an HTTP post source; sent to no other host."
    )
    source_fields: Words = Field(
        (),
        description="Where an HTTP source keeps fields under other names, e.g. "
        "posts=data.items,text=body,images=media.*.url",
    )
    source_database_url: SecretStr | None = Field(
        None, description="The platform's database, for the source `database`."
    )
    source_query: str = Field(
        "",
        description="A query with :ids that returns id, text, images (JSON), author, created_at "
        "and language.",
    )
    fetch_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=600.0,
        description="Longest wait for one response from the source or an image host.",
    )
    max_image_bytes: int = Field(10 * 2**20, ge=1024, description="Larger image files are skipped.")
    max_image_pixels: int = Field(
        50_000_000, ge=1024, description="Images with more pixels are skipped."
    )
    max_images: int = Field(10, ge=0, le=100, description="Images looked at in one post, at most.")
    image_hosts: Words = Field(
        (),
        description="The only hosts that images may come from, e.g. "
        "cdn.example.org,*.example.net; empty allows every public host.",
    )
    allow_private_addresses: Networks = Field(
        (),
        description="Private networks that images may come from and callbacks may go to, "
        "e.g. 10.1.0.0/16; empty allows none.",
    )

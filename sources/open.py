"""From a setting to a post source."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from deadpan.core.errors import SettingsError
from deadpan.core.people_files import encoding_problem
from sources.mapping import PostMapping
from sources.net.throttle import Throttle
from sources.pictures.allowed import ImageLimits
from sources.source import Look, PicturedSource

_FORMS = "use http(s)://… with {ids} or {id} where the post ids go, file:PATH.jsonl, or database"


def check_source_spec(
    spec: str,
    *,
    token: str | None = None,
    database_url: str | None = None,
    database_query: str | None = None,
) -> list[str]:
    """What is wrong with the settings of a post source, without asking it anything.

    Returns:
        One sentence for each problem; none if `open_source` may be tried.
    """
    if spec == "database":
        from sources.database import database_problems

        return database_problems(database_url, database_query)
    if spec.startswith("file:"):
        return _file_problems(spec.removeprefix("file:"))
    if spec.lower().startswith(("http://", "https://")):
        return _url_problems(spec, token)
    if not spec:
        return [f"DEADPAN_SOURCE is not set; {_FORMS}"]
    return [f"DEADPAN_SOURCE is '{spec}', which is not a post source; {_FORMS}"]


def _file_problems(path: str) -> list[str]:
    if not Path(path).is_file():
        return [f"DEADPAN_SOURCE: there is no file '{path}'; name a JSONL file of posts"]
    try:
        with open(path, "rb") as file:
            problem = encoding_problem(file.read(4))
    except OSError as error:
        return [f"DEADPAN_SOURCE: the file '{path}' cannot be read: {error.strerror}"]
    return [] if problem is None else [f"DEADPAN_SOURCE: the file '{path}' {problem}"]


def _url_problems(spec: str, token: str | None) -> list[str]:
    # A password in the URL is not shown.
    shown = spec.replace(spec.split("//", 1)[1].rpartition("@")[0] + "@", "…@", 1)
    problems = []
    places = spec.count("{ids}") + spec.count("{id}")
    if places != 1:
        problems.append(
            f"DEADPAN_SOURCE '{shown}' holds {places} of {{ids}} and {{id}}, not one; {_FORMS}"
        )
    try:
        parts = urlsplit(spec)
        if not parts.hostname or parts.port == 0:
            raise ValueError("it names no host")
        if "{" in parts.netloc or "{id" in parts.fragment:
            problems.append(
                f"DEADPAN_SOURCE '{shown}' has the post ids in its host or after '#'; "
                "put {ids} or {id} into its path or query"
            )
        if token and "@" in parts.netloc:
            problems.append(
                f"DEADPAN_SOURCE '{shown}' holds a user name, and DEADPAN_SOURCE_TOKEN is set; "
                "use one of them"
            )
    except ValueError as error:
        problems.append(f"DEADPAN_SOURCE '{shown}' is not a valid URL ({error}); {_FORMS}")
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        problems.append(
            "DEADPAN_SOURCE_TOKEN is empty or holds characters that a header cannot carry"
        )
    return problems


def open_source(
    spec: str,
    *,
    token: str | None = None,
    timeout_seconds: float = 10.0,
    limits: ImageLimits = ImageLimits(),  # noqa: B008 - frozen
    mapping: PostMapping = PostMapping(),  # noqa: B008 - frozen
    ids_per_request: int = 64,
    threads: int = 8,
    database_url: str | None = None,
    database_query: str | None = None,
    look: Look | None = None,
    throttle: Throttle | None = None,
) -> PicturedSource:
    """Open the post source that a setting names. Close it when done.

    Args:
        spec: `http(s)://…{ids}…` (many ids, comma-separated), `http(s)://…{id}…` (one each),
            `file:PATH.jsonl`, or `database`.
        timeout_seconds: for one request or query, as a whole.
        mapping: where an HTTP source or a file keeps a post's fields.
        threads: requests at once, and images at once, over all fetches of this source.
        database_query: see `sources.database`.
        throttle: of an HTTP source.

    Raises:
        SettingsError: with all that is wrong.
    """
    problems = check_source_spec(
        spec, token=token, database_url=database_url, database_query=database_query
    )
    if problems:
        raise SettingsError(problems)
    if spec == "database":
        from sources.database import DatabaseSource

        assert database_url is not None
        assert database_query is not None
        return DatabaseSource(
            database_url,
            database_query,
            timeout_seconds=timeout_seconds,
            limits=limits,
            ids_per_request=ids_per_request,
            threads=threads,
            look=look,
        )
    if spec.startswith("file:"):
        from sources.files import FileSource

        return FileSource(
            spec.removeprefix("file:"), limits=limits, mapping=mapping, threads=threads, look=look
        )
    from sources.http import HttpSource

    return HttpSource(
        spec,
        token=token,
        timeout_seconds=timeout_seconds,
        limits=limits,
        mapping=mapping,
        ids_per_request=ids_per_request,
        threads=threads,
        look=look,
        throttle=throttle,
    )

"""Working together, through the JSON API: comments on flags, and views with whose work they are."""

from __future__ import annotations

from fastapi import Request
from sqlalchemy import Connection

from console.api import shapes
from console.api.parts import Writing, new_router
from console.web.fields import RowId
from console.web.filters import asked_of
from console.web.state import console_of, visitor_of
from console.work import blind
from storage.base.database import transaction
from storage.flags import comments, views, worklist

router = new_router()


@router.get("/api/v1/flags/{flag_id}/comments")
def comment_list(request: Request, flag_id: RowId) -> shapes.Comments:
    """List what people said to each other about a flag, oldest first."""
    blind.refuse_hidden(request, flag_id)
    with transaction(console_of(request).database, read_only=True) as connection:
        worklist.one(connection, flag_id)
        found = comments.of_flag(connection, flag_id)
    return shapes.Comments(comments=[shapes.Comment.model_validate(each) for each in found])


@router.post("/api/v1/flags/{flag_id}/comments", status_code=201)
def comment(request: Request, flag_id: RowId, wanted: shapes.Say, write: Writing) -> shapes.Comment:
    """Say something to others about a flag."""
    blind.refuse_hidden(request, flag_id)

    def work(connection: Connection) -> shapes.Comment:
        return shapes.Comment.model_validate(
            comments.add(connection, flag_id, write.me, wanted.text)
        )

    return write(shapes.Comment, work, wanted)


@router.get("/api/v1/views")
def view_list(request: Request) -> shapes.Views:
    """List shared views and those of the token's moderator."""
    with transaction(console_of(request).database, read_only=True) as connection:
        found = views.seen_by(connection, visitor_of(request).moderator)
    return shapes.Views(views=[shapes.View.model_validate(each) for each in found])


@router.post("/api/v1/views", status_code=201)
def save_view(wanted: shapes.SaveView, write: Writing) -> shapes.View:
    """Save filters under a name; only leads share."""
    asked = asked_of(wanted.queue, wanted.filters)

    def work(connection: Connection) -> shapes.View:
        saved = views.save(
            connection,
            write.me,
            wanted.name,
            queue=asked.queue,
            filters=asked.filters,
            shared=wanted.shared,
        )
        return shapes.View.model_validate(saved)

    return write(shapes.View, work, wanted)


@router.delete("/api/v1/views/{view_id}")
def delete_view(view_id: RowId, write: Writing) -> shapes.Deleted:
    """Delete a view."""

    def work(connection: Connection) -> shapes.Deleted:
        views.remove(connection, write.me, view_id)
        return shapes.Deleted(id=view_id)

    return write(shapes.Deleted, work)


@router.post("/api/v1/views/{view_id}/people")
def assign_view(view_id: RowId, wanted: shapes.People, write: Writing) -> shapes.View:
    """Make a shared view the work of these people, and of nobody else."""

    def work(connection: Connection) -> shapes.View:
        return shapes.View.model_validate(
            views.assign(connection, write.me, view_id, wanted.people)
        )

    return write(shapes.View, work, wanted)

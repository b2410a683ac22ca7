"""What a flag's page and a second look's have in common: the form, its time, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Form, Request

from console.web import reasons
from console.web.fields import Note, Short
from console.web.state import console_of, visitor_of
from storage.flags.decisions import Said
from storage.flags.worklist import Flag
from storage.people import exposures
from tasks.policy.reason_codes import ReasonCodes

_YES_OR_NO: Final = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class DecisionForm:
    """What a moderator chose and typed; it is shown again when it cannot be written.

    Attributes:
        sarcastic, offensive: "yes", "no", or empty.
    """

    action: Annotated[str, Form(max_length=16)]
    reason_code: Short = ""
    note: Note = ""
    sentiment: Annotated[str, Form(max_length=16)] = ""
    sarcastic: Annotated[str, Form(max_length=3)] = ""
    offensive: Annotated[str, Form(max_length=3)] = ""

    def said(self, codes: ReasonCodes, *, seen_verdict_id: int | None = None) -> Said:
        """The same as it is written down.

        Args:
            codes: the reasons that the policy has.
            seen_verdict_id: the verdict that the page showed.

        Raises:
            ConfigurationError: something in it cannot be written.
        """
        return Said(
            action=self.action,  # type: ignore[arg-type]  # checked by Said
            reason_code=reasons.chosen(codes, self.action, self.reason_code),
            note=self.note or None,
            sentiment=self.sentiment or None,
            sarcastic=_YES_OR_NO.get(self.sarcastic),
            offensive=_YES_OR_NO.get(self.offensive),
            seen_verdict_id=seen_verdict_id,
        )

    @property
    def kept_note(self) -> str:
        """The note as the end of an error, where no form is shown again; empty without one."""
        return f"; your note: {self.note}" if self.note else ""


Decided = Annotated[DecisionForm, Depends()]
"""The form as a route takes it."""


def seconds_left(until: datetime | None, now: datetime) -> int:
    """Whole seconds of a claim that are left; 0 when it is over or there is none."""
    return max(0, int((until - now).total_seconds())) if until else 0


def note_negative(request: Request, flag: Flag) -> None:
    """Count a negative post among what its reader was exposed to; what is shown blind always
    counts, for the count would tell what the model said.
    """
    if flag.blind or flag.verdict.negative >= exposures.NEGATIVE:
        me = visitor_of(request).moderator
        exposures.note(console_of(request).database, me, "negative", f"flag {flag.id}")

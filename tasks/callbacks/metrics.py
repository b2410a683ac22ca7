"""Prometheus metrics of housekeeping; apart from the workers', which have nothing to say of it."""

from prometheus_client import Counter, Gauge

CALLBACKS = Counter("deadpan_callbacks", "Tries of callbacks by what became of them.", ["outcome"])
PENDING = Gauge("deadpan_callbacks_pending", "Callbacks that are still to be delivered.")
PARKED = Gauge("deadpan_callbacks_parked", "Callbacks that are tried no more.")
OLDEST_AGE_SECONDS = Gauge(
    "deadpan_callbacks_oldest_age_seconds", "Age of the oldest callback that is not delivered."
)
LEADS = Gauge("deadpan_housekeeping_leads", "1 while this process leads in housekeeping.")
READY = Gauge("deadpan_housekeeping_ready", "1 while this process can do its job.")
FLAGS_OPEN = Gauge("deadpan_flags_open", "Flags that wait for a moderator.", ["queue"])
FLAGS_OVERDUE = Gauge(
    "deadpan_flags_overdue", "Flags that wait past the time that the policy promises.", ["queue"]
)
EXPLANATIONS_PENDING = Gauge(
    "deadpan_explanations_pending",
    "Flags of which is still to be found out what moved their score.",
)
EXPLANATIONS_OLDEST_AGE_SECONDS = Gauge(
    "deadpan_explanations_oldest_age_seconds",
    "Age of the oldest flag that is still to be explained.",
)
EXPIRED_CLAIMS = Counter("deadpan_expired_claims", "Claims that expired.")
NOTICES = Counter("deadpan_notices", "Tries of notifications by what became of them.", ["outcome"])

# A rate sees no first one of a series that was not there before: without this the first callback
# that is parked would be missed.
for _outcome in ("delivered", "failed", "parked"):
    CALLBACKS.labels(_outcome)
for _outcome in ("sent", "failed", "given_up"):
    NOTICES.labels(_outcome)

"""Prometheus metrics of a challenger; an interface, as those of `tasks.watches.metrics` are."""

from prometheus_client import Counter, Gauge, Info

POSTS = Counter(
    "deadpan_challenger_posts", "Posts of the challenger's share, by what it did.", ["outcome"]
)
DISAGREEMENTS = Counter(
    "deadpan_challenger_disagreements",
    "Posts on which challenger and champion disagree, by what they disagree on.",
    ["on"],
)
SECONDS = Counter("deadpan_challenger_seconds", "Time that the challenger was at work.")
READY = Gauge("deadpan_challenger_ready", "1 while a challenger judges beside the champion.")
INFO = Info("deadpan_challenger", "The model that judges beside this worker's own.")

# A rate sees no first one of a series that was not there before.
for _outcome in ("judged", "skipped", "failed"):
    POSTS.labels(_outcome)
for _on in ("sentiment", "sarcasm", "offensive", "hateful", "flag_added", "flag_removed"):
    DISAGREEMENTS.labels(_on)

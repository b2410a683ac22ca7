"""Prometheus metrics of the work. Their names are an interface: note a change in CHANGELOG.md."""

from prometheus_client import Counter, Gauge, Histogram, Info, Summary

POSTS = Counter("deadpan_posts", "Posts by what became of them.", ["outcome"])
REVISITS = Counter(
    "deadpan_revisits",
    "Judged posts that were looked at again for missing pictures, by what came of it.",
    ["outcome"],
)
AWAITING_PICTURES = Gauge(
    "deadpan_posts_awaiting_pictures",
    "Posts that wait for pictures from slow hosts, outside the slots.",
)
CLOSED_IMAGE_HOSTS = Gauge(
    "deadpan_image_hosts_closed", "Image hosts that are left alone for now, because they hang."
)
REPEATED_POSTS = Counter(
    "deadpan_repeated_posts", "Posts with the content of another post, whose prediction was reused."
)
FLAGGED_POSTS = Counter("deadpan_flagged_posts", "Judged posts that a rule of the policy flagged.")
UNLEARNT_POSTS = Counter(
    "deadpan_unlearnt_posts", "Judged posts in a language that the model never learnt."
)
SCORES = Summary("deadpan_score", "Scores of judged posts: sums and counts, for means.", ["score"])
CHUNK_POSTS = Histogram(
    "deadpan_chunk_posts",
    "Posts in a chunk.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
POST_SECONDS = Histogram(
    "deadpan_post_seconds",
    "Time from the push of a post id until its outcome was recorded, to about a second.",
    buckets=(0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 4 * 3600, 24 * 3600),
)
STAGE_SECONDS = Histogram(
    "deadpan_stage_seconds",
    "Time that one chunk spent in a stage; in explain, one flag.",
    ["stage"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EXPLANATIONS = Counter(
    "deadpan_explanations", "Flags of which was found out what moved their score.", ["outcome"]
)
SOURCE_DOWN = Gauge(
    "deadpan_source_down",
    "1 while the post source answers nothing: posts wait without using up tries.",
)
UNREAD_FIELDS = Counter(
    "deadpan_unread_fields",
    "Fields of posts that are not where the settings say, or that cannot be read.",
    ["field", "why"],
)
SOURCE_PAUSES = Counter("deadpan_source_pauses", "How often the post source asked for a pause.")
SOURCE_PAUSED = Gauge("deadpan_source_paused", "1 during a pause that the post source asked for.")
SOURCE_SILENT = Gauge(
    "deadpan_source_silent_seconds",
    "For how long the post source has failed or refused without an answer; 0 when it answers.",
)
SOURCE_AT_ONCE = Gauge(
    "deadpan_source_requests_at_once", "Requests that the post source may get at the same time."
)
SOURCE_PER_SECOND = Gauge(
    "deadpan_source_requests_per_second",
    "Requests that the post source may get per second; +Inf without a limit.",
)
WORKER_READY = Gauge("deadpan_worker_ready", "1 while the worker can do its job.")
MODEL_INFO = Info("deadpan_model", "The model that this worker keeps warm.")

# A rate sees no first one of a series that was not there before.
for _outcome in ("judged", "unchanged", "gone", "dead_letter", "retry", "untried"):
    POSTS.labels(_outcome)
for _outcome in ("explained", "failed"):
    EXPLANATIONS.labels(_outcome)
for _outcome in ("came", "nothing"):
    REVISITS.labels(_outcome)

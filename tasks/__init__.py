"""What is done with posts: intake, the moderate task, policy and its bookkeeping.

`from tasks import enqueue` is all that a Python producer needs; it loads neither torch nor Celery.
"""

from tasks.intake.producer import enqueue

__all__ = ["enqueue"]

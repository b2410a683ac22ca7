"""The process: the Celery app, the dispatcher, the warm model, health and embedded services.

`celery -A worker worker` finds the app here.
"""

from worker.app import app

__all__ = ["app"]

"""The demo: sample posts, and a sample platform that serves them over HTTP."""

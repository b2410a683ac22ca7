"""Workers that follow the load, simulated: `python -m benchmarks.autoscaling`."""

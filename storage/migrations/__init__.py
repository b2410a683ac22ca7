"""Migrations: one file a step, run by `storage.schema.migrate` and by nothing else."""

"""Migrations: one file a step, run by `storage.migrations.schema.migrate` and by nothing else."""

"""What Deadpan writes down: tables, migrations, and the queries that have a name.

`storage.base.database` opens the database, `storage.migrations.schema` brings it to this version,
`storage.judging.outcomes` writes what became of a chunk, `storage.judging.queries` reads, and
`storage.judging.evidence` keeps what the model saw. Nothing here knows settings, torch or Celery.
"""

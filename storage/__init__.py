"""What Deadpan writes down: tables, migrations, and the queries that have a name.

`storage.database` opens the database, `storage.schema` brings it to this version,
`storage.outcomes` writes what became of a chunk, `storage.queries` reads, and `storage.evidence`
keeps what the model saw. Nothing here knows settings, torch or Celery.
"""

"""Programs that the rows run as processes of their own."""

"""What moderators see, and the JSON API. Knows storage and the intake; never models or torch."""

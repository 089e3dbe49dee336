"""Who looks on: statistics of statements, the slow log, events, metrics and spans."""

"""The doors of older designs; each translates names, and has no queue, wait or retry of its own."""

"""The doors of older designs; each translates names and owns no queue, no wait, no retry."""

"""Six small programs as people write them, each with the verbs that make it short. Run them in ``examples/``."""

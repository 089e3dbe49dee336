"""What is known after an error, and what may be done about it.

Knows error numbers, phases and verdicts. Does not know connections, pools or how to wait.
"""

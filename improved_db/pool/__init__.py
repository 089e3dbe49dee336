"""The pool: it lends the connections of any driver, first come first served.

Knows slots, waiters, sizes and times. Does not know SQL, retries or any driver.
"""

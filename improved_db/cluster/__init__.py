"""Several servers behind the verbs of one pool; imported only where there are several.

Knows several pools, their servers' roles and which one is asked. Does not know SQL's meaning or bytes.
"""

"""The options of `ImprovedDb`: how they are checked, and which source wins.

Knows option names, URLs, option files and the environment. Does not know pools, drivers or servers.
"""

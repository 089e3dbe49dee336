"""The page: what one pool, or all processes of a program, do now and did in the last hour, in a browser.

Knows HTTP's words and the page's data. Does not know how anything is counted.
"""

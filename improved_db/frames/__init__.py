"""Columns in place of rows: Arrow tables and frames out, and frames in as rows; libraries are imported on first use.

Knows Arrow, numpy, pandas and polars. Does not know connections, retries or transactions.
"""

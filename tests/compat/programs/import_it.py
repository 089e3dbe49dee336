"""Import the package, and tell what that has changed."""

import importlib
import json
import logging
import sys
import warnings

import pymysql


class OwnWarning(pymysql.err.Warning):
    """What a program may want to tell its user."""


filters = list(warnings.filters)
module = importlib.import_module(sys.argv[1])
try:
    warnings.warn("just so", OwnWarning, stacklevel=1)
except OwnWarning:
    raised = True
else:
    raised = False
handlers = len(logging.getLogger().handlers) + len(module.logger.handlers)
json.dump({"handlers": handlers, "filters": len(warnings.filters) - len(filters), "raised": raised}, sys.stdout)

"""``python -m improved_db``: the command ``improved-db`` where its script is not on the path.

Knows that there is a command line. Does not know its commands.
"""

from improved_db.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

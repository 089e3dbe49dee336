"""How a private Galera node gets its data: another node of this machine copies its files into the new node's folder.

Galera starts a program by its name on ``PATH`` for this, on both sides. The one here needs neither rsync nor a port,
and it is there where only the server and the Galera library are installed.

Knows what Galera says to such a program, and what it expects. Does not know when it starts one.
"""

from __future__ import annotations

import os
import weakref

from improved_db.testing.claim import Claim
from improved_db.testing.server import temporary_folder

#: The value of ``wsrep_sst_method``; the program is called ``wsrep_sst_`` and this.
METHOD = "improved_db"

# What belongs to one node, and not to its data: the log of writes to send, and what it knows of the group.
_OWN = r"! -name galera.cache ! -name grastate.dat ! -name gvwstate.dat ! -name tables_flushed ! -name '*.pid'"

# The donor's server stands still while its files are copied, because some of its threads write whatever the program
# asks; the copy is then what a crash would leave, and the new node recovers from it.
_PROGRAM = f"""\
#!/bin/sh
set -eu
role= address= datadir= parent= gtid= bypass=
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2; shift ;;
        --address) address=$2; shift ;;
        --datadir) datadir=${{2%/}}; shift ;;
        --parent) parent=$2; shift ;;
        --gtid) gtid=$2; shift ;;
        --bypass) bypass=1 ;;
        --mysqld-args) break ;;
    esac
    shift
done
if [ "$role" = joiner ]; then
    rm -f "$datadir/../transferred"
    echo "ready $datadir"
    while [ ! -f "$datadir/../transferred" ]; do
        kill -0 "$parent"
        sleep 0.02
    done
    cat "$datadir/../transferred"
    exit
fi
if [ -z "$bypass" ]; then
    rm -f "$datadir/tables_flushed"
    echo "flush tables"
    until grep -q : "$datadir/tables_flushed" 2>/dev/null; do
        sleep 0.02
    done
    find "$address" -mindepth 1 -maxdepth 1 {_OWN} -exec rm -rf {{}} +
    trap 'kill -CONT $PPID' EXIT
    kill -STOP $PPID
    cd "$datadir"
    find . -mindepth 1 -maxdepth 1 {_OWN} -exec cp -R {{}} "$address" \\;
    kill -CONT $PPID
    rm -f tables_flushed
    echo continue
fi
echo "$gtid" > "$address/../transferring"
mv "$address/../transferring" "$address/../transferred"
echo "done $gtid"
"""


class Transfer:
    """The program in a private folder, which is removed with this object."""

    def __init__(self) -> None:
        """Write the program."""
        claim = Claim(temporary_folder())
        self._finalizer = weakref.finalize(self, _release, claim, os.getpid())
        program = claim.path / f"wsrep_sst_{METHOD}"
        program.write_text(_PROGRAM, encoding="utf-8")
        program.chmod(0o700)
        self.environment: dict[str, str] = {"PATH": os.pathsep.join([str(claim.path), *os.get_exec_path()])}

    def close(self) -> None:
        """Remove the folder; in a forked child, do nothing."""
        self._finalizer()


def _release(claim: Claim, owner: int) -> None:
    if os.getpid() == owner:
        claim.release()

"""Sets of transactions, in both dialects."""

from __future__ import annotations

import random

import pytest

from improved_db.cluster.gtid import GtidSet, history, transactions

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "99999999-71ca-11e1-9e33-c80aa9429562"


def mariadb(text: str) -> GtidSet:
    """Read a position."""
    return history(text, "mariadb")


def mysql(text: str) -> GtidSet:
    """Read a set."""
    return history(text, "mysql")


def test_what_servers_write_is_read_and_written_back_alike() -> None:
    """Texts with newlines, tags, several domains and nothing at all are what servers really say."""
    texts = {
        "0-1-930": mariadb("0-1-930"),
        "0-1-927,0-2-932": mariadb(" 0-1-927, 0-2-932"),
        "0-1-5,7-3-9": mariadb("0-1-5,7-3-9"),
        "": mariadb(""),
        f"{A}:1-5": mysql(f"{A.upper()}:1-5"),
        f"{A}:1-5:7,{B}:3": mysql(f"{A}:1-5:7,\n{B}:3"),
        f"{A}:1-5,{A}:red:1-2:9,{A}:blue:4": mysql(f"{A}:1-5:red:1-2:9:blue:4"),
        f"{A}:1-9": mysql(f"{A}:4-9:1-3"),
    }
    assert {text: str(read) for text, read in texts.items()} == {text: text for text in texts}
    assert not mysql(" \n")


@pytest.mark.parametrize("text", ["1-2", "0-1-x", f"{A}:1-5", "0-1-5;0-2-6"])
def test_what_is_not_mariadbs_is_refused(text: str) -> None:
    """A position of another server must not be taken for an empty one: an empty one has no transaction to lose."""
    with pytest.raises(ValueError, match="domain-server-sequence"):
        mariadb(text)


@pytest.mark.parametrize("text", ["0-1-5", A, f"{A}:", f"{A}:5-x", "zz:1-5", f"{A}:1-5:Red!:3"])
def test_what_is_not_mysqls_is_refused(text: str) -> None:
    """As for MariaDB."""
    with pytest.raises(ValueError, match="uuid:ranges"):
        mysql(text)


def test_a_promoted_replica_lacks_what_it_had_not_received() -> None:
    """The audit of a failover is this difference: 928 to 930 were acknowledged, and the new primary never got them."""
    old, new = mariadb("0-1-930"), mariadb("0-1-927,0-2-932")
    assert str(new.missing(old)) == "0-1-928..930"
    assert str(old.missing(new)) == "0-2-932"
    assert str(new.missing(transactions("0-1-927,0-1-929", "mariadb"))) == "0-1-929"
    assert new.contains(transactions("0-2-931", "mariadb"))
    assert new.written_by("2") == mariadb("0-2-932")
    assert new.newest() == {"0": ("2", 932)}
    assert str(mysql(f"{A}:1-5:7,{B}:1-3").minus(mysql(f"{A}:2-3:7-9"))) == f"{A}:1:4-5,{B}:1-3"
    assert mysql(f"{A}:1-5:red:1,{B}:3").written_by(A) == mysql(f"{A}:1-5:red:1")


def test_ranges_are_sets_of_numbers() -> None:
    """Differences and unions of ranges have off-by-one errors at both ends; sets of numbers have none."""
    dice = random.Random(7)

    def some() -> tuple[GtidSet, set[int]]:
        picked = {number for number in range(1, 25) if dice.random() < 0.5}
        words = ":".join(map(str, dice.sample(sorted(picked), len(picked))))
        return mysql(f"{A}:{words}" if words else ""), picked

    def numbers(read: GtidSet) -> set[int]:
        return {number for first, last in read.parts.get(A, ()) for number in range(first, last + 1)}

    for _ in range(500):
        (left, these), (right, those) = some(), some()
        assert numbers(left) == these
        assert numbers(left.minus(right)) == these - those
        assert numbers(left.union(right)) == these | those
        assert left.contains(right) is (these >= those)
        assert left.size == len(these)
        assert mysql(str(left)) == left

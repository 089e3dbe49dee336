"""What one SQL text tells: whether it only reads, loads a file or ends a transaction, its form in logs, its time limit.

Most answers are needed after a failure, so they are conservative rather than clever. If a text is not clear (`tokens`),
no answer allows anything.

Knows what statements mean. Does not know connections, arguments, or what an answer is used for.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from typing import TYPE_CHECKING, Final, TypeVar

from improved_db.sql.server import Flavour
from improved_db.sql.tokens import Token, clear_tokens, first_words, tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_CACHED_TEXTS: Final = 1024
_LONG: Final = 10_000  # characters; a longer text has its values in it and will not be seen again
_DIGEST_LENGTH: Final = 120
_LONGEST_LIMIT: Final = 31_536_000.0  # seconds; MariaDB takes no more


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: What may come before the first word of a statement, executable comments included, and the first word of LOAD DATA.
_LOAD: Final = rb"(?is)(?:\s|/\*!\d*|/\*[^!].*?\*/|--[^\n]*\n|#[^\n]*\n)*load\s"

_NOTHING: Final = Token("", "", "", gap=False, start=0, end=0)

_QUERIES: Final = frozenset({"SELECT", "WITH", "TABLE", "VALUES"})
_EXPLAINS: Final = frozenset({"EXPLAIN", "DESCRIBE", "DESC"})
#: What SHOW may show. Warnings, errors, profiles and unscoped STATUS and VARIABLES belong to the session.
_SHOWN: Final = _words(
    """
    BINARY CHARACTER CHARSET COLLATION COLUMNS CREATE DATABASES ENGINE ENGINES EVENTS EXTENDED FIELDS FULL FUNCTION
    INDEX INDEXES KEYS MASTER OPEN PLUGINS PROCESSLIST REPLICA SCHEMAS SLAVE STORAGE TABLE TABLES TRIGGERS
    """
)
#: Anywhere in a text, these make it more than a read, or a read of the session's own state. After WITH only UPDATE and
#: DELETE can follow besides a query; INSERT and REPLACE come before WITH.
_DENIED: Final = _words(
    """
    @ := ; INTO UPDATE DELETE LOCK ANALYZE SQL_CALC_FOUND_ROWS CURRENT_ROLE NEXTVAL CURRVAL
    """
)
_DENIED_PAIRS: Final = frozenset({("FOR", "SHARE"), ("NEXT", "VALUE"), ("PREVIOUS", "VALUE")})

#: Reserved by every server (ROW: at least a keyword), so that an unquoted one is no stored function's name.
_RESERVED: Final = _words(
    """
    ALL AND AS BETWEEN BINARY BY CASE CHAR CONVERT DATABASE DECIMAL DEFAULT DISTINCT DISTINCTROW DIV ELSE EXISTS FORCE
    FROM HAVING IF IN INDEX INTERVAL JOIN KEY LEFT LIKE MATCH MOD NOT ON OR PARTITION REGEXP REPEAT REPLACE RIGHT RLIKE
    ROW SCHEMA SELECT STRAIGHT_JOIN THEN UNION USING UTC_DATE UTC_TIME UTC_TIMESTAMP VALUES WHEN WHERE XOR
    """
)
#: Built into MySQL from 5.7 and MariaDB from 10.5 on, without effects, and independent of the session. A name that is
#: built into some of them only, or for some numbers of arguments only (POINT), can be a user's stored function on the
#: others. EXTRACTVALUE reads user variables.
READ_ONLY_FUNCTIONS: Final = _words(
    """
    AVG BIT_AND BIT_OR BIT_XOR COUNT GROUP_CONCAT JSON_ARRAYAGG JSON_OBJECTAGG MAX MIN STD STDDEV STDDEV_POP
    STDDEV_SAMP SUM VARIANCE VAR_POP VAR_SAMP
    ABS ACOS ASIN ATAN ATAN2 BIT_COUNT CEIL CEILING CONV COS COT CRC32 DEGREES EXP FLOOR GREATEST LEAST LN LOG LOG10
    LOG2 PI POW POWER RADIANS RAND ROUND SIGN SIN SQRT TAN TRUNCATE
    ASCII BIN BIT_LENGTH CHARACTER_LENGTH CHARSET CHAR_LENGTH COERCIBILITY COLLATION CONCAT CONCAT_WS ELT EXPORT_SET
    FIELD FIND_IN_SET FORMAT FROM_BASE64 HEX INSERT INSTR LCASE LENGTH LOCATE LOWER LPAD LTRIM MAKE_SET MID OCT
    OCTET_LENGTH ORD POSITION QUOTE REVERSE RPAD RTRIM SOUNDEX SPACE STRCMP SUBSTR SUBSTRING SUBSTRING_INDEX TO_BASE64
    TRIM UCASE UNHEX UPPER WEIGHT_STRING
    ADDDATE ADDTIME CONVERT_TZ CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME DATE DATEDIFF DATE_ADD
    DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR EXTRACT FROM_DAYS FROM_UNIXTIME GET_FORMAT HOUR
    LAST_DAY LOCALTIME LOCALTIMESTAMP MAKEDATE MAKETIME MICROSECOND MINUTE MONTH MONTHNAME NOW PERIOD_ADD PERIOD_DIFF
    QUARTER SECOND SEC_TO_TIME STR_TO_DATE SUBDATE SUBTIME SYSDATE TIME TIMEDIFF TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF
    TIME_FORMAT TIME_TO_SEC TO_DAYS TO_SECONDS UNIX_TIMESTAMP WEEK WEEKDAY WEEKOFYEAR YEAR YEARWEEK
    CAST COALESCE IFNULL ISNULL NULLIF
    JSON_ARRAY JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_CONTAINS JSON_CONTAINS_PATH JSON_DEPTH JSON_EXTRACT JSON_INSERT
    JSON_KEYS JSON_LENGTH JSON_MERGE_PATCH JSON_MERGE_PRESERVE JSON_OBJECT JSON_QUOTE JSON_REMOVE JSON_REPLACE
    JSON_SEARCH JSON_SET JSON_TYPE JSON_UNQUOTE JSON_VALID
    AES_DECRYPT AES_ENCRYPT COMPRESS INET6_ATON INET6_NTOA INET_ATON INET_NTOA IS_IPV4 IS_IPV4_COMPAT IS_IPV4_MAPPED
    IS_IPV6 SHA2 UNCOMPRESS UNCOMPRESSED_LENGTH UUID UUID_SHORT
    CURRENT_USER SESSION_USER SLEEP SYSTEM_USER USER VERSION
    ST_AREA ST_ASBINARY ST_ASGEOJSON ST_ASTEXT ST_BUFFER ST_CENTROID ST_CONTAINS ST_CONVEXHULL ST_CROSSES ST_DIFFERENCE
    ST_DIMENSION ST_DISJOINT ST_DISTANCE ST_ENDPOINT ST_ENVELOPE ST_EQUALS ST_EXTERIORRING ST_GEOMETRYN ST_GEOMETRYTYPE
    ST_GEOMFROMTEXT ST_GEOMFROMWKB ST_INTERSECTION ST_INTERSECTS ST_ISCLOSED ST_ISEMPTY ST_ISSIMPLE ST_LENGTH
    ST_NUMGEOMETRIES ST_NUMPOINTS ST_OVERLAPS ST_POINTFROMTEXT ST_POINTN ST_SRID ST_STARTPOINT ST_SYMDIFFERENCE
    ST_TOUCHES ST_UNION ST_WITHIN ST_X ST_Y
    """
)
#: Functions only in front of OVER (...): on servers without them, that is an error.
_WINDOWED: Final = _words(
    """
    CUME_DIST DENSE_RANK FIRST_VALUE LAG LAST_VALUE LEAD NTH_VALUE NTILE PERCENT_RANK RANK ROW_NUMBER
    """
)

_MARIADB: Final = frozenset({Flavour.MARIADB, Flavour.GALERA})
_MYSQL: Final = frozenset({Flavour.MYSQL, Flavour.AURORA})
_LIMITED_BY_MARIADB: Final = frozenset({"SELECT", "WITH", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE"})

_LIST: Final = r"\( ?[-+]?\?(?: ?, ?[-+]?\?)* ?(?:\)|,? ?\Z)"
_LISTS: Final = r"\(\.\.\.\)(?: ?, ?\(\.\.\.\))+"


def _remembered(decide: Callable[[str], T]) -> Callable[[str], T]:
    """Keep the answers for the latest texts, short ones only."""
    remembered = functools.lru_cache(_CACHED_TEXTS)(decide)

    @functools.wraps(decide)
    def answer(query: str) -> T:
        return remembered(query) if len(query) <= _LONG else decide(query)

    return answer


@_remembered
def is_read_only(query: str) -> bool:
    """Say whether a statement provably only reads, so that running it twice is the same as once.

    True for one SELECT, WITH ... SELECT, TABLE, VALUES, SHOW, DESCRIBE or EXPLAIN of a query that locks nothing, calls
    nothing but functions built into every server, and whose result does not depend on the session's own state (user
    variables, the last insert id, warnings). The text cannot tell what a view calls, nor that a table is temporary: if
    that matters, the caller passes ``idempotent=False``.

    Args:
        query: The statement, before its arguments are put in.

    Returns:
        False if in doubt.
    """
    tokens = clear_tokens(query)
    keys = [token.key for token in tokens]
    if not _DENIED.isdisjoint(keys) or not _DENIED_PAIRS.isdisjoint(itertools.pairwise(keys)):
        return False
    closes = _parentheses(tokens)
    if closes is None or not _begins_as_a_read(tokens):
        return False
    return all(_calls_nothing_unknown(tokens, at, close) for at, close in closes.items())


@_remembered
def returns_rows(query: str) -> bool:
    """Say whether *query* is a statement that does nothing but return rows."""
    verb = _outermost(query)[0]
    if verb == "WITH":
        return {"UPDATE", "DELETE"}.isdisjoint(token.key for token in clear_tokens(query))
    return verb in _QUERIES or verb in _EXPLAINS or verb == "SHOW"


def ends_transaction(query: str) -> str:
    """Say whether a statement ends its transaction by its own words, and how.

    If it also begins another one, the server's status afterwards does not show it.

    Args:
        query: The statement.

    Returns:
        ``"COMMIT"`` (BEGIN and START commit first), ``"ROLLBACK"`` or ``""``.
    """
    first, second, third = first_words(query, 3)
    if first == "BEGIN":
        return "" if second == "NOT" else "COMMIT"  # BEGIN NOT ATOMIC is a block of statements
    if first == "ROLLBACK":
        return "" if "TO" in {second, third if second == "WORK" else ""} else "ROLLBACK"
    return "COMMIT" if first in {"COMMIT", "START"} else ""


@_remembered
def digest(query: str) -> str:
    """Return the statement without its values, for logs: at most 120 characters, on one line.

    Literals and placeholders become ``?``, lists of them ``(...)``, comments and runs of white space a space. If the
    text is too long, or unclear from some point on, it is cut there and ends in ``...``.

    Args:
        query: The statement.

    Returns:
        As in ``"select * from user where uid in (...) and name=?"``.
    """
    parts: list[str] = []
    cut = len(query) > _LONG
    for token in tokens_of(query[:_LONG]):
        literal = token.kind in {"text", "value"} or not token.text.isprintable()
        if token.kind == "unclear":
            cut = True
        elif token.kind != "comment":
            parts.append((" " if token.gap else "") + ("?" if literal else token.text))
    shown = re.sub(_LISTS, "(...), ...", re.sub(_LIST, "(...)", "".join(parts).strip())) + (" ..." if cut else "")
    return shown if len(shown) <= _DIGEST_LENGTH else shown[: _DIGEST_LENGTH - 3] + "..."


def may_load(sql: bytes) -> bool:
    """Say whether a statement, as it is sent, may be LOAD DATA, whose answer may ask for a file."""
    return re.match(_LOAD, sql[:4096]) is not None


def with_time_limit(query: str, seconds: float, flavour: Flavour, version: tuple[int, ...]) -> str | None:
    """Return the statement with a time limit that the server itself keeps.

    MariaDB stops any single query or change of rows with error 1969 (``SET STATEMENT max_statement_time``, from 10.1
    on); under Galera only queries, as it does not watch the time of a COMMIT. MySQL stops SELECTs that only read with
    error 3024 (the optimizer hint ``MAX_EXECUTION_TIME`` after the first SELECT, from 5.7.8 on).

    Args:
        query: The statement, before its arguments are put in.
        seconds: The limit; less than a millisecond counts as one.
        flavour: The kind of server.
        version: Its version, as in ``(10, 11, 6)``.

    Returns:
        None if this server has no limit for this statement or might ignore it, or if the text is longer than 10,000
        characters.
    """
    if len(query) > _LONG:
        return None  # this runs before every attempt, and reading a megabyte takes a second
    seconds = max(0.001, min(seconds, _LONGEST_LIMIT))
    verb, end = _outermost(query)
    if flavour in _MARIADB and version >= (10, 1, 2) and verb in _LIMITED_BY_MARIADB:
        watched = flavour is Flavour.MARIADB or is_read_only(query)
        return f"SET STATEMENT max_statement_time={seconds:.3f} FOR {query}" if watched else None
    # MySQL ignores a second hint, and one outside the outermost SELECT, which WITH and parentheses hide.
    if flavour in _MYSQL and version >= (5, 7, 8) and verb == "SELECT" and end and "/*+" not in query:
        hint = f" /*+ MAX_EXECUTION_TIME({math.ceil(seconds * 1000)}) */ "
        return query[:end] + hint + query[end:] if is_read_only(query) else None
    return None


@_remembered
def _outermost(query: str) -> tuple[str, int]:
    """Return the first word of a single statement, and where it ends; 0 if parentheses stand before it."""
    tokens = clear_tokens(query)
    if any(token.key == ";" for token in tokens):
        return "", 0
    return _verb(tokens), tokens[0].end if tokens and tokens[0].key != "(" else 0


def _verb(tokens: Sequence[Token]) -> str:
    return next((token.key for token in tokens if token.key != "("), "")


def _begins_as_a_read(tokens: Sequence[Token]) -> bool:
    first, second, third = [token.key for token in (*tokens, _NOTHING, _NOTHING, _NOTHING)[:3]]
    if first == "SHOW":
        return second in _SHOWN or (second == "GLOBAL" and third in {"STATUS", "VARIABLES"})
    if first in _EXPLAINS:
        return _explains_a_query(tokens[1:])
    return _verb(tokens) in _QUERIES


def _explains_a_query(tokens: Sequence[Token]) -> bool:
    """Say whether a query follows EXPLAIN, or a table and perhaps its column."""
    keys = [token.key for token in tokens]
    if keys[:2] == ["FORMAT", "="]:
        tokens = tokens[3:]
    elif keys[:1] in (["EXTENDED"], ["PARTITIONS"]):
        tokens = tokens[1:]
    if _verb(tokens) in _QUERIES:
        return True
    return 0 < len(tokens) <= len(["db", ".", "table", "column"]) and all(
        token.kind in {"word", "name", "text"} or token.key == "." for token in tokens
    )


def _parentheses(tokens: Sequence[Token]) -> dict[int, int] | None:
    """Return where each opening parenthesis is closed; None if they do not match."""
    closes: dict[int, int] = {}
    opened: list[int] = []
    for at, token in enumerate(tokens):
        if token.key == "(":
            opened.append(at)
        elif token.key == ")":
            if not opened:
                return None
            closes[opened.pop()] = at
    return None if opened else closes


def _calls_nothing_unknown(tokens: Sequence[Token], at: int, close: int) -> bool:
    """Say whether the parenthesis at *at* opens anything but the arguments of an unknown function."""
    before = tokens[at - 1] if at > 0 else _NOTHING
    earlier = tokens[at - 2] if at > 1 else _NOTHING
    after = [token.key for token in tokens[close + 1 : close + 3]]
    if before.kind in {"", "mark"}:
        return True
    if earlier.key == ".":
        return False  # db.f(): after a dot every word is a name, reserved or not
    if tokens[at + 1].key == "SELECT" or before.key in _RESERVED:
        return True  # the arguments of a function are expressions, and a query among them has its own parentheses
    if earlier.key in {")", "AS"}:
        return True  # no expression begins here: this is OVER, AGAINST, a type, or a name with a list of columns
    if before.key in READ_ONLY_FUNCTIONS:
        return not tokens[at].gap  # "now (" is a stored function, unless under IGNORE_SPACE
    return after == ["AS", "("] or (before.key in _WINDOWED and after == ["OVER", "("])

"""What one SQL text gives away, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from improved_db.sql.server import Flavour
from improved_db.sql.statement import READ_ONLY_FUNCTIONS, digest, ends_transaction, is_read_only, with_time_limit

MARIADB_10_11 = (Flavour.MARIADB, (10, 11, 6))

READS = [
    "select 1",
    "SELECT a, b FROM t WHERE id = %s",
    "select a from t where id = %(id)s and b in (%s, %s) and c = 10 %% 3",
    "  select 1 ;  ",
    "select 1; -- the end",
    "-- who asks\nselect 1",
    "# who asks\nselect 1",
    "/* who asks */ select /* what */ 1",
    "select /*+ MAX_EXECUTION_TIME(5) */ a from t",
    "(select 1)",
    "((select 1) union all (select 2)) order by 1",
    "(select 1) except (select 2)",
    "select a from t where a = any (select b from u) and exists (select 1)",
    "select 1 from t where a in(1,2) and (b = 1 or not(c)) and d between (1) and (2)",
    "select t.a, `t`.`b`, db.t.c from db.t as t join (u, v) on (u.a = v.a) join w using (a)",
    "select x.a from (select 1 as a) x, (select 2) as y (b)",
    "select a from t use index (i) ignore index for order by (j) partition (p)",
    "select count(*), max(a) from t group by (a) having (count(*) > 1) order by (a) limit %s, 5",
    "select group_concat(distinct b order by c separator ',') from t",
    "select row_number() over (partition by a order by b), lag(a, 1) over () from t",
    "select sum(a) over w, count(*) over (w) from t window w as (order by a)",
    "select case when (a) then (b) else (c) end, if (a, b, c), ifnull(a, b), coalesce(a, b), left (a, 2) from t",
    "select cast(a as char(10)), cast(a as decimal(10,2)), convert(a using utf8mb4), convert(a, decimal(3)) from t",
    "select now(6), curdate() + interval 1 day, date_add(now(), interval (2) hour), date '2020-01-01' from dual",
    "select concat('it''s', \"a\"\"b\", N'x', x'41', b'01', 0x41, _utf8'c', 'back\\\\slash', 'tab\\t')",
    "select json_extract(a, '$.b'), a->'$.b', a->>'$.b', json_object('a', 1) from t",
    "select match (a, b) against ('x' in boolean mode) from t",
    "select substring(a from 1 for 2), trim(both 'x' from a), position('a' in b), extract(year from now()) from t",
    "select uuid(), rand(), sleep(0), user(), current_user(), database(), version()",
    "select {fn abs(1)}, {d '2020-01-01'}",
    "select date_format(a, '%Y-%m-%d %H:%i:%s') from t where a like '%s%'",
    "select '%%s' from t where a = %s",
    "select @@version, @@global.max_connections, @@session.wait_timeout, @@hostname",
    "select 5 --1",
    "select 1 --",
    "select a.update_time, updated, into_it, locked from t",
    "select `for update`, `into`, `f(`, `get_lock` from t",
    "with c as (select 1) select * from c",
    "with recursive c (n) as (select 1 union all select n + 1 from c where n < 9), d (m) as (select 2) select m from d",
    "values (1, 2), (3, 4)",
    "values row(1, 2), row(3, 4)",
    "table t order by a limit 1",
    "show tables",
    "show full columns from t like 'a%'",
    "show create table t",
    "show create procedure p",
    "show global status like 'Threads%'",
    "show global variables where variable_name in ('a', 'b')",
    "show engine innodb status",
    "desc t",
    "describe db.t a",
    "explain t",
    "explain select * from t",
    "explain format=json with c as (select 1) select * from c",
    "explain extended select 1",
    "desc (select 1)",
    "select größe from maße",
]

#: Each of these at the end of a read makes it something else.
DENIED = [
    "for update",
    "FOR\nUPDATE skip locked",
    "for share",
    "for /* x */ share",
    "lock in share mode",
    "into outfile 'x'",
    "into dumpfile 'x'",
    "into @a",
    "union select @a",
    "union select @'a'",
    "union select @`a`",
    "union select @a:=1",
    "union select @@last_insert_id",
    "union select @@session.identity",
    "union select @@in_transaction",
    "union select @@versions",
    "union select @@global.hot.key_buffer_size",
    "procedure analyse()",
    "union select nextval(s)",
    "union select lastval(s)",
    "union select setval(s, 5)",
    "union select next value for s",
    "union select previous value for s",
    "union select s.nextval",
    "union select s.currval",
    "union select get_lock('a', 1)",
    "union select release_lock('a')",
    "union select release_all_locks()",
    "union select is_used_lock('a')",
    "union select last_insert_id()",
    "union select last_insert_id(5)",
    "union select found_rows()",
    "union select row_count()",
    "union select connection_id()",
    "union select current_role",
    "union select master_pos_wait('f', 1)",
    "union select wait_for_executed_gtid_set('x')",
    "union select load_file('x')",
    "union select extractvalue(a, '$@b')",
    "union select sql_calc_found_rows a from t",
    "union select f()",
    "union select f(1) as a",
    "union select f(1) as `a`",
    "union select a := 1",
    "union select f(1) over (order by a)",
    "union select rank()",
    "union select row_number() over",
    "union select f((select 1))",
    "union select `f`(1)",
    'union select "f"(1)',
    "union select db.f(1)",
    "union select db . f (1)",
    "union select db.abs(1)",
    "union select db.if(1)",
    "union select `abs`(1)",
    "union select now ()",
    "union select count/**/(a)",
    "union select 1f(1)",
    "union select \N{LATIN SMALL LETTER LONG S}in(1)",
    "union select {fn f(1)}",
    "union select 1 as a, f(2)",
    "union select (1), f(2)",
    "union select 'a' or f(2)",
    "union select %sabs(1)",
    "union select %(a)sabs(1)",
    "; delete from t",
    ";;",
    "/*! for update */",
    "/*!50000 for update */",
    "/*M! for update */",
    "/*M!100100 for update */",
    "union select /*+ QB_NAME(`*/`) */ f(1), '`' -- '",
    "for\N{NO-BREAK SPACE}update",
    "--\N{NO-BREAK SPACE}x",
    "/* never closed",
    "'never closed",
    "`never closed",
    "union select 'it\\'s'",
    "union select '\\\\\\''",
    'union select "\\""',
    "union select \\N",
    "union select $$ ' $$, f(1) -- '",
    "union select [a] from t",
    "union select (1",
    "union select 1)",
    "\x00",
]

NOT_READS = [
    "",
    ";",
    "-- nothing\n",
    "insert into t values (1)",
    "replace t values (1)",
    "update t set a = 1",
    "delete from t",
    "with c as (select 1) update t set a = 1",
    "with c as (select 1) delete from t",
    "call p()",
    "do sleep(1)",
    "set @a = 1",
    "set statement max_statement_time=1 for select 1",
    "use db",
    "handler t read first",
    "begin",
    "commit",
    "lock tables t read",
    "create table t (a int)",
    "truncate t",
    "analyze select 1",
    "analyze table t",
    "explain analyze select 1",
    "explain update t set a = 1",
    "explain insert t values (1)",
    "explain insert t select a from u",
    "explain for connection 5",
    "explain format=json into @a select 1",
    "show warnings",
    "show errors",
    "show count(*) warnings",
    "show profile",
    "show status",
    "show session status",
    "show variables like 'version'",
    "show global",
    "show",
    "desc",
    "execute immediate 'select 1'",
    "/*! select 1 */",
    "select 1; select 2",
    "1",
    "no sql at all",
]


@pytest.mark.parametrize("query", READS)
def test_a_read_is_known_as_one(query: str) -> None:
    """Otherwise it is not run again after a lost connection."""
    assert is_read_only(query)


@pytest.mark.parametrize("query", NOT_READS)
def test_what_does_not_begin_as_a_read_is_none(query: str) -> None:
    """Run twice, it may do its work twice."""
    assert not is_read_only(query)


@pytest.mark.parametrize("denied", DENIED)
def test_a_read_with_something_more_is_none(denied: str) -> None:
    """Locks, sequences, variables and functions of the users' own are not undone by forgetting the answer."""
    assert not is_read_only(f"select a from t {denied}")


@given(query=st.sampled_from(READS), denied=st.sampled_from(DENIED))
def test_nothing_before_a_denied_construct_hides_it(query: str, denied: str) -> None:
    """One context in which a lock is overlooked is one too many."""
    assert not is_read_only(f"{query}\n{denied}")


@pytest.mark.parametrize("query", ["select '%s'", 'select "%s"', "select `%(a)s`", "select 1 /* %s */", "select '%5r'"])
def test_a_placeholder_in_quotes_may_be_anything(query: str) -> None:
    """Its value brings quotes of its own, which end the ones around it."""
    assert not is_read_only(query)


def doubled(text: str, quote: str) -> str:
    """Quote as every sql_mode reads it."""
    return quote + text.replace(quote, quote * 2) + quote


@given(text=st.sampled_from(DENIED) | st.text(), quote=st.sampled_from("'\"`"))
@example(text="; delete from t", quote="'")
def test_a_literal_or_a_quoted_name_is_no_construct(text: str, quote: str) -> None:
    """People search for the words of SQL, too."""
    assert is_read_only(f"select {doubled(text.replace(chr(92), '').replace('%', ''), quote)} from t")


@given(text=st.sampled_from(DENIED) | st.text())
def test_a_comment_is_no_construct(text: str) -> None:
    """Comments say where a query comes from, in any words."""
    text = "".join(character for character in text if character not in "*%\n\x00")
    assert is_read_only(f"select 1 /* {text} */ from t")
    assert is_read_only(f"select 1 # {text}\n from t")
    assert is_read_only(f"select 1 -- {text}\n from t")


@pytest.mark.parametrize("name", sorted(READ_ONLY_FUNCTIONS))
def test_a_function_is_known_only_by_its_own_name(name: str) -> None:
    """A stored function may have the same name in a database, and unquoted, before a space."""
    assert is_read_only(f"select {name}(1)")
    assert not is_read_only(f"select db.{name}(1)")
    assert not is_read_only(f"select `{name}`(1)")
    assert not is_read_only(f"select {name}_(1)")


def test_a_text_too_long_to_be_remembered_is_judged_the_same() -> None:
    """Long texts are the ones with values in them."""
    numbers = ", ".join(map(str, range(10_000)))
    assert is_read_only(f"select a from t where b in ({numbers})")
    assert not is_read_only(f"select a from t where b in ({numbers}) for update")


@given(st.text(alphabet=st.sampled_from("select(f)'\"`\\/*!-#%s@;. \n\N{NO-BREAK SPACE}"), max_size=40))
def test_any_text_gets_an_answer(text: str) -> None:
    """The question is asked while an error is being handled; a second error would hide it."""
    assert is_read_only(text) in {True, False}
    assert ends_transaction(text) in {"", "COMMIT", "ROLLBACK"}
    assert len(digest(text)) <= 120
    assert with_time_limit(text, 1.0, *MARIADB_10_11) in {None, f"SET STATEMENT max_statement_time=1.000 FOR {text}"}


@pytest.mark.parametrize("name", ["md5", "SHA", "sha1"])
def test_digests_that_mysql_9_lacks_are_no_reads(name: str) -> None:
    """There they may be stored functions, which may write; a read is sent again after a lost answer."""
    assert not is_read_only(f"select {name}('x')")

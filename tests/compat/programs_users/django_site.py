"""A Django program on PyMySQL in mysqlclient's place, pooled by `improved_db.enable`.

OPTIONS in the environment is what ``pymysql.connect`` takes, as JSON. What happened is printed as JSON.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pymysql

import improved_db

pymysql.install_as_MySQLdb()
improved_db.enable(pool_size=2)

import django  # noqa: E402  # after what it is to find
from django.conf import settings  # noqa: E402

options = json.loads(os.environ["OPTIONS"])
names = {"NAME": "database", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
database = {
    "ENGINE": "django.db.backends.mysql",
    "CONN_MAX_AGE": 0,
    **{key: options[name] for key, name in names.items()},
}
settings.configure(DATABASES={"default": database}, USE_TZ=True, DEBUG=False)
django.setup()

from django.core.signals import request_finished  # noqa: E402  # models and signals need the settings
from django.db import IntegrityError, connection, models, transaction  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

Meta = type("Meta", (), {"app_label": "site"})
Book: Any = type(
    "Book",
    (models.Model,),
    {
        "__module__": __name__,
        "Meta": Meta,
        "title": models.CharField(max_length=40, unique=True),
        "price": models.DecimalField(max_digits=8, decimal_places=2, null=True),
        "printed_at": models.DateTimeField(null=True),
        "tags": models.JSONField(default=list),
        "cover": models.BinaryField(null=True),
    },
)
told: dict[str, Any] = {"requests": []}


def session() -> int:
    """Return the number of the session that Django has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def end_request() -> None:
    """Do as Django does when an answer was sent: with CONN_MAX_AGE=0 it closes the connection."""
    told["requests"].append(session())
    request_finished.send(sender=None)
    assert connection.connection is None


def create_read_update_delete() -> None:
    """Use every kind of statement that the ORM writes."""
    with connection.schema_editor() as editor:
        editor.create_model(Book)
    noon = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=timezone.utc)
    book = Book.objects.create(
        title="Één 100%", price=Decimal("12.50"), printed_at=noon, tags=["a", 1], cover=b"\0'\xff"
    )
    Book.objects.bulk_create([Book(title=f"book {number}") for number in range(5)])
    end_request()
    found = Book.objects.get(pk=book.pk)
    told["read"] = [found.title, str(found.price), found.printed_at == noon, found.tags, bytes(found.cover).hex()]
    told["updated"] = Book.objects.filter(title__startswith="book").update(price=models.F("id"))
    told["updated_to_the_same"] = Book.objects.filter(title__startswith="book").update(price=models.F("id"))
    found.title = "One"
    found.save()
    told["deleted"] = Book.objects.filter(title__in=["book 0", "book 1"]).delete()[0]
    told["titles"] = list(Book.objects.order_by("id").values_list("title", flat=True))
    told["highest"] = int(Book.objects.aggregate(models.Max("price"))["price__max"])
    told["streamed"] = sum(1 for _ in Book.objects.iterator(chunk_size=2))
    end_request()


def roll_back() -> None:
    """Leave blocks by exceptions, at the top and within."""
    try:
        with transaction.atomic():
            Book.objects.create(title="never")
            raise LookupError
    except LookupError:
        pass
    with transaction.atomic():
        Book.objects.create(title="kept")
        try:
            with transaction.atomic():
                Book.objects.create(title="half")
                Book.objects.create(title="kept")
        except IntegrityError as error:
            told["duplicate"] = error.args[0]
    told["after_rollback"] = list(
        Book.objects.filter(title__in=["never", "half", "kept"]).values_list("title", flat=True)
    )
    end_request()


def leave_open() -> None:
    """End a request in the middle of a transaction; the next one must not find any of it."""
    transaction.set_autocommit(False)
    Book.objects.create(title="open")
    connection.close()
    told["left_open"] = Book.objects.filter(title="open").count()
    told["autocommit_again"] = connection.get_autocommit()
    end_request()


def look() -> None:
    """Use what debugging and management commands ask of a connection."""
    with CaptureQueriesContext(connection) as queries:
        Book.objects.filter(title="One").count()
    told["logged"] = "'One'" in queries[-1]["sql"]
    told["usable"] = connection.is_usable()
    told["tables"] = connection.introspection.table_names()
    end_request()


create_read_update_delete()
roll_back()
leave_open()
look()
print(json.dumps(told))  # noqa: T201  # its answer

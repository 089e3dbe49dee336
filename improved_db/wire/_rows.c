/* Rows from bytes, compiled: does the same as `run` in improved_db/wire/decoders.py, for the kinds of columns below.

   Each column has a kind. If a value has an unusual form, the code calls the column's reader: the Python function that
   the pure decoder calls. So the values are the same for every input.

   The server may be hostile: before the code uses a length, it compares it with what is left of the packet. No reader
   changes after it was made, and no global changes, so threads need no lock here.

   Knows the layout of a row packet and Python's C API. Does not know PyMySQL, sockets or results. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <datetime.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

#define HEADER 4
#define FULL 0xFFFFFF
#define END 254 /* a packet that begins with this byte, or with 255, is not a row of one packet */

typedef const unsigned char *Bytes;

typedef struct {
    char kind;
    PyObject *reader; /* borrowed from the tuple of readers */
    PyObject *name;   /* borrowed from the tuple of names; NULL for tuples */
} Column;

typedef struct {
    PyObject_HEAD
    PyObject *readers, *names, *refuse;
    Py_ssize_t count;
    Column *columns;
} Rows;

typedef struct { /* the values of one column */
    Py_ssize_t used;
    unsigned char *there, *bytes;
    int32_t *offsets;
} Values;

static PyObject *by_reader(const Column *column, Bytes at, Py_ssize_t size)
{
    const char *start = (const char *)at; /* decimal.Decimal takes text, the other readers take bytes */
    PyObject *raw = column->kind == 'n' ? PyUnicode_DecodeASCII(start, size, NULL) : PyBytes_FromStringAndSize(start, size);
    if (raw == NULL)
        return NULL;
    PyObject *value = PyObject_CallOneArg(column->reader, raw);
    Py_DECREF(raw);
    return value;
}

/* The number in count digits, at most 18; -1 if one of them is not a digit. */
static long long digits(Bytes at, Py_ssize_t count)
{
    long long number = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned digit = at[i] - (unsigned)'0';
        if (digit > 9)
            return -1;
        number = number * 10 + (int)digit;
    }
    return number;
}

static PyObject *read_int(const Column *column, Bytes at, Py_ssize_t size)
{
    Py_ssize_t sign = size > 0 && at[0] == '-';
    long long number = size > sign && size - sign <= 18 ? digits(at + sign, size - sign) : -1;
    return number < 0 ? by_reader(column, at, size) : PyLong_FromLongLong(sign ? -number : number);
}

/* Read up to 19 digits, with or without a point, as the nearest double; return whether the text has that form. */
static int plain_double(Bytes at, Py_ssize_t size, double *result)
{
#ifdef __SIZEOF_INT128__
    int sign = size > 0 && at[0] == '-', seen = 0;
    uint64_t number = 0, divisor = 0; /* 0 until a point has come */
    if (size - sign < 1 || size - sign > 20)
        return 0;
    for (Py_ssize_t i = sign; i < size; i++) {
        unsigned digit = at[i] - (unsigned)'0';
        if (at[i] == '.' && divisor == 0) {
            divisor = 1;
        } else if (digit > 9 || ++seen > 19) {
            return 0;
        } else {
            number = number * 10 + digit;
            divisor *= 10;
        }
    }
    *result = (double)number;
    if (number != 0 && divisor > 1) { /* the quotient has 63 or 64 bits; the last one says if a remainder is left */
        int up = __builtin_clzll(number), down = __builtin_clzll(divisor);
        unsigned __int128 wide = (unsigned __int128)(number << up) << 63;
        uint64_t quotient = (uint64_t)(wide / (divisor << down));
        quotient |= (unsigned __int128)quotient * (divisor << down) != wide;
        *result = ldexp((double)quotient, down - up - 63);
    }
    *result = sign ? -*result : *result;
    return seen > 0 && FLT_EVAL_METHOD == 0;
#else
    return 0;
#endif
}

static PyObject *read_float(const Column *column, Bytes at, Py_ssize_t size)
{
    double number;
    return plain_double(at, size, &number) ? PyFloat_FromDouble(number) : by_reader(column, at, size);
}

/* Text in an encoding whose first 128 characters are ASCII's. */
static PyObject *read_ascii(const Column *column, Bytes at, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++)
        if (at[i] > 127)
            return by_reader(column, at, size);
    return PyUnicode_DecodeASCII((const char *)at, size, NULL);
}

/* Whether the text is "YYYY-MM-DD", and that day exists. */
static int is_day(Bytes at, int *year, int *month, int *day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (at[4] != '-' || at[7] != '-')
        return 0;
    *year = (int)digits(at, 4), *month = (int)digits(at + 5, 2), *day = (int)digits(at + 8, 2);
    if (*year < 1 || *month < 1 || *month > 12 || *day < 1)
        return 0;
    int leap = *month == 2 && *year % 4 == 0 && (*year % 100 != 0 || *year % 400 == 0);
    return *day <= lengths[*month - 1] + leap;
}

static PyObject *read_date(const Column *column, Bytes at, Py_ssize_t size)
{
    int year, month, day;
    if (size != 10 || !is_day(at, &year, &month, &day))
        return by_reader(column, at, size);
    return PyDate_FromDate(year, month, day);
}

static PyObject *read_datetime(const Column *column, Bytes at, Py_ssize_t size)
{
    int year, month, day, fraction = 0;
    if (size < 19 || size == 20 || size > 26 || at[10] != ' ' || at[13] != ':' || at[16] != ':' ||
        !is_day(at, &year, &month, &day))
        return by_reader(column, at, size);
    int hour = (int)digits(at + 11, 2), minute = (int)digits(at + 14, 2), second = (int)digits(at + 17, 2);
    if (size > 20) {
        fraction = at[19] == '.' ? (int)digits(at + 20, size - 20) : -1;
        for (Py_ssize_t i = size; i < 26; i++)
            fraction *= 10;
    }
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || fraction < 0)
        return by_reader(column, at, size);
    return PyDateTime_FromDateAndTime(year, month, day, hour, minute, second, fraction);
}

static PyObject *read_value(const Column *column, Bytes at, Py_ssize_t size)
{
    switch (column->kind) {
    case 'i': return read_int(column, at, size);
    case 'f': return read_float(column, at, size);
    case 'u': return PyUnicode_DecodeUTF8((const char *)at, size, NULL);
    case 'a': return read_ascii(column, at, size);
    case 'b': return PyBytes_FromStringAndSize((const char *)at, size);
    case 's': return read_datetime(column, at, size);
    case 'd': return read_date(column, at, size);
    default: return by_reader(column, at, size);
    }
}

static void *bad_row(const Rows *self)
{
    PyObject *error = PyObject_CallNoArgs(self->refuse);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

/* Move *place behind the length of the next value, and return that: -1 for NULL, -2 if the value is not before end. */
static Py_ssize_t next_size(Bytes *place, Bytes end)
{
    if (*place >= end)
        return -2;
    uint64_t size = *(*place)++;
    if (size == 251)
        return -1;
    if (size > 251) {
        int width = size == 252 ? 2 : size == 253 ? 3 : 8;
        if (size == 255 || end - *place < width)
            return -2;
        size = 0;
        for (int i = 0; i < width; i++)
            size |= (uint64_t)*(*place)++ << (8 * i);
    }
    return size > (uint64_t)(end - *place) ? -2 : (Py_ssize_t)size;
}

/* Read the value at *place, and move *place behind it. The packet ends at end. */
static PyObject *next_value(const Rows *self, const Column *column, Bytes *place, Bytes end)
{
    Py_ssize_t size = next_size(place, end);
    if (size == -2)
        return bad_row(self);
    if (size == -1)
        Py_RETURN_NONE;
    *place += size;
    return read_value(column, *place - size, size);
}

static PyObject *read_row(const Rows *self, Bytes place, Bytes end)
{
    if (self->count == 1 && self->columns[0].kind == 'p')
        return PyBytes_FromStringAndSize((const char *)place, end - place);
    PyObject *row = self->names ? PyDict_New() : PyTuple_New(self->count);
    int failed = row == NULL, holds_others = 0;
    for (Py_ssize_t i = 0; !failed && i < self->count; i++) {
        const Column *column = &self->columns[i];
        PyObject *value = next_value(self, column, &place, end);
        if (value == NULL) {
            failed = 1;
        } else if (column->name) {
            failed = PyDict_SetItem(row, column->name, value) < 0;
            Py_DECREF(value);
        } else {
            holds_others |= PyObject_IS_GC(value);
            PyTuple_SET_ITEM(row, i, value);
        }
    }
    if (!failed && place != end)
        failed = bad_row(self) == NULL;
    if (failed)
        Py_CLEAR(row);
    else if (!self->names && !holds_others && self->count > 0) /* the collector would untrack it, too, but later */
        PyObject_GC_UnTrack(row);
    return row;
}

static PyObject *rows_run(PyObject *object, PyObject *args)
{
    const Rows *self = (const Rows *)object;
    PyObject *data, *rows;
    Py_ssize_t position;
    int sequence;
    if (!PyArg_ParseTuple(args, "SniO!:run", &data, &position, &sequence, &PyList_Type, &rows))
        return NULL;
    Bytes start = (Bytes)PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    if (position < 0 || position > size) {
        PyErr_SetString(PyExc_ValueError, "position is outside data");
        return NULL;
    }
    /* A packet of full length, which the next one continues, never fits. */
    Py_ssize_t limit = size - position > HEADER + FULL - 1 ? position + HEADER + FULL - 1 : size;
    while (limit - position > HEADER) {
        Bytes head = start + position, first = head + HEADER;
        Py_ssize_t length = head[0] | head[1] << 8 | head[2] << 16;
        if (length > limit - position - HEADER || head[3] != sequence || *first >= END)
            break;
        PyObject *row = read_row(self, first, first + length);
        if (row == NULL)
            return NULL;
        int failed = PyList_Append(rows, row);
        Py_DECREF(row);
        if (failed < 0)
            return NULL;
        position += HEADER + length;
        sequence = (sequence + 1) & 255;
    }
    return Py_BuildValue("ni", position, sequence);
}

/* Take the values of one row; without bytes, only add up their sizes. */
static int take_row(const Rows *self, Values *all, Bytes place, Bytes end, Py_ssize_t number)
{
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Values *values = &all[i];
        Py_ssize_t size = next_size(&place, end), used = values->used;
        if (size == -2)
            return -1;
        values->used += size > 0 ? size : 0;
        if (values->bytes != NULL) {
            if (size > 0)
                memcpy(values->bytes + used, place, (size_t)size);
            values->there[number / 8] |= (unsigned char)((size >= 0) << number % 8);
            values->offsets[number + 1] = (int32_t)values->used;
        }
        place += size > 0 ? size : 0;
    }
    return place == end ? 0 : -1;
}

/* Make room for the values of each column, as Arrow keeps them: see `split` in _rows.pyi. */
static int make_room(const Rows *self, Values *all, Py_ssize_t rows, PyObject *found)
{
    size_t bits = (size_t)(rows + 63) / 64 * 8, before = bits + 4 * (size_t)(rows + 1);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (all[i].used > INT32_MAX)
            return bad_row(self) != NULL;
        PyObject *room = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)before + all[i].used);
        if (room == NULL)
            return 0;
        PyList_SET_ITEM(found, i, room);
        unsigned char *start = memset(PyBytes_AS_STRING(room), 0, before);
        all[i] = (Values){0, start, start + before, (int32_t *)(void *)(start + bits)};
    }
    return 1;
}

static PyObject *rows_split(PyObject *object, PyObject *given)
{
    const Rows *self = (const Rows *)object;
    PyObject *packets = PySequence_Tuple(given), *found = packets == NULL ? NULL : PyList_New(self->count);
    Values *all = found == NULL ? NULL : PyMem_Calloc((size_t)self->count + 1, sizeof(Values));
    Py_ssize_t rows = found == NULL ? 0 : PyTuple_GET_SIZE(packets);
    int good = all != NULL;
    if (found != NULL && !good)
        PyErr_NoMemory();
    for (int pass = 0; good && pass < 2; pass++) {
        for (Py_ssize_t i = 0; good && i < rows; i++) {
            char *start;
            Py_ssize_t size;
            good = PyBytes_AsStringAndSize(PyTuple_GET_ITEM(packets, i), &start, &size) == 0;
            if (good && take_row(self, all, (Bytes)start, (Bytes)start + size, i) < 0)
                good = bad_row(self) != NULL;
        }
        if (good && pass == 0)
            good = make_room(self, all, rows, found);
    }
    PyMem_Free(all);
    Py_XDECREF(packets);
    if (!good)
        Py_CLEAR(found);
    return found;
}

/* Rows(kinds, readers, names, refuse): kinds has a letter for each column, see read_value, or only p, see read_row;
   refuse makes the error. The collector knows no Rows: readers are functions of modules, so there is no cycle. */
static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    const char *kinds;
    Py_ssize_t count;
    PyObject *readers, *names, *refuse;
    if (!PyArg_ParseTuple(args, "y#O!OO:Rows", &kinds, &count, &PyTuple_Type, &readers, &names, &refuse))
        return NULL;
    if (PyTuple_GET_SIZE(readers) != count ||
        (names != Py_None && !(PyTuple_Check(names) && PyTuple_GET_SIZE(names) == count))) {
        PyErr_SetString(PyExc_ValueError, "kinds, readers and names must have the same length");
        return NULL;
    }
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->columns = PyMem_New(Column, count ? count : 1);
    if (self->columns == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->readers = Py_NewRef(readers), self->refuse = Py_NewRef(refuse), self->count = count;
    self->names = names == Py_None ? NULL : Py_NewRef(names);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = self->names ? PyTuple_GET_ITEM(names, i) : NULL;
        self->columns[i] = (Column){kinds[i], PyTuple_GET_ITEM(readers, i), name};
    }
    return (PyObject *)self;
}

static void rows_dealloc(PyObject *object)
{
    Rows *self = (Rows *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->readers);
    Py_XDECREF(self->names);
    Py_XDECREF(self->refuse);
    PyMem_Free(self->columns);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef rows_methods[] = {
    {"run", rows_run, METH_VARARGS, "As `Decoder.run`."},
    {"split", rows_split, METH_O, "The values of each column of the rows in these packets."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_new, rows_new}, {Py_tp_dealloc, rows_dealloc}, {Py_tp_methods, rows_methods}, {0, NULL},
};

static PyType_Spec rows_spec = {
    "improved_db.wire._rows.Rows", sizeof(Rows), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, rows_slots};

static int module_exec(PyObject *module)
{
    PyDateTime_IMPORT;
    PyObject *type = PyDateTimeAPI == NULL ? NULL : PyType_FromModuleAndSpec(module, &rows_spec, NULL);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "improved_db.wire._rows",
    .m_doc = "Rows from bytes, compiled.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__rows(void)
{
    return PyModuleDef_Init(&module);
}

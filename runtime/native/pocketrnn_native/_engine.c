/* The engine as Python's module _engine, in the stable ABI of Python 3.11. The engine itself is src/pocketrnn.c. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "pocketrnn.h"

/* Working memory. Memory of finished calls waits in a list for the next call. The address of this struct is stored before the
 * bytes, since the engine passes these bytes when it asks whether to stop. */
struct memory {
    struct memory *next;
    size_t size;
    void *bytes;
    PyThreadState *thread;    /* that has let the interpreter lock go; NULL if it is held */
    const volatile unsigned *stops; /* how often all calls of the classifier were stopped: now, */
    unsigned stops_before;          /* and when this one began */
};

enum { FIRST_SIZE = 1 << 16, LARGEST_KEPT = 1 << 22, IN_FRONT = 64 };

typedef struct {
    PyObject_HEAD
    Py_buffer file;
    int has_file;
    void *opened_in;
    const prnn *classifier;
    struct memory *idle;
    volatile unsigned stops;
} Packed;

/* A text that arrives, for one classifier. The interpreter lock is held while it is read on. */
typedef struct {
    PyObject_HEAD
    Packed *packed;
    prnn_stream *stream;
} Stream;

typedef struct {
    PyObject *error, *packed_type;
} State;

static struct PyModuleDef module_definition;

static PyObject *raise_status(PyObject *self, int status, const char *reason)
{
    if (status == PRNN_STOPPED && PyErr_Occurred()) /* what a signal's handler has raised */
        return NULL;
    PyObject *module = PyType_GetModule(Py_TYPE(self));
    State *state = module ? PyModule_GetState(module) : NULL;
    if (!state)
        return NULL;
    PyObject *arguments = Py_BuildValue("(is)", status, reason);
    if (arguments) {
        PyErr_SetObject(state->error, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

static PyObject *raise_engine_error(PyObject *self, int status) { return raise_status(self, status, prnn_error(status)); }
static PyObject *raise_no_memory(PyObject *self) { return raise_engine_error(self, PRNN_MEMORY); }

/* The sentence alone, without the status that Python would show with it. */
static PyObject *error_as_string(PyObject *error)
{
    PyObject *arguments = PyObject_GetAttrString(error, "args");
    PyObject *sentence = arguments && PyTuple_Check(arguments) && PyTuple_Size(arguments) == 2
                             ? PyTuple_GetItem(arguments, 1) : NULL;
    PyObject *string = sentence ? PyObject_Str(sentence) : arguments ? PyObject_Str(arguments) : NULL;
    Py_XDECREF(arguments);
    return string;
}

/* Make room for `size` bytes; the old content is lost. Runs without the interpreter lock. */
static int grow_memory(struct memory *memory, size_t size)
{
    if (memory->bytes)
        free((char *)memory->bytes - IN_FRONT);
    char *start = size > PTRDIFF_MAX - IN_FRONT ? NULL : malloc(size + IN_FRONT);
    memory->bytes = start ? start + IN_FRONT : NULL;
    memory->size = start ? size : 0;
    if (start)
        memcpy(start, &memory, sizeof memory);
    return start != NULL;
}

static void free_memory(struct memory *memory)
{
    if (memory->bytes)
        free((char *)memory->bytes - IN_FRONT);
    free(memory);
}

/* Taken and given back while the interpreter lock is held. */
static struct memory *take_memory(Packed *self)
{
    struct memory *memory = self->idle;
    if (memory)
        self->idle = memory->next;
    else if ((memory = calloc(1, sizeof *memory)) != NULL && !grow_memory(memory, FIRST_SIZE)) {
        free(memory);
        memory = NULL;
    }
    if (!memory) {
        raise_no_memory((PyObject *)self);
        return NULL;
    }
    memory->stops = &self->stops;
    memory->stops_before = self->stops;
    return memory;
}

/* The engine calls this during long computations. Whether a signal's handler has raised an error, or all calls are stopped. */
static int asked(const void *bytes)
{
    struct memory *memory;
    memcpy(&memory, (const char *)bytes - IN_FRONT, sizeof memory);
    PyThreadState *thread = memory->thread;
    if (thread)
        PyEval_RestoreThread(thread);
    int is_over = PyErr_CheckSignals() < 0 || *memory->stops != memory->stops_before;
    if (thread)
        PyEval_SaveThread();
    return is_over;
}

static void release_lock(struct memory *memory) { memory->thread = PyEval_SaveThread(); }

static void take_lock_again(struct memory *memory)
{
    PyEval_RestoreThread(memory->thread);
    memory->thread = NULL;
}

static void give_memory_back(Packed *self, struct memory *memory)
{
    if (memory->size > LARGEST_KEPT) {
        free_memory(memory);
        return;
    }
    memory->next = self->idle;
    self->idle = memory;
}

static int classify_text(const prnn *classifier, const char *text, size_t bytes, float *logits, struct memory *memory)
{
    for (;;) {
        size_t size = memory->size;
        int status = prnn_classify(classifier, text, bytes, logits, memory->bytes, &size);
        if (status != PRNN_MEMORY || !grow_memory(memory, size))
            return status;
    }
}

/* A question about one input with this number of ids or steps. */
typedef int question(const prnn *, const void *, size_t, float *, void *, size_t *);

static int logits_of_tokens(const prnn *p, const void *ids, size_t count, float *logits, void *memory, size_t *size)
{
    return prnn_token_logits(p, ids, count, logits, memory, size);
}

static int logits_of_ids(const prnn *p, const void *ids, size_t count, float *logits, void *memory, size_t *size)
{
    return prnn_logits(p, ids, count, logits, memory, size);
}

static int embedding_of_ids(const prnn *p, const void *ids, size_t count, float *embedding, void *memory, size_t *size)
{
    return prnn_embed(p, ids, count, embedding, memory, size);
}

static int logits_of_samples(const prnn *p, const void *samples, size_t steps, float *logits, void *memory, size_t *size)
{
    return prnn_logits_of_samples(p, samples, steps, logits, memory, size);
}

static int ask_with_memory(question *ask, const prnn *classifier, const void *input, size_t count, float *numbers, struct memory *memory)
{
    for (;;) {
        size_t size = memory->size;
        int status = ask(classifier, input, count, numbers, memory->bytes, &size);
        if (status != PRNN_MEMORY || !grow_memory(memory, size))
            return status;
    }
}

/* A string's UTF-8; halves of surrogate pairs are written as if they were characters. *held keeps it alive. */
static const char *encode_utf8(PyObject *text, Py_ssize_t *bytes, PyObject **held)
{
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "A text must be a string.");
        return NULL;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, bytes);
    if (utf8) {
        Py_INCREF(text);
        *held = text;
        return utf8;
    }
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return NULL;
    PyErr_Clear();
    char *encoded;
    *held = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (!*held || PyBytes_AsStringAndSize(*held, &encoded, bytes) < 0) {
        Py_CLEAR(*held);
        return NULL;
    }
    return encoded;
}

static PyObject *make_float_list(const float *numbers, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *number = PyFloat_FromDouble((double)numbers[i]);
        if (!number || PyList_SetItem(list, (Py_ssize_t)i, number) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* A string of a packed file. Its sums may fit, and it may still not be UTF-8. */
static PyObject *make_string(PyObject *object, const char *utf8, size_t bytes)
{
    PyObject *string = PyUnicode_DecodeUTF8(utf8, (Py_ssize_t)bytes, "surrogatepass");
    if (!string && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        return raise_status(object, PRNN_CONTENT, "A string in the file is not UTF-8.");
    }
    return string;
}

static PyObject *packed_logits(PyObject *object, PyObject *text)
{
    Packed *self = (Packed *)object;
    PyObject *held = NULL, *result = NULL;
    Py_ssize_t bytes;
    const char *utf8 = encode_utf8(text, &bytes, &held);
    if (!utf8)
        return NULL;
    uint32_t classes = prnn_classes(self->classifier);
    float few[64], *logits = classes <= 64 ? few : malloc(classes * sizeof *logits);
    struct memory *memory = logits ? take_memory(self) : NULL;
    if (memory) {
        int status;
        release_lock(memory);
        status = classify_text(self->classifier, utf8, (size_t)bytes, logits, memory);
        take_lock_again(memory);
        give_memory_back(self, memory);
        result = status == PRNN_OK ? make_float_list(logits, classes) : raise_engine_error(object, status);
    } else if (!logits)
        raise_no_memory(object);
    if (logits != few)
        free(logits);
    Py_DECREF(held);
    return result;
}

/* The logits of a text together with a second text, or with a list of numbers, one for each feature. */
static PyObject *packed_logits_beside(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *text, *beside, *held = NULL, *second_held = NULL, *result = NULL;
    const char *utf8, *second = NULL;
    Py_ssize_t bytes, second_bytes = 0;
    if (!PyArg_ParseTuple(arguments, "OO", &text, &beside) || !(utf8 = encode_utf8(text, &bytes, &held)))
        return NULL;
    size_t count = PyList_Check(beside) ? (size_t)PyList_Size(beside) : 0;
    if (!PyList_Check(beside))
        second = encode_utf8(beside, &second_bytes, &second_held);
    else if (count != prnn_features(self->classifier))
        raise_engine_error(object, PRNN_INPUT);
    uint32_t classes = prnn_classes(self->classifier);
    float *numbers = malloc((classes + count + 1) * sizeof *numbers), *logits = numbers ? numbers + count : NULL;
    for (size_t i = 0; numbers && i < count; i++)
        numbers[i] = (float)PyFloat_AsDouble(PyList_GetItem(beside, (Py_ssize_t)i));
    if (!numbers)
        raise_no_memory(object);
    struct memory *memory = PyErr_Occurred() ? NULL : take_memory(self);
    if (memory) {
        int status;
        size_t size;
        release_lock(memory);
        do {
            size = memory->size;
            status = second ? prnn_classify_pair(self->classifier, utf8, (size_t)bytes, second, (size_t)second_bytes, logits,
                                                 memory->bytes, &size)
                            : prnn_classify_with(self->classifier, utf8, (size_t)bytes, numbers, logits, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        take_lock_again(memory);
        give_memory_back(self, memory);
        result = status == PRNN_OK ? make_float_list(logits, classes) : raise_engine_error(object, status);
    }
    free(numbers);
    Py_XDECREF(second_held);
    Py_DECREF(held);
    return result;
}

/* The program's input for a feature: for a number, or for the value of a category, which is a string. */
static PyObject *packed_feature(PyObject *object, PyObject *arguments)
{
    const prnn *classifier = ((Packed *)object)->classifier;
    PyObject *value, *held = NULL;
    unsigned index;
    Py_ssize_t bytes;
    float made = 0;
    int status = PRNN_ARGUMENT;
    if (!PyArg_ParseTuple(arguments, "IO", &index, &value))
        return NULL;
    if (PyUnicode_Check(value)) {
        const char *utf8 = encode_utf8(value, &bytes, &held);
        if (utf8)
            status = prnn_feature_of_category(classifier, index, utf8, (size_t)bytes, &made);
        Py_XDECREF(held);
    } else
        status = prnn_feature_of_number(classifier, index, PyFloat_AsDouble(value), &made);
    if (PyErr_Occurred())
        return NULL;
    return status ? raise_engine_error(object, status) : PyFloat_FromDouble((double)made);
}

/* The features as (name, whether it is a category). */
static PyObject *packed_features(PyObject *object, PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0);
    const char *utf8;
    size_t bytes;
    int is_category;
    for (uint32_t i = 0; list && (utf8 = prnn_feature(((Packed *)object)->classifier, i, &is_category, &bytes)) != NULL; i++) {
        PyObject *name = make_string(object, utf8, bytes);
        PyObject *one = name ? Py_BuildValue("(NN)", name, PyBool_FromLong(is_category)) : NULL;
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *packed_takes_pairs(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(prnn_takes_pairs(((Packed *)self)->classifier));
}

/* The ids of a text or, if `ends` is given, of its tokens. */
static PyObject *make_id_list(PyObject *object, const char *utf8, size_t bytes, const uint32_t *ends)
{
    Packed *self = (Packed *)object;
    PyObject *list = NULL;
    struct memory *memory = take_memory(self);
    if (memory) {
        const int32_t *ids;
        size_t count = 0, size;
        int status;
        do {
            size = memory->size;
            status = ends ? prnn_encode_tokens(self->classifier, utf8, ends, bytes, &ids, &count, memory->bytes, &size)
                          : prnn_encode(self->classifier, utf8, bytes, &ids, &count, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        if (status == PRNN_OK)
            list = PyList_New((Py_ssize_t)count);
        else
            raise_engine_error(object, status);
        for (size_t i = 0; list && i < count; i++) {
            PyObject *id = PyLong_FromLong(ids[i]);
            if (!id || PyList_SetItem(list, (Py_ssize_t)i, id) < 0)
                Py_CLEAR(list);
        }
        give_memory_back(self, memory);
    }
    return list;
}

static PyObject *packed_encode(PyObject *object, PyObject *text)
{
    PyObject *held = NULL, *list = NULL;
    Py_ssize_t bytes;
    const char *utf8 = encode_utf8(text, &bytes, &held);
    if (utf8)
        list = make_id_list(object, utf8, (size_t)bytes, NULL);
    Py_XDECREF(held);
    return list;
}

/* The joined bytes of a list of tokens, which the caller frees, and the end of each token; NULL with an error. */
static char *join_tokens(PyObject *object, PyObject *tokens, uint32_t **ends)
{
    if (!PyList_Check(tokens)) {
        PyErr_SetString(PyExc_TypeError, "The tokens of a text must be a list of strings.");
        return NULL;
    }
    size_t count = (size_t)PyList_Size(tokens), size = 0, room = 1 << 10;
    char *all = malloc(room);
    int is_right = (*ends = malloc((count + 1) * sizeof **ends)) != NULL && all;
    if (!is_right)
        raise_no_memory(object);
    for (size_t i = 0; i < count && is_right; i++) {
        PyObject *held = NULL;
        Py_ssize_t bytes;
        const char *utf8 = encode_utf8(PyList_GetItem(tokens, (Py_ssize_t)i), &bytes, &held);
        is_right = utf8 != NULL;
        if (is_right && (size_t)bytes > INT32_MAX - size) {
            raise_engine_error(object, PRNN_TOO_LONG);
            is_right = 0;
        } else if (is_right && size + (size_t)bytes > room) {
            char *more = realloc(all, room = 2 * (size + (size_t)bytes));
            all = more ? more : all;
            if (!more) {
                raise_no_memory(object);
                is_right = 0;
            }
        }
        if (is_right) {
            memcpy(all + size, utf8, (size_t)bytes);
            (*ends)[i] = (uint32_t)(size += (size_t)bytes);
        }
        Py_XDECREF(held);
    }
    if (is_right)
        return all;
    free(all);
    free(*ends);
    return NULL;
}

static PyObject *packed_encode_tokens(PyObject *object, PyObject *tokens)
{
    uint32_t *ends;
    char *all = join_tokens(object, tokens, &ends);
    if (!all)
        return NULL;
    PyObject *list = make_id_list(object, all, (size_t)PyList_Size(tokens), ends);
    free(all);
    free(ends);
    return list;
}

/* How many code points begin before each byte of a text, and before its end; NULL if there is not enough memory. */
static uint32_t *count_points_before_bytes(const char *utf8, size_t bytes)
{
    uint32_t *points = malloc((bytes + 1) * sizeof *points), count = 0;
    for (size_t i = 0; points && i <= bytes; i++) {
        points[i] = count;
        count += i < bytes && (utf8[i] & 0xC0) != 0x80;
    }
    return points;
}

/* The tags of a text as a list of (start, end, label, probability), in code points; if `ends` is given, in tokens. */
static PyObject *make_tag_list(PyObject *object, const char *utf8, size_t bytes, const uint32_t *ends)
{
    Packed *self = (Packed *)object;
    PyObject *list = NULL;
    uint32_t *points = ends ? NULL : count_points_before_bytes(utf8, bytes);
    struct memory *memory = points || ends ? take_memory(self) : NULL;
    if (!points && !ends)
        raise_no_memory(object);
    if (memory) {
        const struct prnn_tagged *tags;
        size_t count = 0, size;
        int status;
        release_lock(memory);
        do {
            size = memory->size;
            status = ends ? prnn_tag_tokens(self->classifier, utf8, ends, bytes, &tags, &count, memory->bytes, &size)
                          : prnn_tag(self->classifier, utf8, bytes, &tags, &count, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        take_lock_again(memory);
        list = status == PRNN_OK ? PyList_New((Py_ssize_t)count) : raise_engine_error(object, status);
        for (size_t i = 0; list && i < count; i++) {
            const struct prnn_tagged *tag = tags + i;
            uint32_t start = ends ? tag->start : points[tag->start], end = ends ? tag->end : points[tag->end];
            PyObject *one = tag->label == PRNN_NO_LABEL ? Py_BuildValue("(IIOO)", start, end, Py_None, Py_None)
                                                        : Py_BuildValue("(IIId)", start, end, tag->label, (double)tag->probability);
            if (!one || PyList_SetItem(list, (Py_ssize_t)i, one) < 0)
                Py_CLEAR(list);
        }
        give_memory_back(self, memory);
    }
    free(points);
    return list;
}

static PyObject *packed_tag(PyObject *object, PyObject *given)
{
    PyObject *held = NULL, *list = NULL;
    if (PyUnicode_Check(given)) {
        Py_ssize_t bytes;
        const char *utf8 = encode_utf8(given, &bytes, &held);
        if (utf8)
            list = make_tag_list(object, utf8, (size_t)bytes, NULL);
        Py_XDECREF(held);
        return list;
    }
    uint32_t *ends;
    char *all = join_tokens(object, given, &ends);
    if (!all)
        return NULL;
    list = make_tag_list(object, all, (size_t)PyList_Size(given), ends);
    free(all);
    free(ends);
    return list;
}

static PyObject *packed_check_ids(PyObject *self, PyObject *given)
{
    Py_buffer ids;
    if (PyObject_GetBuffer(given, &ids, PyBUF_SIMPLE) < 0)
        return NULL;
    int status = prnn_check_ids(((Packed *)self)->classifier, ids.buf, (size_t)ids.len / sizeof(int32_t));
    PyBuffer_Release(&ids);
    return PyLong_FromLong(status);
}

static int by_length(const void *left, const void *right)
{
    size_t a = ((const struct prnn_text *)left)->bytes, b = ((const struct prnn_text *)right)->bytes;
    return (a > b) - (a < b);
}

/* Fill in `texts` from a list of strings. Whether all items are strings; `held` keeps their UTF-8 alive. */
static int read_texts(PyObject *list, struct prnn_text *texts, PyObject **held, Py_ssize_t count, float *logits,
                    size_t classes)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyList_GetItem(list, i);
        Py_ssize_t bytes;
        texts[i].text = text ? encode_utf8(text, &bytes, &held[i]) : NULL;
        if (!texts[i].text)
            return 0;
        texts[i].bytes = (size_t)bytes;
        texts[i].logits = logits + (size_t)i * classes;
    }
    return 1;
}

/* Many texts into a buffer of floats [texts, classes]; the status of each into a buffer of bytes. */
static PyObject *packed_logits_of_texts(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *list, *result = NULL;
    Py_buffer out, statuses;
    if (!PyArg_ParseTuple(arguments, "O!w*w*", &PyList_Type, &list, &out, &statuses))
        return NULL;
    Py_ssize_t count = PyList_Size(list);
    size_t classes = prnn_classes(self->classifier);
    float *logits = out.buf;
    struct prnn_text *texts = calloc((size_t)count + 1, sizeof *texts);
    PyObject **held = calloc((size_t)count + 1, sizeof *held);
    struct memory *memory = NULL;
    if (!texts || !held)
        raise_no_memory(object);
    else if ((size_t)out.len != (size_t)count * classes * sizeof(float) || statuses.len != count)
        PyErr_SetString(PyExc_ValueError, "The buffers are not as long as the texts are many.");
    else if (read_texts(list, texts, held, count, logits, classes))
        memory = take_memory(self);
    if (memory) {
        int status;
        size_t done = 0;
        release_lock(memory);
        qsort(texts, (size_t)count, sizeof *texts, by_length);
        for (;;) {
            size_t size = memory->size;
            status = prnn_classify_many(self->classifier, texts, (size_t)count, &done, memory->bytes, &size);
            if (status != PRNN_MEMORY || !grow_memory(memory, size))
                break;
        }
        for (Py_ssize_t i = 0; i < count; i++)
            ((uint8_t *)statuses.buf)[(size_t)(texts[i].logits - logits) / classes] = (uint8_t)texts[i].status;
        take_lock_again(memory);
        result = status == PRNN_OK ? Py_NewRef(Py_None) : raise_engine_error(object, status);
        give_memory_back(self, memory);
    }
    for (Py_ssize_t i = 0; held && i < count; i++)
        Py_XDECREF(held[i]);
    free(texts);
    free(held);
    PyBuffer_Release(&out);
    PyBuffer_Release(&statuses);
    return result;
}

/* The arguments for many inputs, with `width` numbers in the result for each input, or for each of its ids. The inputs are joined;
 * each id or step takes `bytes` bytes, and an int64 for each input counts them. Otherwise as above. */
static PyObject *answer_many(Packed *self, PyObject *arguments, size_t bytes, size_t width, int for_ids, question *ask)
{
    PyObject *result = NULL;
    Py_buffer inputs, lengths, out, statuses;
    if (!PyArg_ParseTuple(arguments, "y*y*w*w*", &inputs, &lengths, &out, &statuses))
        return NULL;
    size_t count = (size_t)lengths.len / sizeof(int64_t), left = (size_t)inputs.len / bytes;
    const int64_t *each = lengths.buf;
    struct memory *memory = NULL;
    size_t rows = for_ids ? left : count;
    if ((size_t)out.len != rows * width * sizeof(float) || (size_t)statuses.len != count)
        PyErr_SetString(PyExc_ValueError, "The buffers are not as long as the inputs are many.");
    else
        memory = take_memory(self);
    if (memory) {
        int status = PRNN_OK;
        const char *at = inputs.buf;
        float *numbers = out.buf;
        release_lock(memory);
        for (size_t i = 0; i < count && status == PRNN_OK; i++) {
            if (each[i] < 0 || (uint64_t)each[i] > left) {
                status = PRNN_ARGUMENT;
                break;
            }
            int own = ask_with_memory(ask, self->classifier, at, (size_t)each[i], numbers, memory);
            numbers += (for_ids ? (size_t)each[i] : 1) * width;
            ((uint8_t *)statuses.buf)[i] = (uint8_t)own;
            if (own == PRNN_MEMORY || own == PRNN_STOPPED)
                status = own;
            at += (size_t)each[i] * bytes;
            left -= (size_t)each[i];
        }
        take_lock_again(memory);
        give_memory_back(self, memory);
        result = status == PRNN_OK ? Py_NewRef(Py_None) : raise_engine_error((PyObject *)self, status);
    }
    PyBuffer_Release(&inputs);
    PyBuffer_Release(&lengths);
    PyBuffer_Release(&out);
    PyBuffer_Release(&statuses);
    return result;
}

static PyObject *packed_logits_of_ids(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    int for_ids = prnn_labels_tokens(self->classifier);
    return answer_many(self, arguments, sizeof(int32_t), prnn_classes(self->classifier), for_ids, for_ids ? logits_of_tokens : logits_of_ids);
}

static PyObject *packed_embeddings_of_ids(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    return answer_many(self, arguments, sizeof(int32_t), prnn_embedding_size(self->classifier), 0, embedding_of_ids);
}

static PyObject *packed_embedding_size(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLong(prnn_embedding_size(((Packed *)self)->classifier));
}

/* Sequences of numbers in the form of the program's input, float32. */
static PyObject *packed_logits_of_samples(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    size_t channels = prnn_channels(self->classifier);
    if (!channels)
        return raise_engine_error(object, PRNN_INPUT);
    return answer_many(self, arguments, channels * sizeof(float), prnn_classes(self->classifier), 0, logits_of_samples);
}

/* Answer a sequence of zeros in this much working memory, which begins where alignment loses most; `stream` is NULL for samples in
 * the form of the program's input. With PRNN_MEMORY, *size is the size to try. */
static int answer_zeros_in(const prnn *p, prnn_stream *stream, size_t steps, size_t *size)
{
    float *samples = calloc(steps * prnn_channels(p) + 1, sizeof *samples), *logits = calloc(prnn_classes(p) + 1, sizeof *logits);
    char *memory = malloc(*size + 3 * IN_FRONT), *begin = memory;
    const volatile unsigned never = 0;
    struct memory in_front = {.stops = &never};
    if (memory) {
        begin += 2 * IN_FRONT - (uintptr_t)memory % IN_FRONT + 1;
        /* A long computation asks what stands there (`asked`). */
        struct memory *asked_for = &in_front;
        memcpy(begin - IN_FRONT, &asked_for, sizeof asked_for);
    }
    int status = PRNN_STOPPED;
    if (samples && logits && memory)
        status = stream ? prnn_stream_push_numbers(p, stream, samples, PRNN_FLOAT32, steps, logits, begin, size)
                        : prnn_logits_of_samples(p, samples, steps, logits, begin, size);
    free(memory);
    free(logits);
    free(samples);
    return status;
}

/* The least working memory, to 16 bytes. The engine suggests more than that. 0 if it fails for another reason. */
static size_t find_least_memory(const prnn *p, prnn_stream *stream, size_t steps)
{
    size_t few = 0, enough = 0, size = 0;
    int status;
    while ((status = answer_zeros_in(p, stream, steps, &size)) == PRNN_MEMORY)
        few = enough, enough = size;
    if (status != PRNN_OK)
        return 0;
    while (enough - few > 16) {
        size_t middle = size = few + (enough - few) / 2;
        if (answer_zeros_in(p, stream, steps, &size) == PRNN_OK)
            enough = middle;
        else
            few = middle;
    }
    return (enough + 15) / 16 * 16;
}

/* The memory for a program that reads the file in place: to open it, for one sequence with this number of steps, for a stream, and
 * for one step of the stream; 0 for what the file does not have. */
static PyObject *packed_memory(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    const prnn *p = self->classifier, *again;
    Py_ssize_t steps;
    if (!PyArg_ParseTuple(arguments, "n", &steps))
        return NULL;
    if (!prnn_channels(p) || steps < 0)
        return raise_engine_error(object, PRNN_INPUT);
    size_t opened = 0, stream = prnn_stream_size(p), of_stream = 0;
    prnn_open_in_place(&again, self->file.buf, (size_t)self->file.len, NULL, &opened);
    void *memory = stream ? malloc(stream) : NULL;
    prnn_stream *begun;
    size_t size = stream;
    if (memory && prnn_stream_open(p, &begun, memory, &size) == PRNN_OK)
        of_stream = find_least_memory(p, begun, 1);
    free(memory);
    size_t of_steps = steps ? find_least_memory(p, NULL, (size_t)steps) : 0;
    if (PyErr_Occurred())
        return NULL;
    return Py_BuildValue("(nnnn)", (Py_ssize_t)opened, (Py_ssize_t)of_steps, (Py_ssize_t)stream, (Py_ssize_t)of_stream);
}

/* How many steps a buffer of samples of a type has; -1 with an error unless this is an integer. */
static Py_ssize_t count_steps(PyObject *object, const Py_buffer *samples, int type)
{
    uint32_t channels = prnn_channels(((Packed *)object)->classifier);
    Py_ssize_t each = (Py_ssize_t)channels * (type == PRNN_INT16 ? 2 : type == PRNN_FLOAT64 ? 8 : 4);
    if (!channels)
        raise_engine_error(object, PRNN_INPUT);
    else if (type < PRNN_FLOAT32 || type > PRNN_INT32 || samples->len % each)
        PyErr_SetString(PyExc_ValueError, "The samples are not a whole number of steps.");
    else
        return samples->len / each;
    return -1;
}

/* Convert samples from the sensor's form to the program's input, into a buffer of float32. */
static PyObject *packed_prepare(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *result = NULL;
    Py_buffer samples, out;
    int type;
    if (!PyArg_ParseTuple(arguments, "y*iw*", &samples, &type, &out))
        return NULL;
    Py_ssize_t steps = count_steps(object, &samples, type);
    if (steps >= 0 && out.len != steps * (Py_ssize_t)(prnn_channels(self->classifier) * sizeof(float)))
        PyErr_SetString(PyExc_ValueError, "The buffer is not as long as the samples.");
    else if (steps >= 0) {
        int status = prnn_prepare(self->classifier, samples.buf, type, (size_t)steps, out.buf);
        result = status ? raise_engine_error(object, status) : Py_NewRef(Py_None);
    }
    PyBuffer_Release(&samples);
    PyBuffer_Release(&out);
    return result;
}

/* The logits of one sequence in the sensor's form, as a list. */
static PyObject *packed_logits_of_numbers(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *result = NULL;
    Py_buffer samples;
    int type;
    if (!PyArg_ParseTuple(arguments, "y*i", &samples, &type))
        return NULL;
    uint32_t classes = prnn_classes(self->classifier);
    Py_ssize_t steps = count_steps(object, &samples, type);
    float *logits = steps < 0 ? NULL : malloc(classes * sizeof *logits);
    struct memory *memory = logits ? take_memory(self) : NULL;
    if (memory) {
        int status;
        size_t size;
        release_lock(memory);
        do {
            size = memory->size;
            status = prnn_classify_numbers(self->classifier, samples.buf, type, (size_t)steps, logits, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        take_lock_again(memory);
        give_memory_back(self, memory);
        result = status == PRNN_OK ? make_float_list(logits, classes) : raise_engine_error(object, status);
    } else if (steps >= 0 && !logits)
        raise_no_memory(object);
    free(logits);
    PyBuffer_Release(&samples);
    return result;
}

static PyObject *make_string_tuple(Packed *self, const char *(*get)(const prnn *, uint32_t, size_t *))
{
    PyObject *list = PyList_New(0);
    size_t bytes;
    const char *utf8;
    for (uint32_t i = 0; list && (utf8 = get(self->classifier, i, &bytes)) != NULL; i++) {
        PyObject *string = make_string((PyObject *)self, utf8, bytes);
        if (!string || PyList_Append(list, string) < 0)
            Py_CLEAR(list);
        Py_XDECREF(string);
    }
    return list;
}

static PyObject *packed_labels(PyObject *self, PyObject *Py_UNUSED(none)) { return make_string_tuple((Packed *)self, prnn_label); }
static PyObject *packed_tokens(PyObject *self, PyObject *Py_UNUSED(none)) { return make_string_tuple((Packed *)self, prnn_token); }

static PyObject *packed_channels(PyObject *self, PyObject *Py_UNUSED(none)) { return make_string_tuple((Packed *)self, prnn_channel); }

static PyObject *packed_gives_values(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(prnn_gives_values(((Packed *)self)->classifier));
}

static PyObject *packed_window(PyObject *self, PyObject *Py_UNUSED(none))
{
    uint32_t window, hop;
    prnn_window(((Packed *)self)->classifier, &window, &hop);
    return Py_BuildValue("(II)", window, hop);
}

static PyObject *packed_document(PyObject *self, PyObject *Py_UNUSED(none))
{
    size_t bytes;
    const char *document = prnn_document(((Packed *)self)->classifier, &bytes);
    return PyBytes_FromStringAndSize(document, (Py_ssize_t)bytes);
}

static PyObject *packed_limits(PyObject *self, PyObject *Py_UNUSED(none))
{
    uint32_t least, most, ids;
    prnn_limits(((Packed *)self)->classifier, &least, &most, &ids);
    return Py_BuildValue("(III)", least, most, ids);
}

static PyObject *packed_is_multi_label(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(prnn_is_multi_label(((Packed *)self)->classifier));
}

static PyObject *packed_labels_tokens(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(prnn_labels_tokens(((Packed *)self)->classifier));
}

static PyObject *packed_examples(PyObject *object, PyObject *Py_UNUSED(none))
{
    const prnn *classifier = ((Packed *)object)->classifier;
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < prnn_examples(classifier); i++) {
        const char *text;
        const int32_t *ids;
        const float *logits;
        size_t bytes, count;
        int status = prnn_example(classifier, i, &text, &bytes, &ids, &count, &logits);
        if (status) {
            Py_DECREF(list);
            return raise_engine_error(object, status);
        }
        PyObject *given = make_string(object, text, bytes), *numbers = PyList_New((Py_ssize_t)count);
        for (size_t k = 0; numbers && k < count; k++) {
            PyObject *id = PyLong_FromLong(ids[k]);
            if (!id || PyList_SetItem(numbers, (Py_ssize_t)k, id) < 0)
                Py_CLEAR(numbers);
        }
        size_t rows = prnn_labels_tokens(classifier) ? count : 1;
        PyObject *answer = make_float_list(logits, rows * prnn_classes(classifier));
        PyObject *example = given && numbers && answer ? PyTuple_Pack(3, given, numbers, answer) : NULL;
        if (!example || PyList_Append(list, example) < 0)
            Py_CLEAR(list);
        Py_XDECREF(example);
        Py_XDECREF(given);
        Py_XDECREF(numbers);
        Py_XDECREF(answer);
    }
    return list;
}

/* The heads of a classifier that has several, as (name, number of labels, whether each label is decided separately). */
static PyObject *packed_heads(PyObject *object, PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0);
    struct prnn_head head;
    for (uint32_t i = 0; list && prnn_head(((Packed *)object)->classifier, i, &head) && head.name; i++) {
        PyObject *name = make_string(object, head.name, head.bytes);
        PyObject *one = name ? Py_BuildValue("(OIN)", name, head.labels, PyBool_FromLong(head.is_multi_label)) : NULL;
        if (!one || PyList_Append(list, one) < 0)
            Py_CLEAR(list);
        Py_XDECREF(one);
        Py_XDECREF(name);
    }
    return list;
}

static PyObject *packed_probabilities(PyObject *object, PyObject *logits)
{
    Packed *self = (Packed *)object;
    uint32_t classes = prnn_classes(self->classifier);
    PyObject *result = NULL;
    if (!PyList_Check(logits) || PyList_Size(logits) != (Py_ssize_t)classes) {
        PyErr_SetString(PyExc_ValueError, "There must be as many logits as labels, in a list.");
        return NULL;
    }
    float *numbers = malloc(classes * sizeof *numbers);
    if (!numbers)
        return raise_no_memory(object);
    for (uint32_t i = 0; i < classes; i++)
        numbers[i] = (float)PyFloat_AsDouble(PyList_GetItem(logits, i));
    if (!PyErr_Occurred()) {
        int status = prnn_probabilities(self->classifier, numbers, numbers);
        result = status ? raise_engine_error(object, status) : make_float_list(numbers, classes);
    }
    free(numbers);
    return result;
}

static PyObject *packed_state_size(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLong(prnn_state_size(((Packed *)self)->classifier));
}

/* Run one step: int32 ids, or samples in the form of the program's input, and a state; write the logits and the new state into
 * buffers of float32. */
static PyObject *packed_step(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *result = NULL;
    Py_buffer ids, state, logits, new_state;
    if (!PyArg_ParseTuple(arguments, "y*y*w*w*", &ids, &state, &logits, &new_state))
        return NULL;
    Py_ssize_t of_state = (Py_ssize_t)(prnn_state_size(self->classifier) * sizeof(float));
    size_t channels = prnn_channels(self->classifier);
    struct memory *memory = NULL;
    if (state.len != of_state || new_state.len != of_state ||
        logits.len != (Py_ssize_t)(prnn_classes(self->classifier) * sizeof(float)) ||
        (channels && ids.len % (Py_ssize_t)(channels * sizeof(float))))
        PyErr_SetString(PyExc_ValueError, "The buffers are not as long as the samples, the state and the logits are.");
    else
        memory = take_memory(self);
    if (memory) {
        int status;
        release_lock(memory);
        size_t size;
        do {
            size = memory->size;
            status = channels ? prnn_step_samples(self->classifier, ids.buf, (size_t)ids.len / (channels * sizeof(float)), state.buf,
                                                  logits.buf, new_state.buf, memory->bytes, &size)
                              : prnn_step(self->classifier, ids.buf, (size_t)ids.len / sizeof(int32_t), state.buf, logits.buf,
                                          new_state.buf, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        take_lock_again(memory);
        give_memory_back(self, memory);
        result = status == PRNN_OK ? Py_NewRef(Py_None) : raise_engine_error(object, status);
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&state);
    PyBuffer_Release(&logits);
    PyBuffer_Release(&new_state);
    return result;
}

/* An integer product, for the proof: float32 x [rows, k] in; int8 [rows, k] and int32 [rows, n] out. */
static PyObject *packed_integers(PyObject *object, PyObject *arguments)
{
    Packed *self = (Packed *)object;
    PyObject *result = NULL;
    Py_buffer x, rounded, sums;
    unsigned value;
    int as_states;
    if (!PyArg_ParseTuple(arguments, "Iy*pw*w*", &value, &x, &as_states, &rounded, &sums))
        return NULL;
    size_t k, n;
    prnn_integers_shape(self->classifier, value, &k, &n);
    size_t rows = k ? (size_t)rounded.len / k : 0;
    struct memory *memory = NULL;
    if (!k || (size_t)rounded.len != rows * k || (size_t)x.len != rows * k * sizeof(float) ||
        (size_t)sums.len != rows * n * sizeof(int32_t))
        PyErr_SetString(PyExc_ValueError, "The buffers do not fit weights of integers.");
    else
        memory = take_memory(self);
    if (memory) {
        int status;
        size_t size;
        do {
            size = memory->size;
            status = prnn_integers(self->classifier, value, x.buf, rows, as_states, rounded.buf, sums.buf, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        give_memory_back(self, memory);
        result = status == PRNN_OK ? Py_NewRef(Py_None) : raise_engine_error(object, status);
    }
    PyBuffer_Release(&x);
    PyBuffer_Release(&rounded);
    PyBuffer_Release(&sums);
    return result;
}

static void packed_free(PyObject *object)
{
    Packed *self = (Packed *)object;
    PyTypeObject *type = Py_TYPE(object);
    while (self->idle) {
        struct memory *memory = self->idle;
        self->idle = memory->next;
        free_memory(memory);
    }
    free(self->opened_in);
    if (self->has_file)
        PyBuffer_Release(&self->file);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *packed_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *file;
    static char *names[] = {"file", "extra", "in_place", NULL};
    Py_ssize_t extra = 0;
    int in_place = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|np", names, &file, &extra, &in_place))
        return NULL;
    if (extra < 0 || extra > 1 << 30) {
        PyErr_SetString(PyExc_ValueError, "The memory for products of words is out of range.");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Packed *self = (Packed *)allocate(type, 0);
    if (!self)
        return NULL;
    if (PyObject_GetBuffer(file, &self->file, PyBUF_SIMPLE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->has_file = 1;
    size_t size = 0;
    int (*opens)(const prnn **, const void *, size_t, void *, size_t *) = in_place ? prnn_open_in_place : prnn_open;
    int status = opens(&self->classifier, self->file.buf, (size_t)self->file.len, NULL, &size);
    if (status == PRNN_MEMORY) {
        size += (size_t)extra;
        self->opened_in = size > PTRDIFF_MAX ? NULL : malloc(size);
        if (self->opened_in)
            status = opens(&self->classifier, self->file.buf, (size_t)self->file.len, self->opened_in, &size);
    }
    if (status != PRNN_OK) {
        raise_engine_error((PyObject *)self, status);
        Py_DECREF(self);
        return NULL;
    }
    prnn_ask(self->classifier, asked);
    return (PyObject *)self;
}

static PyObject *packed_stop(PyObject *self, PyObject *Py_UNUSED(none))
{
    ((Packed *)self)->stops++;
    return Py_NewRef(Py_None);
}

static PyObject *stream_push(PyObject *object, PyObject *fragment)
{
    Stream *self = (Stream *)object;
    PyObject *held = NULL, *result = NULL;
    Py_ssize_t bytes;
    char *begun;
    const char *text;
    if (PyBytes_Check(fragment)) {
        held = Py_NewRef(fragment);
        text = PyBytes_AsStringAndSize(fragment, &begun, &bytes) < 0 ? NULL : begun;
    } else
        text = encode_utf8(fragment, &bytes, &held);
    const prnn *classifier = self->packed->classifier;
    float *logits = text ? malloc(prnn_classes(classifier) * sizeof *logits) : NULL;
    struct memory *memory = logits ? take_memory(self->packed) : NULL;
    if (memory) {
        int status;
        size_t size;
        do {
            size = memory->size;
            status = prnn_stream_push(classifier, self->stream, text, (size_t)bytes, logits, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        give_memory_back(self->packed, memory);
        result = status == PRNN_OK ? make_float_list(logits, prnn_classes(classifier)) : raise_engine_error(object, status);
    } else if (text && !logits)
        raise_no_memory(object);
    free(logits);
    Py_XDECREF(held);
    return result;
}

/* Read more samples in the sensor's form; the logits of all samples so far, as a list. */
static PyObject *stream_push_numbers(PyObject *object, PyObject *arguments)
{
    Stream *self = (Stream *)object;
    PyObject *result = NULL;
    Py_buffer samples;
    int type;
    if (!PyArg_ParseTuple(arguments, "y*i", &samples, &type))
        return NULL;
    const prnn *classifier = self->packed->classifier;
    Py_ssize_t steps = count_steps((PyObject *)self->packed, &samples, type);
    float *logits = steps < 0 ? NULL : malloc(prnn_classes(classifier) * sizeof *logits);
    struct memory *memory = logits ? take_memory(self->packed) : NULL;
    if (memory) {
        int status;
        size_t size;
        do {
            size = memory->size;
            status = prnn_stream_push_numbers(classifier, self->stream, samples.buf, type, (size_t)steps, logits, memory->bytes, &size);
        } while (status == PRNN_MEMORY && grow_memory(memory, size));
        give_memory_back(self->packed, memory);
        result = status == PRNN_OK ? make_float_list(logits, prnn_classes(classifier)) : raise_engine_error(object, status);
    } else if (steps >= 0 && !logits)
        raise_no_memory(object);
    free(logits);
    PyBuffer_Release(&samples);
    return result;
}

static PyObject *stream_save(PyObject *object, PyObject *Py_UNUSED(none))
{
    Stream *self = (Stream *)object;
    size_t size = 0;
    prnn_stream_save(self->packed->classifier, self->stream, NULL, &size);
    PyObject *saved = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    int status = saved ? prnn_stream_save(self->packed->classifier, self->stream, PyBytes_AsString(saved), &size)
                       : PRNN_OK;
    if (status == PRNN_OK)
        return saved;
    Py_DECREF(saved);
    return raise_engine_error(object, status);
}

static PyObject *stream_reset(PyObject *object, PyObject *Py_UNUSED(none))
{
    Stream *self = (Stream *)object;
    prnn_stream_reset(self->packed->classifier, self->stream);
    return Py_NewRef(Py_None);
}

static void stream_free(PyObject *object)
{
    Stream *self = (Stream *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->stream);
    Py_XDECREF((PyObject *)self->packed);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    State *state = PyType_GetModuleState(type);
    PyObject *packed;
    Py_buffer saved = {0};
    if (!state)
        return NULL;
    if (keywords && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "Stream takes a packed classifier, and what a stream has saved.");
        return NULL;
    }
    /* Not y#: code compiled with the headers of Python 3.13 would then not run on earlier versions. */
    if (!PyArg_ParseTuple(arguments, "O!|y*", (PyTypeObject *)state->packed_type, &packed, &saved))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Stream *self = (Stream *)allocate(type, 0);
    if (self) {
        self->packed = (Packed *)Py_NewRef(packed);
        size_t size = prnn_stream_size(self->packed->classifier);
        void *memory = size ? malloc(size) : NULL;
        int status = prnn_stream_open(self->packed->classifier, &self->stream, memory, &size);
        if (status == PRNN_OK && saved.obj)
            status = prnn_stream_resume(self->packed->classifier, self->stream, saved.buf, (size_t)saved.len);
        if (status != PRNN_OK)
            raise_engine_error((PyObject *)self, status);
        if (status != PRNN_OK)
            Py_CLEAR(self);
    }
    if (saved.obj)
        PyBuffer_Release(&saved);
    return (PyObject *)self;
}

static PyMethodDef stream_methods[] = {
    {"push", stream_push, METH_O, "Read a further fragment, a string or UTF-8: the logits of all the text so far, a list."},
    {"push_numbers", stream_push_numbers, METH_VARARGS,
     "Read further samples as the sensor gives them, and their type: the logits of all samples so far, a list."},
    {"save", stream_save, METH_NOARGS, "All that is needed to go on elsewhere, bytes."},
    {"reset", stream_reset, METH_NOARGS, "Forget the text."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new},
    {Py_tp_dealloc, stream_free},
    {Py_tp_methods, stream_methods},
    {Py_tp_doc, "Stream(packed, saved=None): a text that arrives in fragments, for one thread at a time."},
    {0, NULL}};

static PyType_Spec stream_spec = {"pocketrnn_native._engine.Stream", sizeof(Stream), 0, Py_TPFLAGS_DEFAULT, stream_slots};

static PyMethodDef packed_methods[] = {
    {"logits", packed_logits, METH_O, "The logits of a text, a list."},
    {"encode", packed_encode, METH_O, "The token ids of a text, a list."},
    {"encode_tokens", packed_encode_tokens, METH_O, "The token ids of a text that is cut already, a list of its tokens."},
    {"tag", packed_tag, METH_O,
     "The tags of a text, or of a list of its tokens: (start, end, label, probability) for each token in a list; of one without a label "
     "None and None. Where labels are of tokens."},
    {"labels_tokens", packed_labels_tokens, METH_NOARGS, "Whether the labels are those of a text's tokens."},
    {"check_ids", packed_check_ids, METH_O, "OK where the rules may make these ids, int32, of some text; else why not, a status."},
    {"logits_of_texts", packed_logits_of_texts, METH_VARARGS,
     "(texts, logits, statuses): the logits of a list of texts into a buffer of float32, and a status for each."},
    {"logits_of_ids", packed_logits_of_ids, METH_VARARGS,
     "(ids, lengths, logits, statuses): the same of ids, int32 with int64 lengths. Where labels are of tokens, logits for each id."},
    {"embedding_size", packed_embedding_size, METH_NOARGS,
     "How many numbers stand before the last linear layer; 0 where no one layer makes the logits."},
    {"embeddings_of_ids", packed_embeddings_of_ids, METH_VARARGS,
     "(ids, lengths, embeddings, statuses): the numbers before the last linear layer, as logits_of_ids."},
    {"probabilities", packed_probabilities, METH_O, "The probabilities of a list of logits, a list."},
    {"labels", packed_labels, METH_NOARGS, "The labels, a list."},
    {"tokens", packed_tokens, METH_NOARGS, "The vocabulary, a list."},
    {"document", packed_document, METH_NOARGS, "The file's document, bytes of JSON."},
    {"limits", packed_limits, METH_NOARGS, "The fewest and the most ids of a text, and how many ids there are."},
    {"is_multi_label", packed_is_multi_label, METH_NOARGS, "Whether each label is right or wrong by itself."},
    {"logits_beside", packed_logits_beside, METH_VARARGS, "The logits of a text with a second one, or with a list of numbers for its features."},
    {"feature", packed_feature, METH_VARARGS, "What the program is given for the number or the category of a feature."},
    {"features", packed_features, METH_NOARGS, "Name, and whether it is a category, of each feature."},
    {"takes_pairs", packed_takes_pairs, METH_NOARGS, "Whether it takes two texts."},
    {"heads", packed_heads, METH_NOARGS, "Name, number of labels, and whether each is decided by itself; of several heads."},
    {"state_size", packed_state_size, METH_NOARGS, "How many numbers a stream keeps; 0 if there are no streams."},
    {"integers", packed_integers, METH_VARARGS,
     "integers(value, x, as_states, rounded, sums)\n--\n\nFor a proof: x, float32 [rows, k], rounded to int8 as weights of "
     "integers multiply it, and the sums, int32 [rows, n]."},
    {"step", packed_step, METH_VARARGS,
     "(ids, state, logits, new_state): read on, with int32 ids and buffers of float32."},
    {"stop", packed_stop, METH_NOARGS, "End the calls of all threads that are under way, within milliseconds: they raise."},
    {"logits_of_samples", packed_logits_of_samples, METH_VARARGS,
     "(samples, steps, logits, statuses): the same of sequences of numbers as the program is given them, float32 with int64 "
     "numbers of steps."},
    {"logits_of_numbers", packed_logits_of_numbers, METH_VARARGS,
     "(samples, type): the logits, or values, of one sequence as the sensor gives it, a list. Types are FLOAT32, FLOAT64, INT16 "
     "and INT32."},
    {"prepare", packed_prepare, METH_VARARGS,
     "(samples, type, prepared): what the program is given for samples as the sensor gives them, into a buffer of float32."},
    {"channels", packed_channels, METH_NOARGS, "The channels of a sequence of numbers, a list; none where it takes texts."},
    {"gives_values", packed_gives_values, METH_NOARGS, "Whether the logits are values, of a regression or a forecast."},
    {"memory", packed_memory, METH_VARARGS,
     "(steps): bytes that a program needs to open the file in place, for a sequence of so many steps, for a stream, and for a step of "
     "it; 0 of what there is not."},
    {"window", packed_window, METH_NOARGS,
     "How many steps of a recording are answered at once, and how far the next ones begin after; zeros where that is open."},
    {"examples", packed_examples, METH_NOARGS, "The golden examples: (text, ids, logits) in a list."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot packed_slots[] = {
    {Py_tp_new, packed_new},
    {Py_tp_dealloc, packed_free},
    {Py_tp_methods, packed_methods},
    {Py_tp_doc, "Packed(file, extra=0, in_place=False): a packed classifier, opened in an object that holds the file's bytes. "
     "Products of words fill `extra` bytes of memory, which saves time. In place, weights stay as they are in the file, as on a "
     "machine with little memory: the same answers, in more time."},
    {0, NULL}};

static PyType_Spec packed_spec = {"pocketrnn_native._engine.Packed", sizeof(Packed), 0, Py_TPFLAGS_DEFAULT, packed_slots};

static PyType_Slot error_slots[] = {
    {Py_tp_str, error_as_string},
    {Py_tp_doc, "The engine refuses a file or a text, or has too little memory: a status, and a sentence that says why."},
    {0, NULL}};

static PyType_Spec error_spec = {"pocketrnn_native._engine.EngineError", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                                 error_slots};

/* The version of this module's functions and of the files that it reads. When it is raised here, it is also raised in
 * runtime/pocketrnn/engines/native.py, which refuses other versions. */
enum { INTERFACE = 7 };

static int prepare_module(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->error = PyType_FromSpecWithBases(&error_spec, PyExc_Exception);
    if (!state->error || PyModule_AddObjectRef(module, "EngineError", state->error) < 0)
        return -1;
    state->packed_type = PyType_FromModuleAndSpec(module, &packed_spec, NULL);
    if (!state->packed_type || PyModule_AddObjectRef(module, "Packed", state->packed_type) < 0)
        return -1;
    PyObject *type = PyType_FromModuleAndSpec(module, &stream_spec, NULL);
    int added = type ? PyModule_AddObjectRef(module, "Stream", type) : -1;
    Py_XDECREF(type);
    const struct {
        const char *name;
        int value;
    } statuses[] = {{"OK", PRNN_OK}, {"MEMORY", PRNN_MEMORY}, {"NO_FILE", PRNN_NO_FILE}, {"VERSION", PRNN_VERSION}, {"DAMAGED", PRNN_DAMAGED},
                    {"CONTENT", PRNN_CONTENT}, {"TOO_SHORT", PRNN_TOO_SHORT}, {"TOO_LONG", PRNN_TOO_LONG},
                    {"ID", PRNN_ID}, {"NOT_FINITE", PRNN_NOT_FINITE}, {"TEXT", PRNN_TEXT}, {"NO_WORD", PRNN_NO_WORD},
                    {"NO_STREAM", PRNN_NO_STREAM}, {"UNDECIDED", PRNN_UNDECIDED}, {"SAVED", PRNN_SAVED},
                    {"COSTLY", PRNN_COSTLY}, {"STOPPED", PRNN_STOPPED}, {"WAITING", PRNN_WAITING},
                    {"INPUT", PRNN_INPUT}, {"MISSING", PRNN_MISSING}, {"VALUES", PRNN_VALUES}, {"FAR", PRNN_FAR},
                    {"NO_PROGRAM", PRNN_NO_PROGRAM}, {"FEW_IDS", PRNN_FEW_IDS}, {"MANY_IDS", PRNN_MANY_IDS}, {"BEGIN", PRNN_BEGIN},
                    {"END", PRNN_END}, {"LARGE", PRNN_LARGE}, {"LABELS", PRNN_LABELS}, {"PLACES", PRNN_PLACES}, {"UNKNOWN", PRNN_UNKNOWN}, {"ARGUMENT", PRNN_ARGUMENT},
                    {"FLOAT32", PRNN_FLOAT32},
                    {"FLOAT64", PRNN_FLOAT64}, {"INT16", PRNN_INT16}, {"INT32", PRNN_INT32}};
    for (size_t i = 0; !added && i < sizeof statuses / sizeof *statuses; i++)
        added = PyModule_AddIntConstant(module, statuses[i].name, statuses[i].value);
    return added ? added : PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static PyObject *sentence(PyObject *Py_UNUSED(module), PyObject *status)
{
    long number = PyLong_AsLong(status);
    return number == -1 && PyErr_Occurred() ? NULL : PyUnicode_FromString(prnn_error((int)number));
}

static PyMethodDef module_methods[] = {{"sentence", sentence, METH_O, "The meaning of a status."}, {NULL, NULL, 0, NULL}};

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->error);
    Py_VISIT(state->packed_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->error);
    Py_CLEAR(state->packed_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, prepare_module}, {0, NULL}};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "_engine", "The engine of packed classifiers.", sizeof(State), module_methods, module_slots,
    module_traverse, module_clear, NULL};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module_definition); }

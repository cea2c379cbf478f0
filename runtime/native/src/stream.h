/* ---- A text that arrives in fragments; part of pocketrnn.c --------------------------------------------------------
 *
 * A token is read for good, into the state, when nothing that may follow can change it. What is left is the tail: it is
 * read on a copy of the state for the answer, and waits for its end. runtime/pocketrnn/stream.py says what makes a
 * token wait; this does the same on UTF-8. */

/* Holds no pointer, so that it may be copied. Behind it stand the numbers of the state, the logits of what was read for
 * good, and the text that waits: the begin of a character, the tail, and what is not lower-cased yet. */
struct prnn_stream {
    uint32_t magic, bytes; /* as it is saved */
    uint64_t sum;          /* likewise */
    uint32_t file[8];      /* the sha256 in the classifier's file */
    uint64_t tokens, ids;  /* read for good; ids are fewer where unknown words are dropped */
    uint32_t after_cased;  /* whether a capital sigma that came next would stand after a cased letter */
    uint32_t number_size, cut, tail, undecided; /* the last three in bytes */
    uint32_t zero;
};
enum { STREAM_MAGIC = 0x53525050, MOST_UNDECIDED = 4096, BREAK_SIZE = 6 };

static real *state_of(const prnn_stream *s) { return (real *)(uintptr_t)(s + 1); }
static real *answer_of(const prnn *p, const prnn_stream *s) { return state_of(s) + p->step.state_size; }

static uint8_t *waiting_of(const prnn *p, const prnn_stream *s)
{
    return (uint8_t *)(answer_of(p, s) + p->header[H_CLASSES]);
}

/* The bytes of the head and the numbers. */
static uint64_t fixed_size(const prnn *p)
{
    return sizeof(prnn_stream) + ((uint64_t)p->step.state_size + p->header[H_CLASSES]) * sizeof(real);
}

static uint64_t in_eights(uint64_t bytes) { return (bytes + 7) & ~(uint64_t)7; }

/* The most code points of a tail: as many as show that it is no token of the vocabulary, and a line break's. */
static uint64_t most_of_tail(const prnn *p) { return (uint64_t)p->longest + 1 + BREAK_SIZE; }

size_t prnn_stream_size(const prnn *p)
{
    uint64_t text = 3 + 4 * most_of_tail(p) + (p->rules.lowercase ? 4 * (uint64_t)MOST_UNDECIDED : 0);
    uint64_t whole = in_eights(fixed_size(p) + text);
    return p->step.op_count && whole <= INT32_MAX ? (size_t)whole : 0;
}

uint32_t prnn_state_size(const prnn *p) { return p->step.state_size; }

static int is_stream_of(const prnn *p, const prnn_stream *s)
{
    return s->magic == STREAM_MAGIC && s->number_size == sizeof(real) && !memcmp(s->file, p->header + H_SHA, 32);
}

void prnn_stream_reset(const prnn *p, prnn_stream *s)
{
    memset(s, 0, (size_t)in_eights(fixed_size(p)));
    s->magic = STREAM_MAGIC;
    s->bytes = (uint32_t)in_eights(fixed_size(p));
    s->number_size = sizeof(real);
    memcpy(s->file, p->header + H_SHA, 32);
}

int prnn_stream_open(const prnn *p, prnn_stream **stream, void *memory, size_t *size)
{
    size_t needed = prnn_stream_size(p);
    if (!needed)
        return PRNN_NO_STREAM;
    if (!memory || *size < needed) {
        *size = needed;
        return PRNN_MEMORY;
    }
    if ((uintptr_t)memory % 8)
        return PRNN_ARGUMENT;
    *stream = memory;
    prnn_stream_reset(p, *stream);
    return PRNN_OK;
}

/* ---- What was saved ---- */

static uint64_t sum_of(const prnn_stream *s)
{
    uint64_t sum = 14695981039346656037u;
    const uint32_t *words = (const uint32_t *)(const void *)s;
    for (uint32_t i = 4; i < s->bytes / 4; i++) /* behind the sum */
        sum = (sum ^ words[i]) * 1099511628211u;
    return sum;
}

int prnn_stream_save(const prnn *p, const prnn_stream *s, void *saved, size_t *size)
{
    if (!is_stream_of(p, s))
        return PRNN_SAVED;
    if (!saved || *size < s->bytes) {
        *size = s->bytes;
        return PRNN_MEMORY;
    }
    uint64_t sum = sum_of(s);
    *size = s->bytes;
    memcpy(saved, s, s->bytes);
    memcpy((uint8_t *)saved + offsetof(prnn_stream, sum), &sum, sizeof sum);
    return PRNN_OK;
}

/* The code points of valid UTF-8. */
static uint64_t points_of(const uint8_t *text, size_t bytes)
{
    uint64_t points = 0;
    for (size_t i = 0; i < bytes; i++)
        points += text[i] >> 6 != 2;
    return points;
}

/* Whether up to three bytes are the begin of one code point, and not all of it. */
static int is_begun(const uint8_t *at, size_t bytes)
{
    size_t whole = *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
    uint8_t least[4] = {0x80, 0x80, 0x80, 0x80}, most[4] = {0xBF, 0xBF, 0xBF, 0xBF};
    if (!bytes || bytes >= whole)
        return 0;
    memcpy(least, at, bytes);
    memcpy(most, at, bytes);
    const uint8_t *low = least, *high = most;
    return decoded(&low, least + whole) >= 0 || decoded(&high, most + whole) >= 0;
}

static int is_within(const prnn *p, const prnn_stream *s)
{
    const uint8_t *text = waiting_of(p, s), *tail = text + s->cut, *undecided = tail + s->tail;
    uint64_t numbers = (uint64_t)p->step.state_size + p->header[H_CLASSES];
    if ((s->cut && !is_begun(text, s->cut)) || !is_utf8(tail, s->tail) || !is_utf8(undecided, s->undecided) ||
        points_of(tail, s->tail) > most_of_tail(p) || points_of(undecided, s->undecided) > MOST_UNDECIDED ||
        (s->undecided && !p->rules.lowercase))
        return 0;
    for (uint64_t i = 0; i < numbers; i++)
        if (!isfinite(state_of(s)[i]))
            return 0;
    return s->after_cased <= 1 && !s->zero && s->ids <= s->tokens &&
           (!p->rules.max_tokens || s->tokens <= p->rules.max_tokens);
}

COLD int prnn_stream_resume(const prnn *p, prnn_stream *s, const void *saved, size_t bytes)
{
    prnn_stream head;
    uint64_t fixed = fixed_size(p), most = prnn_stream_size(p);
    if (!most)
        return PRNN_NO_STREAM;
    if (bytes < sizeof head || bytes < fixed || bytes > most)
        return PRNN_SAVED;
    memcpy(&head, saved, sizeof head);
    uint64_t waiting = (uint64_t)head.cut + head.tail + head.undecided;
    if (!is_stream_of(p, &head) || head.bytes != bytes || in_eights(fixed + waiting) != bytes || head.cut > 3)
        return PRNN_SAVED;
    memcpy(s, saved, bytes);
    if (sum_of(s) == s->sum && is_within(p, s))
        return PRNN_OK;
    prnn_stream_reset(p, s);
    return PRNN_SAVED;
}

/* ---- Reading on ---- */

/* What a fragment makes of a stream, before anything is changed. */
struct reading {
    uint8_t *text, *tail; /* what arrived; what is lower-cased and waits */
    size_t bytes, cut, tail_bytes, undecided;
    int after_cased;
    struct tokens tokens;
    size_t settled; /* of these */
};

/* How many bytes at the end are the begin of a character; the rest is UTF-8, or -1. */
static int32_t cut_off(const uint8_t *text, size_t bytes)
{
    size_t cut = 0;
    for (size_t n = 1; n <= 3 && n <= bytes && !cut; n++)
        if (text[bytes - n] >= 0xC0)
            cut = is_begun(text + bytes - n, n) ? n : 0;
    return is_utf8(text, bytes - cut) ? (int32_t)cut : -1;
}

/* What waits to be lower-cased, the begin of a character, and the fragment. */
static int joined(const prnn *p, const prnn_stream *s, const char *fragment, size_t bytes, struct reading *r,
                  struct arena *a)
{
    const uint8_t *waiting = waiting_of(p, s);
    r->bytes = s->undecided + s->cut + bytes;
    r->text = taken(a, r->bytes + 1, 0);
    if (!r->text)
        return PRNN_MEMORY;
    memcpy(r->text, waiting + s->cut + s->tail, s->undecided);
    memcpy(r->text + s->undecided, waiting, s->cut);
    if (bytes)
        memcpy(r->text + s->undecided + s->cut, fragment, bytes);
    int32_t cut = cut_off(r->text, r->bytes);
    if (cut < 0)
        return PRNN_TEXT;
    r->cut = (size_t)cut;
    r->bytes -= r->cut;
    return PRNN_OK;
}

/* Whether the nearest code point in front that is not case-ignorable is cased. */
static int cased_before(const uint8_t *text, size_t bytes, int otherwise)
{
    const uint8_t *at = text + bytes;
    while (at > text) {
        do
            at--;
        while (at > text && *at >> 6 == 2);
        const uint8_t *after = at;
        uint32_t code = (uint32_t)decoded(&after, text + bytes);
        if (!IN(PRNN_IGNORABLE, code))
            return IN(PRNN_CASED, code);
    }
    return otherwise;
}

/* From where on a text is not to be lower-cased yet: from the last capital sigma, if its form is not decided. */
static size_t decided(const uint8_t *text, size_t bytes)
{
    const uint8_t *at = text, *end = text + bytes, *sigma = NULL;
    while (at < end) {
        const uint8_t *start = at;
        uint32_t code = (uint32_t)decoded(&at, end);
        if (code == 0x3A3)
            sigma = start;
        else if (sigma && !IN(PRNN_IGNORABLE, code))
            sigma = NULL;
    }
    return sigma ? (size_t)(sigma - text) : bytes;
}

static size_t without_quotes(uint8_t *text, size_t bytes)
{
    size_t kept = 0;
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != '"')
            text[kept++] = text[i];
    return kept;
}

/* Up to where lower-cased text means the same whatever follows. */
static size_t last_cut(const struct rules *r, const uint8_t *text, size_t bytes)
{
    if (r->tokenizer == CHARACTERS)
        return bytes;
    size_t end = bytes;
    if (r->tokenizer == BASIC_ENGLISH) {
        /* What may still become a line break holds a space that may not be one. */
        if (end >= 5 && !memcmp(text + end - 5, "<br /", 5))
            end -= 2;
        else if (end >= 4 && !memcmp(text + end - 4, "<br ", 4))
            end -= 1;
    }
    while (end) {
        size_t start = end - 1;
        while (start && text[start] >> 6 == 2)
            start--;
        uint8_t c = text[start];
        if (white_space(text + start, text + bytes))
            break;
        if (r->tokenizer == BASIC_ENGLISH &&
            ((c < 0x80 && (CLASS[c] == MARK || CLASS[c] == SEPARATOR)) ||
             (c == '>' && end >= BREAK_SIZE && !memcmp(text + end - BREAK_SIZE, "<br />", BREAK_SIZE))))
            break;
        end = start;
    }
    return end;
}

/* Where the code point number `points` begins. */
static size_t place_of(const uint8_t *text, size_t bytes, uint64_t points)
{
    size_t at = 0;
    for (; at < bytes; at++)
        if (text[at] >> 6 != 2 && !points--)
            break;
    return at;
}

/* A tail that is no token, whatever follows, of few characters: the first ones, and those that may begin a break. */
static size_t shortened(const prnn *p, uint8_t *tail, size_t bytes)
{
    uint64_t points = points_of(tail, bytes), kept = (uint64_t)p->longest + 1;
    if (points <= kept + BREAK_SIZE)
        return bytes;
    size_t first = place_of(tail, bytes, kept), last = place_of(tail, bytes, points - (BREAK_SIZE - 1));
    memmove(tail + first, tail + last, bytes - last);
    return first + bytes - last;
}

static int split_on(const prnn *p, const prnn_stream *s, const uint8_t *text, size_t cut, size_t bytes,
                    struct reading *r, struct arena *a)
{
    struct tokens *t = &r->tokens;
    *t = (struct tokens){.rules = &p->rules, .stops = &p->stops, .most = SIZE_MAX};
    if (p->rules.max_tokens)
        t->most = (size_t)(p->rules.max_tokens - s->tokens);
    t->bytes = t->end = taken(a, 2 * (uint64_t)bytes + 8, 0);
    t->starts = t->bytes ? taken(a, ((uint64_t)bytes + 2) * sizeof *t->starts, 0) : NULL;
    if (!t->starts)
        return PRNN_MEMORY;
    t->starts[0] = 0;
    split(t, text, text + cut);
    r->settled = t->count;
    if (t->count < t->most)
        split(t, text + cut, text + bytes);
    return PRNN_OK;
}

/* The tokens that are read for good, then those of the tail, as they are if the text ends here. */
static int read_on(const prnn *p, const prnn_stream *s, struct reading *r, struct arena *a)
{
    if (p->rules.max_tokens && s->tokens >= p->rules.max_tokens)
        return PRNN_OK;
    size_t now = p->rules.lowercase ? decided(r->text, r->bytes) : r->bytes, rest = r->bytes - now;
    if (rest && points_of(r->text + now, rest) > MOST_UNDECIDED)
        return PRNN_UNDECIDED;
    uint8_t *text = taken(a, s->tail + (uint64_t)r->bytes + r->bytes / 2 + 8, 0);
    if (!text)
        return PRNN_MEMORY;
    memcpy(text, waiting_of(p, s) + s->cut, s->tail);
    size_t bytes = s->tail;
    if (p->rules.lowercase)
        bytes += lowered(r->text, now, r->text + r->bytes, (int)s->after_cased, text + bytes);
    else {
        memcpy(text + bytes, r->text, now);
        bytes += now;
    }
    if (p->rules.lowercase)
        r->after_cased = cased_before(r->text, now, (int)s->after_cased);
    if (p->rules.tokenizer == BASIC_ENGLISH)
        bytes = without_quotes(text, bytes);
    size_t cut = last_cut(&p->rules, text, bytes), all = bytes;
    if (rest)
        all += lowered(r->text + now, rest, r->text + r->bytes, r->after_cased, text + bytes);
    int status = split_on(p, s, text, cut, all, r, a);
    r->undecided = rest;
    r->tail = text + cut;
    r->tail_bytes = shortened(p, r->tail, bytes - cut);
    return status;
}

static size_t ids_between(const prnn *p, const struct tokens *t, size_t first, size_t end, int32_t *ids)
{
    size_t made = 0;
    for (size_t i = first; i < end; i++) {
        int32_t id = find(&p->vocabulary, t->bytes + t->starts[i], t->starts[i + 1] - 1 - t->starts[i]);
        id = id < 0 ? p->rules.unknown_id : id;
        if (id >= 0)
            ids[made++] = id;
    }
    return made;
}

static void keep(const prnn *p, prnn_stream *s, const struct reading *r, size_t ids)
{
    uint8_t *waiting = waiting_of(p, s);
    memcpy(waiting, r->text + r->bytes, r->cut);
    if (r->tail_bytes)
        memcpy(waiting + r->cut, r->tail, r->tail_bytes);
    if (r->undecided)
        memcpy(waiting + r->cut + r->tail_bytes, r->text + r->bytes - r->undecided, r->undecided);
    size_t waits = r->cut + r->tail_bytes + r->undecided, whole = (size_t)in_eights(fixed_size(p) + waits);
    memset(waiting + waits, 0, whole - (size_t)fixed_size(p) - waits);
    s->bytes = (uint32_t)whole;
    s->cut = (uint32_t)r->cut;
    s->tail = (uint32_t)r->tail_bytes;
    s->undecided = (uint32_t)r->undecided;
    s->after_cased = (uint32_t)r->after_cased;
    s->tokens += r->settled;
    s->ids += ids;
}

static int push(const prnn *p, prnn_stream *s, const char *fragment, size_t bytes, real *logits, struct arena *a)
{
    struct reading r = {0};
    size_t state_size = p->step.state_size, classes = p->header[H_CLASSES];
    int status = bytes > INT32_MAX / 8 ? PRNN_TOO_LONG : joined(p, s, fragment, bytes, &r, a);
    if (!status)
        status = read_on(p, s, &r, a);
    if (status)
        return status;
    int32_t *ids = taken(a, ((uint64_t)r.tokens.count + 1) * sizeof *ids, 0);
    real *state = ids ? taken(a, 2 * (uint64_t)state_size * sizeof *state, 0) : NULL;
    real *answer = state ? taken(a, 2 * (uint64_t)classes * sizeof *answer, 0) : NULL;
    if (!answer)
        return PRNN_MEMORY;
    size_t count = ids_between(p, &r.tokens, 0, r.settled, ids);
    size_t open = ids_between(p, &r.tokens, r.settled, r.tokens.count, ids + count);
    if (p->header[H_MOST] != INT32_MAX && s->ids + count + open > p->header[H_MOST])
        return PRNN_TOO_LONG;
    memcpy(state, state_of(s), state_size * sizeof *state);
    memcpy(answer, answer_of(p, s), classes * sizeof *answer);
    struct arena rest = *a;
    if (count)
        status = step_of(p, ids, count, state, answer, state, &rest);
    if (!status && logits && (open || !(s->ids + count))) {
        if (!open)
            ids[count] = p->rules.empty_id;
        a->wanted = rest.wanted;
        rest = *a;
        status = step_of(p, ids + count, open ? open : 1, state, answer + classes, state + state_size, &rest);
    } else
        memcpy(answer + classes, answer, classes * sizeof *answer);
    a->wanted = rest.wanted;
    if (status)
        return status;
    memcpy(state_of(s), state, state_size * sizeof *state);
    memcpy(answer_of(p, s), answer, classes * sizeof *answer);
    if (logits)
        memcpy(logits, answer + classes, classes * sizeof *logits);
    keep(p, s, &r, count);
    return PRNN_OK;
}

int prnn_stream_push(const prnn *p, prnn_stream *s, const char *fragment, size_t bytes, real *logits, void *memory,
                     size_t *size)
{
    if (!p->step.op_count)
        return PRNN_NO_STREAM;
    if (!is_stream_of(p, s))
        return PRNN_SAVED;
    struct arena a = arena_of(memory, *size);
    int status = push(p, s, fragment, bytes, logits, &a);
    if (status == PRNN_MEMORY)
        *size = a.wanted;
    return status;
}

int prnn_step(const prnn *p, const int32_t *ids, size_t count, const real *state, real *logits, real *new_state,
              void *memory, size_t *size)
{
    if (!p->step.op_count)
        return PRNN_NO_STREAM;
    if (!count || count > INT32_MAX)
        return PRNN_ARGUMENT;
    if (!are_ids(p, ids, count))
        return PRNN_ID;
    struct arena a = arena_of(memory, *size);
    int status = step_of(p, ids, count, state, logits, new_state, &a);
    if (status == PRNN_MEMORY)
        *size = a.wanted;
    return status;
}

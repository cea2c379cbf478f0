/* ---- From a text to ids; part of pocketrnn.c -------------------------------------------------------------------- */

/* Memory that a call was given, taken from both ends. */
struct arena {
    uint8_t *low, *high;
    size_t size, wanted;
    const void *memory; /* as it was given */
};

/* Under the address sanitizer, PRNN_GUARDED keeps what is taken apart, so that a step from one part into the next is seen. */
#ifdef PRNN_GUARDED
#include <sanitizer/asan_interface.h>
enum { GUARD = ALIGN };
static void guarded(uint8_t *at, size_t bytes, size_t whole)
{
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    ASAN_POISON_MEMORY_REGION(at + bytes, whole - bytes);
}
#else
enum { GUARD = 0 };
static void guarded(uint8_t *at, size_t bytes, size_t whole) { (void)at, (void)bytes, (void)whole; }
#endif

static struct arena arena_of(void *memory, size_t size)
{
    struct arena a = {NULL, NULL, size, 0, memory};
    uint8_t *start = aligned_pointer(memory);
    if (memory && size >= ALIGN) {
        a.low = start;
        a.high = start + ((size - (size_t)(start - (uint8_t *)memory)) & ~(size_t)(ALIGN - 1));
    }
    return a;
}

/* NULL where there is too little; `wanted` is then what to try next: enough for this and as much again. */
static void *taken(struct arena *a, uint64_t bytes, int from_high)
{
    if (bytes > SIZE_MAX / 8) {
        a->wanted = SIZE_MAX;
        return NULL;
    }
    size_t whole = aligned((size_t)bytes) + GUARD, left = (size_t)(a->high - a->low);
    if (whole > left) {
        a->wanted = a->size + a->size / 2 + 2 * whole + 4 * ALIGN;
        return NULL;
    }
    if (from_high) {
        a->high -= whole;
        guarded(a->high, (size_t)bytes, whole);
        return a->high;
    }
    a->low += whole;
    guarded(a->low - whole, (size_t)bytes, whole);
    return a->low - whole;
}

/* The code point at *at, which is moved on; -1 if it is none. Halves of surrogate pairs are allowed, as WTF-8 has them. */
static int32_t decoded(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *p = *at;
    uint32_t first = *p, code;
    int more = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : -1;
    static const uint32_t LEAST[] = {0, 0x80, 0x800, 0x10000};
    if (more < 0 || end - p <= more)
        return -1;
    code = more ? first & (0x3Fu >> more) : first;
    for (int i = 1; i <= more; i++) {
        if (p[i] >> 6 != 2)
            return -1;
        code = code << 6 | (p[i] & 63);
    }
    if (code < LEAST[more] || code > 0x10FFFF)
        return -1;
    *at = p + more + 1;
    return (int32_t)code;
}

static uint8_t *encoded(uint32_t code, uint8_t *out)
{
    if (code < 0x80) {
        *out++ = (uint8_t)code;
        return out;
    }
    if (code >= 0x10000) {
        *out++ = (uint8_t)(0xF0 | code >> 18);
        *out++ = (uint8_t)(0x80 | (code >> 12 & 63));
    } else if (code >= 0x800)
        *out++ = (uint8_t)(0xE0 | code >> 12);
    *out = (uint8_t)((code >= 0x800 ? 0x80 | (code >> 6 & 63) : 0xC0 | code >> 6));
    out++;
    *out++ = (uint8_t)(0x80 | (code & 63));
    return out;
}

static int in_ranges(const uint32_t (*ranges)[2], size_t count, uint32_t code)
{
    size_t from = 0, to = count;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (code < ranges[middle][0])
            to = middle;
        else if (code > ranges[middle][1])
            from = middle + 1;
        else
            return 1;
    }
    return 0;
}
#define IN(table, code) in_ranges(table, sizeof table / sizeof *table, code)

static uint32_t lowered_alone(uint32_t code)
{
    if (code < 0x80)
        return code - 'A' < 26 ? code + 32 : code;
    size_t from = 0, to = sizeof PRNN_LOWER / sizeof *PRNN_LOWER;
    while (from < to) {
        size_t middle = (from + to) / 2;
        const struct prnn_lower *row = PRNN_LOWER + middle;
        if (code < row->first)
            to = middle;
        else if (code > row->last)
            from = middle + 1;
        else
            return (code - row->first) % (uint32_t)row->step ? code : code + (uint32_t)row->added;
    }
    return code;
}

/* Whether the nearest code point from here on that is not case-ignorable is cased. */
static int cased_follows(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        int32_t code = decoded(&at, end);
        if (code < 0)
            return 0;
        if (!IN(PRNN_IGNORABLE, (uint32_t)code))
            return IN(PRNN_CASED, (uint32_t)code);
    }
    return 0;
}

/* Lower-case valid UTF-8; `out` has room for half as much again. What stands behind it, up to `seen`, and whether a
 * cased letter stands before it, decides the form of a capital sigma. The bytes written. */
static size_t lowered(const uint8_t *text, size_t bytes, const uint8_t *seen, int after_cased, uint8_t *out)
{
    uint8_t beyond = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = text[i];
        beyond |= c;
        out[i] = (uint8_t)(c + ((uint8_t)(c - 'A') < 26) * 32);
    }
    if (beyond < 0x80)
        return bytes;
    const uint8_t *at = text, *end = text + bytes;
    uint8_t *start = out;
    while (at < end) {
        uint32_t code = (uint32_t)decoded(&at, end);
        if (code == 0x130) {
            out = encoded(0x307, encoded('i', out));
            after_cased = 1;
            continue;
        }
        if (code == 0x3A3)
            out = encoded(after_cased && !cased_follows(at, seen) ? 0x3C2 : 0x3C3, out);
        else
            out = encoded(lowered_alone(code), out);
        if (!IN(PRNN_IGNORABLE, code))
            after_cased = IN(PRNN_CASED, code);
    }
    return (size_t)(out - start);
}

static int is_utf8(const uint8_t *text, size_t bytes)
{
    uint8_t beyond = 0;
    for (size_t i = 0; i < bytes; i++)
        beyond |= text[i];
    if (beyond < 0x80)
        return 1;
    const uint8_t *at = text, *end = text + bytes;
    while (at < end)
        if (decoded(&at, end) < 0)
            return 0;
    return 1;
}

/* Whether a string stands at a place; what is compared is taken from `left`, so that a long string of which many parts stand
 * in a text cannot take the product of both. */
static int stands_at(const uint8_t *at, const uint8_t *what, size_t bytes, uint64_t *left)
{
    size_t same = 0;
    while (same < bytes && at[same] == what[same])
        same++;
    *left -= *left < same ? *left : same;
    return same == bytes;
}

/* One step on a text: the bytes that it makes, written where `out` is not NULL; where it is NULL, UINT64_MAX if it takes
 * too long. */
static uint64_t stepped(const uint32_t *step, const uint8_t *text, size_t bytes, uint8_t *out, uint64_t *left)
{
    const uint8_t *at = text, *end = text + bytes;
    uint64_t made = 0;
    size_t by_bytes = step[3];
    if (step[0] == REPLACE) {
        const uint8_t *what = (const uint8_t *)(step + 4);
        size_t what_bytes = step[2];
        const uint8_t *by = what + (what_bytes + 3) / 4 * 4;
        while (at < end) {
            const uint8_t *found = at;
            for (;; found++) {
                found = (size_t)(end - found) < what_bytes ? NULL : memchr(found, what[0], (size_t)(end - found) - what_bytes + 1);
                if (!found || stands_at(found, what, what_bytes, left))
                    break;
                if (!*left && !out) /* what was measured is written, whatever it takes */
                    return UINT64_MAX;
            }
            size_t kept = (size_t)((found ? found : end) - at);
            if (out) {
                memcpy(out + made, at, kept);
                if (found)
                    memcpy(out + made + kept, by, by_bytes);
            }
            made += kept + (found ? by_bytes : 0);
            at = found ? found + what_bytes : end;
        }
        return made;
    }
    const uint32_t(*ranges)[2] = (const uint32_t(*)[2])(const void *)(step + 4);
    const uint8_t *by = (const uint8_t *)(step + 4 + 2 * step[2]);
    while (at < end) {
        const uint8_t *start = at;
        int32_t code = decoded(&at, end);
        if (code < 0)
            return made; /* a replacement of a hostile file that is not UTF-8 */
        int kept = in_ranges(ranges, step[2], (uint32_t)code);
        size_t size = kept ? (size_t)(at - start) : by_bytes;
        if (out)
            memcpy(out + made, kept ? start : by, size);
        made += size;
    }
    return made;
}

/* So many bytes, or tokens, take milliseconds. */
enum { MUCH_TEXT = 1 << 16 };

/* A text after lower-casing and all steps; each is written to the other end of the memory than what it reads. */
static int cleaned(const prnn *p, const uint8_t **text, size_t *bytes, struct arena *a)
{
    const struct rules *r = &p->rules;
    struct arena before = *a;
    uint64_t most = ((uint64_t)*bytes + 1) * 256 + (1 << 16), left = PRNN_MOST_COMPARED((uint64_t)*bytes);
    const uint32_t *step = r->step;
    int high = 0, first = (int)r->lowercase;
    uint32_t done = 0;
    while (first || done < r->steps) {
        int lower = first || step[0] == LOWERCASE;
        uint64_t size = lower ? (uint64_t)*bytes + *bytes / 2 + 8 : stepped(step, *text, *bytes, NULL, &left);
        if (size > most)
            return PRNN_COSTLY;
        if (*bytes > MUCH_TEXT && p->asked && p->asked(a->memory))
            return PRNN_STOPPED;
        if (lower && !first && !is_utf8(*text, *bytes))
            return PRNN_CONTENT;
        if (high)
            a->high = before.high;
        else
            a->low = before.low;
        uint8_t *out = taken(a, size, high);
        if (!out)
            return PRNN_MEMORY;
        *bytes = lower ? lowered(*text, *bytes, *text + *bytes, 0, out) : (size_t)stepped(step, *text, *bytes, out, &left);
        *text = out;
        high = !high;
        if (!first) {
            step += step[1];
            done++;
        }
        first = 0;
    }
    return PRNN_OK;
}

/* The tokens of a text: each is followed by a space, so that an n-gram is what stands from its first to its last. */
struct tokens {
    const struct rules *rules;
    const struct strings *stops;
    uint8_t *bytes, *end; /* `end`: behind the token that is being read */
    uint32_t *starts;
    size_t count, most;
};

static int ended(struct tokens *t)
{
    size_t start = t->starts[t->count], size = (size_t)(t->end - t->bytes) - start;
    if (t->stops->count && find(t->stops, t->bytes + start, size) >= 0) {
        t->end = t->bytes + start;
        return 0;
    }
    *t->end++ = ' ';
    t->starts[++t->count] = (uint32_t)(t->end - t->bytes);
    return t->count == t->most;
}

static int ended_if_any(struct tokens *t) { return t->end == t->bytes + t->starts[t->count] ? 0 : ended(t); }

/* How many bytes of white space stand at a place, as Python's str.split knows it. */
static size_t white_space(const uint8_t *at, const uint8_t *end)
{
    if (*at <= 0x20)
        return *at == 0x20 || (*at >= 9 && *at <= 13) || (*at >= 0x1C && *at <= 0x1F);
    if (*at < 0xC2 || *at > 0xE3)
        return 0;
    const uint8_t *after = at;
    int32_t code = decoded(&after, end);
    int white = code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
                code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
    return white ? (size_t)(after - at) : 0;
}

/* The bytes of "<br />" at a place, without regard to quotation marks in it; 0 if it is not there. */
static size_t line_break(const uint8_t *at, const uint8_t *end)
{
    static const char TAG[] = "<br />";
    const uint8_t *p = at;
    for (int i = 0; i < 6; i++) {
        while (i && p < end && *p == '"')
            p++;
        if (p == end || *p != (uint8_t)TAG[i])
            return 0;
        p++;
    }
    return (size_t)(p - at);
}

enum { WORD, BLANK, MARK, SEPARATOR, QUOTE, ANGLE, BEYOND };
/* What basic_english does at each byte of ASCII. */
static const uint8_t CLASS[128] = {
    ['\t'] = BLANK, ['\n'] = BLANK, [11] = BLANK, [12] = BLANK, ['\r'] = BLANK, [28] = BLANK, [29] = BLANK,
    [30] = BLANK, [31] = BLANK, [' '] = BLANK, [';'] = SEPARATOR, [':'] = SEPARATOR, ['"'] = QUOTE, ['<'] = ANGLE,
    ['\''] = MARK, ['.'] = MARK, [','] = MARK, ['('] = MARK, [')'] = MARK, ['!'] = MARK, ['?'] = MARK};

static void split_basic_english(struct tokens *t, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint8_t c = *at;
        size_t size;
        switch (c < 0x80 ? CLASS[c] : BEYOND) {
        case WORD:
            *t->end++ = c;
            at++;
            break;
        case MARK:
            if (ended_if_any(t))
                return;
            *t->end++ = c; /* fall through */
        case BLANK:
        case SEPARATOR:
            if (ended_if_any(t))
                return;
            at++;
            break;
        case QUOTE:
            at++;
            break;
        case ANGLE:
            size = line_break(at, end);
            if (size && ended_if_any(t))
                return;
            if (!size)
                *t->end++ = c;
            at += size ? size : 1;
            break;
        default:
            size = white_space(at, end);
            if (size && ended_if_any(t))
                return;
            if (!size)
                *t->end++ = c;
            at += size ? size : 1;
        }
    }
    ended_if_any(t);
}

static void split(struct tokens *t, const uint8_t *at, const uint8_t *end)
{
    uint32_t how = t->rules->tokenizer;
    if (how == BASIC_ENGLISH) {
        split_basic_english(t, at, end);
        return;
    }
    while (at < end) {
        size_t size = how == WHITESPACE ? white_space(at, end) : how == SPACE ? *at == ' ' : 0;
        if (how == CHARACTERS) {
            do
                *t->end++ = *at++;
            while (at < end && *at >> 6 == 2);
            if (ended(t))
                return;
        } else if (size) {
            if (how == SPACE ? ended(t) : ended_if_any(t))
                return;
            at += size;
        } else
            *t->end++ = *at++;
    }
    if (how == SPACE)
        ended(t);
    else if (how == WHITESPACE)
        ended_if_any(t);
}

/* The ids of tokens `first` to `count` and their n-grams, and how many; PRNN_STOPPED where the caller wants it. */
static int looked_up(const prnn *p, const struct tokens *t, size_t first, int32_t *ids, size_t *ids_made, const void *memory)
{
    size_t made = 0, count = t->count - first, most = p->rules.ngrams < count ? p->rules.ngrams : count;
    for (size_t n = 1; n <= most; n++)
        for (size_t i = first; i + n <= t->count; i++) {
            if ((i + 1) % MUCH_TEXT == 0 && p->asked && p->asked(memory))
                return PRNN_STOPPED;
            int32_t id = find(&p->vocabulary, t->bytes + t->starts[i], t->starts[i + n] - 1 - t->starts[i]);
            id = id < 0 ? p->rules.unknown_id : id;
            if (id >= 0)
                ids[made++] = id;
        }
    *ids_made = made;
    return PRNN_OK;
}

/* The ids in their width: special ids around them, cut and padded. ids[0] is free. */
static size_t set_in_width(const struct rules *r, int32_t **ids, size_t count)
{
    int32_t *at = *ids + 1;
    if (r->first_id >= 0) {
        *--at = r->first_id;
        count++;
    }
    if (r->last_id >= 0)
        at[count++] = r->last_id;
    if (r->max_width && count > r->max_width) {
        at += r->cut_left ? count - r->max_width : 0;
        count = r->max_width;
    }
    if (count < r->min_width) {
        size_t missing = r->min_width - count;
        if (r->pad_left)
            memmove(at + missing, at, count * sizeof *at);
        for (size_t i = 0; i < missing; i++)
            at[r->pad_left ? i : count + i] = r->padding_id;
        count += missing;
    }
    if (!count)
        at[count++] = r->empty_id;
    *ids = at;
    return count;
}

static int encode(const prnn *p, const char *given, size_t bytes, const int32_t **ids, size_t *count, struct arena *a)
{
    const struct rules *r = &p->rules;
    const uint8_t *text = (const uint8_t *)(bytes ? given : "");
    if (bytes > INT32_MAX / 4)
        return PRNN_TOO_LONG;
    if (!is_utf8(text, bytes))
        return PRNN_TEXT;
    int status = cleaned(p, &text, &bytes, a);
    if (status)
        return status;
    if (bytes > INT32_MAX / 4)
        return PRNN_TOO_LONG;
    /* A byte makes at most one token, `space` one more, and each has a space behind it. */
    struct tokens t = {.rules = r, .stops = &p->stops, .most = SIZE_MAX};
    if (r->max_tokens && !r->cut_left)
        t.most = r->max_tokens;
    t.bytes = t.end = taken(a, 2 * (uint64_t)bytes + 8, 0);
    t.starts = t.bytes ? taken(a, ((uint64_t)bytes + 2) * sizeof *t.starts, 0) : NULL;
    if (!t.starts)
        return PRNN_MEMORY;
    t.starts[0] = 0;
    split(&t, text, text + bytes);
    size_t first = r->max_tokens && t.count > r->max_tokens && r->cut_left ? t.count - r->max_tokens : 0;
    uint64_t room = (uint64_t)t.count * r->ngrams + r->min_width + 4;
    int32_t *made = taken(a, room * sizeof *made, 0);
    if (!made)
        return PRNN_MEMORY;
    status = looked_up(p, &t, first, made + 1, count, a->memory);
    if (status)
        return status;
    *count = set_in_width(r, &made, *count);
    *ids = made;
    return PRNN_OK;
}

int prnn_encode(const prnn *p, const char *text, size_t bytes, const int32_t **ids, size_t *count, void *memory,
                size_t *size)
{
    struct arena a = arena_of(memory, *size);
    int status = encode(p, text, bytes, ids, count, &a);
    if (status == PRNN_MEMORY)
        *size = a.wanted;
    return status;
}

/* ---- From ids to logits; part of pocketrnn.c -------------------------------------------------------------------- */

/* One run of the program, for a text of `steps` ids. Every operation holds its sizes against those of its values before
 * it touches them: what a program says of itself is never believed. */
struct run {
    const prnn *p;
    const struct program *g;
    size_t steps;
    void **at;       /* by value */
    size_t *numbers; /* by value: how many numbers it has */
    real *scratch;
    const void *memory; /* that the call was given */
    uint64_t left, since; /* work that the text may still take, and work since the caller was asked whether to stop */
    int only_counts;      /* whether operations are checked and counted, and not done */
    int is_long;          /* whether the operation that is done takes so much that it asks on its way */
};

/* Work is counted in multiply-adds of the kernels, some tenths of a nanosecond; what takes longer counts for more. It does
 * not depend on how the file was opened. */
enum { OFTEN = 1 << 24, LONG_TEXT = 1 << 12, CHUNK = 1 << 16, CHEAP = 4, DEAR = 64 };

/* a * b as an amount of work, which is never too large for a sum of a few. */
static uint64_t work_of(uint64_t a, uint64_t b)
{
    uint64_t most = (uint64_t)1 << 60;
    if ((a | b) >> 30 == 0) /* without a division */
        return a * b;
    return b && a > most / b ? most : a * b;
}

/* Whether the caller wants an end, who is asked after so much work. */
APART static int asked_after(struct run *r, uint64_t work)
{
    r->since += work;
    if (r->since < OFTEN || !r->p->asked)
        return 0;
    r->since = 0;
    return r->p->asked(r->memory);
}

/* The same within an operation, for each of its rows. One that takes little was asked for as a whole: its rows do not even
 * count their work. */
#define STOPS(r, work) ((r)->is_long && asked_after(r, work))

/* What an operation of so much work, which was checked, gives at once; or -1, where it is to be done. */
APART static int taken_from(struct run *r, uint64_t work)
{
    work += DEAR;
    if (work > r->left)
        return PRNN_COSTLY;
    r->left -= work;
    if (r->only_counts)
        return PRNN_OK;
    r->is_long = work >= OFTEN;
    return !r->is_long && asked_after(r, work) ? PRNN_STOPPED : -1;
}
#define COUNTED(r, work)                                                                                               \
    do {                                                                                                               \
        int status_of_work = taken_from(r, work);                                                                      \
        if (status_of_work >= 0)                                                                                       \
            return status_of_work;                                                                                     \
    } while (0)

static real *floats(const struct run *r, uint32_t value) { return value == NONE ? NULL : r->at[value]; }

/* Whether a value, or none, has so many numbers. */
static int has(struct run *r, uint32_t value, uint64_t numbers) { return value == NONE || numbers <= r->numbers[value]; }

static float float_of(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static int run_lookup(struct run *r, const uint32_t *f)
{
    for (int k = 0; k < MOST_KNOWN; k++)
        if (r->g->known[k].lookup == f)
            return PRNN_OK;
    const uint32_t *table = value_of(r->p, f[0]);
    size_t rows = table[6], columns = table[8], count = r->numbers[f[1]];
    const int32_t *ids = r->at[f[1]];
    real *out = floats(r, f[2]);
    if (!has(r, f[2], times(count, columns)) || times(rows, columns) > r->numbers[f[0]])
        return PRNN_CONTENT;
    COUNTED(r, work_of(count, 2 * columns + DEAR));
    for (size_t i = 0; i < count; i++) {
        if (STOPS(r, columns))
            return PRNN_STOPPED;
        int64_t id = ids[i] < 0 ? (int64_t)ids[i] + (int64_t)rows : ids[i];
        if (id < 0 || (uint64_t)id >= rows)
            return PRNN_ID;
        row_of(r->p, table, (size_t)id, columns, out + i * columns);
    }
    return PRNN_OK;
}

/* Whether all places offset + sum of strides * indices are among so many numbers. */
static int reaches(int64_t offset, const int64_t *strides, const size_t *sizes, int rank, size_t numbers)
{
    int64_t least = offset, most = offset;
    if (offset < 0 || offset >= (int64_t)numbers) /* so that the sums below stay within 64 bits */
        return 0;
    for (int i = 0; i < rank; i++) {
        int64_t last = (int64_t)(sizes[i] - 1) * strides[i];
        *(last < 0 ? &least : &most) += last;
    }
    return least >= 0 && most < (int64_t)numbers;
}

static int64_t pair_at(const uint32_t *pair, size_t steps)
{
    return (int64_t)(int32_t)pair[0] * (int64_t)steps + (int32_t)pair[1];
}

static int run_copy(struct run *r, const uint32_t *f)
{
    size_t sizes[5], total;
    int64_t from[5], to[5];
    for (int i = 0; i < 5; i++) {
        if (!size_at(f + 2 + 2 * i, r->steps, &sizes[i]))
            return PRNN_CONTENT;
        from[i] = pair_at(f + 14 + 2 * i, r->steps);
        to[i] = pair_at(f + 26 + 2 * i, r->steps);
        int64_t most = (int64_t)1 << 40;
        if (from[i] > most || from[i] < -most || to[i] > most || to[i] < -most)
            return PRNN_CONTENT;
    }
    if (!numbers_at(f + 2, 5, r->steps, &total))
        return PRNN_CONTENT;
    if (!total)
        return PRNN_OK;
    int64_t source = pair_at(f + 12, r->steps), target = pair_at(f + 24, r->steps);
    for (int i = 0; i < 5; i++)
        if (sizes[i] > 1 && ((from[i] < 0 ? -from[i] : from[i]) > (int64_t)1 << 31 ||
                             (to[i] < 0 ? -to[i] : to[i]) > (int64_t)1 << 31))
            return PRNN_CONTENT;
    if (!has(r, f[1], total) || !reaches(source, from, sizes, 5, r->numbers[f[0]]) ||
        !reaches(target, to, sizes, 5, r->numbers[f[1]]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(total, CHEAP) + work_of(sizes[0] * sizes[1] * sizes[2] * sizes[3], CHEAP));
    size_t each = bytes_of(type_of(r->p, f[0]));
    const uint8_t *in = r->at[f[0]];
    uint8_t *out = r->at[f[1]];
    for (size_t a = 0; a < sizes[0]; a++)
        for (size_t b = 0; b < sizes[1]; b++)
            for (size_t c = 0; c < sizes[2]; c++)
                for (size_t d = 0; d < sizes[3]; d++) {
                    if (STOPS(r, sizes[4]))
                        return PRNN_STOPPED;
                    int64_t s = source + (int64_t)a * from[0] + (int64_t)b * from[1] + (int64_t)c * from[2] + (int64_t)d * from[3];
                    int64_t t = target + (int64_t)a * to[0] + (int64_t)b * to[1] + (int64_t)c * to[2] + (int64_t)d * to[3];
                    if (from[4] == 1 && to[4] == 1) {
                        memmove(out + (size_t)t * each, in + (size_t)s * each, sizes[4] * each);
                        continue;
                    }
                    for (size_t e = 0; e < sizes[4]; e++, s += from[4], t += to[4])
                        memmove(out + (size_t)t * each, in + (size_t)s * each, each);
                }
    return PRNN_OK;
}

static int run_fill(struct run *r, const uint32_t *f)
{
    uint32_t type = type_of(r->p, f[0]);
    COUNTED(r, r->numbers[f[0]]);
    for (size_t i = 0; i < r->numbers[f[0]]; i++) {
        if (type == FLOAT)
            floats(r, f[0])[i] = float_of(f[1]);
        else if (type == INT)
            ((int32_t *)r->at[f[0]])[i] = (int32_t)f[1];
        else
            ((uint8_t *)r->at[f[0]])[i] = f[1] != 0;
    }
    return PRNN_OK;
}

/* The sizes of [outer, n, inner], none of them 0, if a value has as many numbers. */
static int view(struct run *r, const uint32_t *pairs, uint32_t value, size_t *sizes)
{
    size_t total;
    for (int i = 0; i < 3; i++)
        if (!size_at(pairs + 2 * i, r->steps, &sizes[i]) || !sizes[i])
            return 0;
    return numbers_at(pairs, 3, r->steps, &total) && has(r, value, total);
}

static int run_count(struct run *r, const uint32_t *f)
{
    size_t s[3];
    if (!view(r, f + 1, f[0], s))
        return PRNN_CONTENT;
    int64_t start = pair_at(f + 7, r->steps), step = (int32_t)f[9];
    if (start > (int64_t)MOST_NUMBERS || start < -(int64_t)MOST_NUMBERS)
        return PRNN_CONTENT;
    COUNTED(r, work_of(s[0] * s[1] * s[2], CHEAP));
    for (size_t o = 0; o < s[0]; o++)
        for (size_t n = 0; n < s[1]; n++)
            for (size_t i = 0; i < s[2]; i++) {
                size_t at = (o * s[1] + n) * s[2] + i;
                int64_t number = start + step * (int64_t)n;
                if (type_of(r->p, f[0]) == FLOAT)
                    floats(r, f[0])[at] = (real)number;
                else
                    ((int32_t *)r->at[f[0]])[at] = (int32_t)number;
            }
    return PRNN_OK;
}

/* y[i] = init[i] + x[i] . weights, as the kernels' product; weights that stayed in place are read a row at a time, which
 * is made numbers in `row`. */
static void multiply(const prnn *p, uint32_t weights, const real *x, size_t x_row, size_t m, size_t k, size_t n,
                     const real *init, size_t init_row, real *y, size_t y_row, real *row)
{
    if (p->constants[weights]) {
        p->kernels->product(x, x_row, m, k, p->constants[weights], n, init, init_row, y, y_row);
        return;
    }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            y[i * y_row + j] = init ? init[i * init_row + j] : 0;
    for (size_t q = 0; q < k; q++) {
        row_of(p, value_of(p, weights), q, n, row);
        for (size_t i = 0; i < m; i++) {
            real factor = x[i * x_row + q], *to = y + i * y_row;
            for (size_t j = 0; j < n; j++)
                to[j] += factor * row[j];
        }
    }
}

/* One direction of a recurrent layer. */
struct direction {
    const prnn *p;
    uint32_t in, back; /* weights */
    const real *x, *bias, *new_bias, *known;
    const uint32_t *table; /* where the layer reads it itself */
    const int32_t *ids;
    real *y, *h, *c, *sums, *rows, *gates, *row;
    size_t input, hidden, width, gate_width, steps, y_row, words, block;
    uint32_t kind;
    int reverse;
};

static void step(const struct kernels *k, const struct direction *d, const real *sums)
{
    const real *start = sums;
    if (d->kind == GRU) {
        /* The hidden part of the new state stands alone, since the reset gate multiplies it. */
        memcpy(d->gates + d->gate_width, sums, 2 * d->width * sizeof(real));
        memcpy(d->gates + d->gate_width + 2 * d->width, d->new_bias, d->width * sizeof(real));
        start = d->gates + d->gate_width;
    }
    multiply(d->p, d->back, d->h, d->hidden, 1, d->hidden, d->gate_width, start, 0, d->gates, d->gate_width, d->row);
    if (d->kind == LSTM)
        k->lstm(d->gates, d->width, d->h, d->c);
    else if (d->kind == GRU)
        k->gru(d->gates, sums + 2 * d->width, d->width, d->h);
    else
        k->rnn(d->gates, d->width, d->kind == RNN_RELU, d->h);
}

/* The sums of the inputs of `block` steps from `first` on, one pointer a step: those of known words are there already,
 * the others' are made together. */
static void input_sums(const struct direction *d, size_t first, size_t block, const real **at)
{
    if (!d->words && !d->table) {
        multiply(d->p, d->in, d->x + first * d->input, d->input, block, d->input, d->gate_width, d->bias, 0, d->sums,
                 d->gate_width, d->row);
        for (size_t i = 0; i < block; i++)
            at[i] = d->sums + i * d->gate_width;
        return;
    }
    size_t unknown = 0;
    for (size_t i = 0; i < block; i++) {
        size_t id = (size_t)d->ids[first + i];
        if (id < d->words) {
            at[i] = d->known + id * d->gate_width;
            continue;
        }
        real *row = d->rows + unknown * d->input;
        if (d->table)
            row_of(d->p, d->table, id, d->input, row);
        else
            memcpy(row, d->x + (first + i) * d->input, d->input * sizeof(real));
        at[i] = d->sums + unknown++ * d->gate_width;
    }
    multiply(d->p, d->in, d->rows, d->input, unknown, d->input, d->gate_width, d->bias, 0, d->sums, d->gate_width,
             d->row);
}

/* Multiply-adds and functions of one step. */
static uint64_t work_of_step(const struct direction *d) { return d->gate_width * (d->input + d->hidden) + DEAR * d->width; }

static int run_direction(struct run *r, const struct direction *d)
{
    const struct kernels *k = r->p->kernels;
    const real *at[BLOCK];
    for (size_t done = 0; done < d->steps;) {
        size_t block = d->steps - done < d->block ? d->steps - done : d->block;
        size_t first = d->reverse ? d->steps - done - block : done;
        input_sums(d, first, block, at);
        for (size_t i = 0; i < block; i++) {
            if (STOPS(r, work_of_step(d)))
                return PRNN_STOPPED;
            size_t row = d->reverse ? block - 1 - i : i;
            step(k, d, at[row]);
            if (d->y)
                memcpy(d->y + (first + row) * d->y_row, d->h, d->hidden * sizeof(real));
        }
        done += block;
    }
    return PRNN_OK;
}

/* The two biases as one, but where a GRU's reset gate multiplies the second. */
static void add_biases(const real *first, const real *second, uint32_t kind, size_t width, real *bias)
{
    for (size_t j = 0; j < gates_of(kind) * width; j++)
        bias[j] = first[j] + (kind == GRU && j >= 2 * width ? 0 : second[j]);
}

/* One direction of a layer, with its states as they begin; `scratch` is for it alone. */
static struct direction direction_of(struct run *r, const uint32_t *f, size_t i, size_t steps, real *scratch)
{
    const uint32_t *weights = f + R_WEIGHTS + 4 * i;
    size_t directions = f[R_DIRECTIONS] == 3 ? 2 : 1, hidden = f[R_HIDDEN], width = padded(hidden);
    struct direction d = {.p = r->p, .x = floats(r, f[R_X]), .in = weights[0], .back = weights[1],
                          .input = f[R_INPUT], .hidden = hidden, .width = width, .steps = steps,
                          .gate_width = gates_of(f[R_KIND]) * width, .y_row = directions * hidden, .kind = f[R_KIND],
                          .ids = r->at[0], .reverse = f[R_DIRECTIONS] == 2 || i == 1};
    for (int k = 0; k < MOST_KNOWN; k++)
        if (r->g->known[k].operands == f) {
            d.known = r->g->known[k].products[i];
            d.words = r->g->known[k].words;
            d.table = r->g->known[k].lookup ? r->g->known[k].table : NULL;
        }
    d.y = f[R_Y] == NONE ? NULL : floats(r, f[R_Y]) + i * hidden;
    d.sums = scratch;
    d.block = block_of(r->p);
    d.gates = d.sums + d.block * d.gate_width;
    real *bias = d.gates + 2 * d.gate_width;
    d.h = bias + d.gate_width;
    d.c = d.h + width;
    d.rows = d.c + width;
    d.row = d.rows + d.block * d.input;
    const real *second = floats(r, weights[3]);
    add_biases(floats(r, weights[2]), second, d.kind, width, bias);
    d.bias = bias;
    d.new_bias = second + 2 * width;
    memset(d.h, 0, 2 * width * sizeof(real));
    if (f[R_H0] != NONE)
        memcpy(d.h, floats(r, f[R_H0]) + i * hidden, hidden * sizeof(real));
    if (f[R_C0] != NONE)
        memcpy(d.c, floats(r, f[R_C0]) + i * hidden, hidden * sizeof(real));
    return d;
}

/* Whether a layer fits its values, and what it takes; -1 if it is to be run. */
static int check_layer(struct run *r, const uint32_t *f, size_t *steps)
{
    static const uint8_t STATES[] = {R_H0, R_C0, R_LAST_H, R_LAST_C};
    size_t directions = f[R_DIRECTIONS] == 3 ? 2 : 1, hidden = f[R_HIDDEN];
    if (!size_at(f + R_STEPS, r->steps, steps) || !has(r, f[R_X], (uint64_t)*steps * f[R_INPUT]) ||
        !has(r, f[R_Y], (uint64_t)*steps * directions * hidden))
        return PRNN_CONTENT;
    for (int i = 0; i < 4; i++)
        if (!has(r, f[STATES[i]], directions * hidden))
            return PRNN_CONTENT;
    size_t width = padded(hidden);
    uint64_t step = work_of(gates_of(f[R_KIND]) * width, f[R_INPUT] + hidden) + work_of(width, DEAR);
    COUNTED(r, work_of(work_of(*steps, directions), step));
    return -1;
}

static void keep_states(struct run *r, const uint32_t *f, size_t i, const struct direction *d)
{
    if (f[R_LAST_H] != NONE)
        memcpy(floats(r, f[R_LAST_H]) + i * d->hidden, d->h, d->hidden * sizeof(real));
    if (f[R_LAST_C] != NONE)
        memcpy(floats(r, f[R_LAST_C]) + i * d->hidden, d->c, d->hidden * sizeof(real));
}

static int run_layer(struct run *r, const uint32_t *f, size_t steps)
{
    size_t directions = f[R_DIRECTIONS] == 3 ? 2 : 1;
    for (size_t i = 0; i < directions; i++) {
        struct direction d = direction_of(r, f, i, steps, r->scratch);
        if (run_direction(r, &d))
            return PRNN_STOPPED;
        keep_states(r, f, i, &d);
    }
    return PRNN_OK;
}

static int run_recurrent(struct run *r, const uint32_t *f)
{
    size_t steps;
    int status = check_layer(r, f, &steps);
    if (status >= 0)
        return status;
    return run_layer(r, f, steps);
}

enum { TOGETHER = 4 };

/* The states of several texts, one under the other, and their gates; the texts stand by falling length. */
struct together {
    real *h, *c, *start, *gates;
};

static void step_together(const struct kernels *k, const struct direction *d, size_t count, const real *const *sums,
                          const struct together *s)
{
    size_t width = d->width, gate_width = d->gate_width;
    for (size_t i = 0; i < count; i++) {
        real *start = s->start + i * gate_width;
        memcpy(start, sums[i], (d->kind == GRU ? 2 * width : gate_width) * sizeof(real));
        if (d->kind == GRU)
            memcpy(start + 2 * width, d->new_bias, width * sizeof(real));
    }
    multiply(d->p, d->back, s->h, width, count, d->hidden, gate_width, s->start, gate_width, s->gates, gate_width, d->row);
    for (size_t i = 0; i < count; i++) {
        real *h = s->h + i * width, *gates = s->gates + i * gate_width;
        if (d->kind == LSTM)
            k->lstm(gates, width, h, s->c + i * width);
        else if (d->kind == GRU)
            k->gru(gates, sums[i] + 2 * width, width, h);
        else
            k->rnn(gates, width, d->kind == RNN_RELU, h);
    }
}

static int run_direction_together(struct run *r, const struct direction *d, size_t count, const struct together *s)
{
    const struct kernels *k = r->p->kernels;
    const real *at[TOGETHER][BLOCK], *sums[TOGETHER];
    size_t width = d[0].width;
    for (size_t i = 0; i < count; i++) {
        memcpy(s->h + i * width, d[i].h, width * sizeof(real));
        memcpy(s->c + i * width, d[i].c, width * sizeof(real));
    }
    for (size_t done = 0; count && done < d[0].steps; done++) {
        while (d[count - 1].steps <= done)
            count--;
        for (size_t i = 0; i < count; i++) {
            /* A block begins at its first step, which for the reverse direction is its last. */
            size_t most = d[i].block, start = done / most * most, left = d[i].steps - start;
            size_t block = left < most ? left : most;
            size_t first = d[i].reverse ? left - block : start;
            if (done == start)
                input_sums(&d[i], first, block, at[i]);
            sums[i] = at[i][d[i].reverse ? block - 1 - (done - start) : done - start];
        }
        if (STOPS(r, work_of(count, work_of_step(d))))
            return PRNN_STOPPED;
        step_together(k, d, count, sums, s);
        for (size_t i = 0; i < count; i++) {
            size_t place = d[i].reverse ? d[i].steps - 1 - done : done;
            if (d[i].y)
                memcpy(d[i].y + place * d[i].y_row, s->h + i * width, d[i].hidden * sizeof(real));
            if (done + 1 == d[i].steps) {
                memcpy(d[i].h, s->h + i * width, width * sizeof(real));
                memcpy(d[i].c, s->c + i * width, width * sizeof(real));
            }
        }
    }
    return PRNN_OK;
}

static int run_recurrent_together(struct run *runs, size_t count, const uint32_t *f, real *scratch)
{
    struct direction d[TOGETHER];
    size_t steps[TOGETHER], directions = f[R_DIRECTIONS] == 3 ? 2 : 1;
    int falls = 1;
    for (size_t k = 0; k < count; k++) {
        int status = check_layer(&runs[k], f, &steps[k]);
        if (status >= 0)
            return status;
        falls &= !k || steps[k] <= steps[k - 1];
    }
    for (size_t k = 0; !falls && k < count; k++) /* a layer that reads fewer steps of longer texts */
        if (run_layer(&runs[k], f, steps[k]))
            return PRNN_STOPPED;
    for (size_t i = 0; falls && i < directions; i++) {
        for (size_t k = 0; k < count; k++)
            d[k] = direction_of(&runs[k], f, i, steps[k], runs[k].scratch);
        struct together s = {.h = scratch, .c = scratch + TOGETHER * d[0].width};
        s.start = s.c + TOGETHER * d[0].width;
        s.gates = s.start + TOGETHER * d[0].gate_width;
        if (run_direction_together(&runs[0], d, count, &s))
            return PRNN_STOPPED;
        for (size_t k = 0; k < count; k++)
            keep_states(&runs[k], f, i, &d[k]);
    }
    return PRNN_OK;
}

static int run_linear(struct run *r, const uint32_t *f)
{
    size_t rows, k = f[6], n = f[7], width = padded(n);
    if (!size_at(f + 4, r->steps, &rows) || !has(r, f[0], (uint64_t)rows * k) || !has(r, f[3], (uint64_t)rows * n))
        return PRNN_CONTENT;
    COUNTED(r, work_of(rows, work_of(k, width) + CHEAP * width));
    const real *x = floats(r, f[0]), *bias = floats(r, f[2]);
    real *out = floats(r, f[3]);
    for (size_t done = 0; done < rows;) {
        size_t block = rows - done < 4 ? rows - done : 4;
        if (STOPS(r, work_of(block * k, width)))
            return PRNN_STOPPED;
        multiply(r->p, f[1], x + done * k, k, block, k, width, bias, 0, r->scratch, width, r->scratch + 4 * width);
        for (size_t i = 0; i < block; i++)
            memcpy(out + (done + i) * n, r->scratch + i * width, n * sizeof(real));
        done += block;
    }
    return PRNN_OK;
}

static int run_matmul(struct run *r, const uint32_t *f)
{
    size_t batch, m, k, n, work;
    if (!size_at(f + 3, r->steps, &batch) || !size_at(f + 5, r->steps, &m) || !size_at(f + 7, r->steps, &k) ||
        !size_at(f + 9, r->steps, &n) || f[11] > 1 || f[12] > 1)
        return PRNN_CONTENT;
    uint64_t of_a = times(times(f[11] ? batch : 1, m), k), of_b = times(times(f[12] ? batch : 1, k), n);
    if (!numbers_at(f + 3, 4, r->steps, &work) || !has(r, f[0], of_a) || !has(r, f[1], of_b) ||
        !has(r, f[2], times(times(batch, m), n)))
        return PRNN_CONTENT;
    COUNTED(r, work_of(work_of(batch, m), work_of(k, n + CHEAP) + DEAR));
    const real *a = floats(r, f[0]), *b = floats(r, f[1]);
    real *out = floats(r, f[2]);
    for (size_t i = 0; i < batch; i++, out += m * n) {
        const real *left = a + (f[11] ? i * m * k : 0), *right = b + (f[12] ? i * k * n : 0);
        for (size_t row = 0; row < m; row++) {
            real *to = out + row * n;
            memset(to, 0, n * sizeof(real));
            for (size_t q = 0; q < k; q++) {
                real factor = left[row * k + q];
                if (STOPS(r, n))
                    return PRNN_STOPPED;
                for (size_t j = 0; j < n; j++)
                    to[j] += factor * right[q * n + j];
            }
        }
    }
    return PRNN_OK;
}

static real whole_even(real x)
{
    real below = (real)floor((wide)x), rest = x - below;
    if (rest != (real)0.5)
        return (real)floor((wide)x + (wide)0.5);
    return fmod((wide)below, (wide)2) == 0 ? below : below + 1;
}

static real unary_of(uint32_t kind, real given, real alpha, real beta)
{
    wide x = (wide)given;
    switch (kind) {
    case NEGATIVE: return -given;
    case ABSOLUTE: return given < 0 ? -given : given;
    case EXP: return (real)exp(x);
    case LOG: return (real)log(x);
    case SQRT: return (real)sqrt(x);
    case TANH: return (real)tanh(x);
    case SIGMOID: return (real)((wide)0.5 * tanh((wide)0.5 * x) + (wide)0.5);
    case RELU: return given < 0 ? 0 : given;
    case ERF: return (real)erf(x);
    case RECIPROCAL: return 1 / given;
    case FLOOR: return (real)floor(x);
    case CEIL: return (real)ceil(x);
    case ROUND: return whole_even(given);
    case SIGN: return (real)((given > 0) - (given < 0));
    case LEAKY: return given < 0 ? alpha * given : given;
    case ELU: return given < 0 ? alpha * (real)expm1(x) : given;
    case CLIP: return given < alpha ? alpha : given > beta ? beta : given;
    case SOFTPLUS: return (real)(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    case GELU: return (real)((wide)0.5 * x * (1 + erf(x * (wide)0.70710678118654752440)));
    case GELU_TANH: return (real)((wide)0.5 * x * (1 + tanh((wide)0.79788456080286535588 * (x + (wide)0.044715 * x * x * x))));
    case SIN: return (real)sin(x);
    case COS: return (real)cos(x);
    default: /* HARD_SIGMOID */
        given = alpha * given + beta;
        return given < 0 ? 0 : given > 1 ? 1 : given;
    }
}

/* One number of a value, whatever its type. */
static wide number_at(const struct run *r, uint32_t value, size_t at)
{
    uint32_t type = type_of(r->p, value);
    return type == FLOAT ? (wide)floats(r, value)[at]
                         : type == INT ? (wide)((const int32_t *)r->at[value])[at] : (wide)((const uint8_t *)r->at[value])[at];
}

static void put_at(struct run *r, uint32_t value, size_t at, wide number)
{
    uint32_t type = type_of(r->p, value);
    if (type == FLOAT)
        floats(r, value)[at] = (real)number;
    else if (type == BOOL)
        ((uint8_t *)r->at[value])[at] = number != 0;
    else /* NaN, and what an int32 cannot hold, becomes the smallest */
        ((int32_t *)r->at[value])[at] = number >= (wide)-2147483648.0 && number < (wide)2147483648.0 ? (int32_t)number : INT32_MIN;
}

/* Whether a function takes no more than some nanoseconds a number. */
static int is_cheap(uint32_t kind)
{
    return kind == NEGATIVE || kind == ABSOLUTE || kind == SQRT || kind == TANH || kind == RELU || kind == RECIPROCAL ||
           kind == FLOOR || kind == CEIL || kind == SIGN || kind == LEAKY || kind == CLIP || kind >= HARD_SIGMOID;
}

static int run_unary(struct run *r, const uint32_t *f)
{
    size_t numbers = r->numbers[f[1]];
    if (!has(r, f[0], numbers))
        return PRNN_CONTENT;
    COUNTED(r, work_of(numbers, is_cheap(f[2]) ? CHEAP : DEAR));
    for (size_t done = 0; done < numbers; done += CHUNK) {
        size_t end = numbers - done < CHUNK ? numbers : done + CHUNK;
        if (STOPS(r, DEAR * (uint64_t)(end - done)))
            return PRNN_STOPPED;
        if (f[2] == TANH)
            r->p->kernels->tanh_all(floats(r, f[0]) + done, end - done, floats(r, f[1]) + done);
        else if (f[2] < NOT)
            for (size_t i = done; i < end; i++)
                floats(r, f[1])[i] = unary_of(f[2], floats(r, f[0])[i], float_of(f[3]), float_of(f[4]));
        else
            for (size_t i = done; i < end; i++)
                put_at(r, f[1], i, f[2] == NOT ? number_at(r, f[0], i) == 0 : number_at(r, f[0], i));
    }
    return PRNN_OK;
}

/* How an operation walks its operands: four sizes, and for each operand its strides, 0 along an axis that it lacks. */
struct walk {
    size_t sizes[4], total;
    size_t strides[3][4];
};

/* Axes that every operand walks as one become one, the last: a row is begun as seldom as can be. */
APART static void join_axes(struct walk *w, int count)
{
    for (int i = 2; i >= 0; i--) {
        int joined = 1;
        for (int k = 0; k < count; k++)
            joined &= w->sizes[i] == 1 || w->sizes[3] == 1 || w->strides[k][i] == w->strides[k][3] * w->sizes[3];
        if (!joined)
            return;
        for (int k = 0; k < count; k++)
            w->strides[k][3] = w->sizes[3] == 1 ? w->strides[k][i] : w->strides[k][3];
        w->sizes[3] *= w->sizes[i];
        w->sizes[i] = 1;
    }
}

static int walk_of(struct run *r, const uint32_t *pairs, const uint32_t *masks, const uint32_t *operands, int count,
                   uint32_t out, struct walk *w)
{
    for (int i = 0; i < 4; i++)
        if (!size_at(pairs + 2 * i, r->steps, &w->sizes[i]))
            return 0;
    if (!numbers_at(pairs, 4, r->steps, &w->total) || !has(r, out, w->total))
        return 0;
    if (!w->total) /* with one size 0, the others have no bound */
        memset(w->sizes, 0, sizeof w->sizes);
    for (int k = 0; k < count; k++) {
        uint64_t numbers = 1;
        for (int i = 3; i >= 0; i--) {
            int there = masks[k] >> i & 1;
            w->strides[k][i] = there ? (size_t)numbers : 0;
            numbers *= there ? w->sizes[i] : 1;
        }
        if (!has(r, operands[k], numbers))
            return 0;
    }
    if (w->total)
        join_axes(w, count);
    return 1;
}

static wide binary_of(uint32_t kind, wide a, wide b)
{
    switch (kind) {
    case ADD: return a + b;
    case SUB: return a - b;
    case MUL: return a * b;
    case DIV: return a / b;
    case POW: return pow(a, b);
    case MIN: return a < b || a != a ? a : b;
    case MAX: return a > b || a != a ? a : b;
    case EQUAL: return a == b;
    case LESS: return a < b;
    case LESS_EQUAL: return a <= b;
    case GREATER: return a > b;
    case GREATER_EQUAL: return a >= b;
    case AND: return a != 0 && b != 0;
    case OR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0); /* XOR */
    }
}

static void float_rows(uint32_t kind, const real *a, size_t a_step, const real *b, size_t b_step, size_t n, real *out)
{
    switch (kind) {
    case ADD:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * a_step] + b[i * b_step];
        break;
    case SUB:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * a_step] - b[i * b_step];
        break;
    case MUL:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * a_step] * b[i * b_step];
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = (real)binary_of(kind, (wide)a[i * a_step], (wide)b[i * b_step]);
    }
}

static int run_binary(struct run *r, const uint32_t *f)
{
    struct walk w;
    if (!walk_of(r, f + 4, f + 12, f, 2, f[2], &w))
        return PRNN_CONTENT;
    int is_real = f[3] < EQUAL && type_of(r->p, f[0]) == FLOAT;
    COUNTED(r, work_of(w.total, f[3] == POW ? DEAR : CHEAP) + work_of(w.sizes[0] * w.sizes[1] * w.sizes[2], DEAR / CHEAP));
    if (type_of(r->p, f[0]) == INT && f[3] == DIV)
        for (size_t i = 0; i < r->numbers[f[1]]; i++)
            if (!((const int32_t *)r->at[f[1]])[i])
                return PRNN_CONTENT;
    size_t at = 0;
    for (size_t i = 0; i < w.sizes[0]; i++)
        for (size_t j = 0; j < w.sizes[1]; j++)
            for (size_t k = 0; k < w.sizes[2]; k++, at += w.sizes[3]) {
                if (STOPS(r, work_of(w.sizes[3], f[3] == POW ? DEAR : CHEAP)))
                    return PRNN_STOPPED;
                size_t a = i * w.strides[0][0] + j * w.strides[0][1] + k * w.strides[0][2];
                size_t b = i * w.strides[1][0] + j * w.strides[1][1] + k * w.strides[1][2];
                if (is_real) {
                    float_rows(f[3], floats(r, f[0]) + a, w.strides[0][3], floats(r, f[1]) + b, w.strides[1][3],
                               w.sizes[3], floats(r, f[2]) + at);
                    continue;
                }
                for (size_t n = 0; n < w.sizes[3]; n++)
                    put_at(r, f[2], at + n, binary_of(f[3], number_at(r, f[0], a + n * w.strides[0][3]),
                                                      number_at(r, f[1], b + n * w.strides[1][3])));
            }
    return PRNN_OK;
}

static int run_where(struct run *r, const uint32_t *f)
{
    struct walk w;
    if (!walk_of(r, f + 4, f + 12, f, 3, f[3], &w))
        return PRNN_CONTENT;
    size_t each = bytes_of(type_of(r->p, f[3])), at = 0;
    COUNTED(r, work_of(w.total, 2 * CHEAP));
    const uint8_t *condition = r->at[f[0]];
    const uint8_t *sides[2] = {r->at[f[2]], r->at[f[1]]};
    for (size_t i = 0; i < w.sizes[0]; i++)
        for (size_t j = 0; j < w.sizes[1]; j++)
            for (size_t k = 0; k < w.sizes[2]; k++) {
                if (STOPS(r, work_of(w.sizes[3], CHEAP)))
                    return PRNN_STOPPED;
                for (size_t n = 0; n < w.sizes[3]; n++, at++) {
                    size_t from[3];
                    for (int q = 0; q < 3; q++)
                        from[q] = i * w.strides[q][0] + j * w.strides[q][1] + k * w.strides[q][2] + n * w.strides[q][3];
                    int chosen = condition[from[0]] != 0;
                    memmove((uint8_t *)r->at[f[3]] + at * each, sides[chosen] + from[chosen ? 1 : 2] * each, each);
                }
            }
    return PRNN_OK;
}

static int run_reduce(struct run *r, const uint32_t *f)
{
    size_t s[3];
    if (!view(r, f + 3, f[0], s) || !has(r, f[1], (uint64_t)s[0] * s[2]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(s[0] * s[1] * s[2], CHEAP));
    for (size_t o = 0; o < s[0]; o++) {
        for (size_t i = 0; i < s[2]; i++) {
            if (STOPS(r, CHEAP * (uint64_t)s[1]))
                return PRNN_STOPPED;
            wide so_far = number_at(r, f[0], o * s[1] * s[2] + i);
            for (size_t n = 1; n < s[1]; n++) {
                wide x = number_at(r, f[0], (o * s[1] + n) * s[2] + i);
                so_far = f[2] <= MEAN ? so_far + x : f[2] == PRODUCT ? so_far * x
                         : x != x || (f[2] == LARGEST ? x > so_far : x < so_far) ? x : so_far;
            }
            put_at(r, f[1], o * s[2] + i, f[2] == MEAN ? so_far / (wide)s[1] : so_far);
        }
    }
    return PRNN_OK;
}

static int run_softmax(struct run *r, const uint32_t *f)
{
    size_t s[3];
    if (!view(r, f + 3, f[0], s) || !has(r, f[1], (uint64_t)s[0] * s[1] * s[2]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(s[0] * s[1] * s[2], 2 * DEAR));
    for (size_t o = 0; o < s[0]; o++)
        for (size_t i = 0; i < s[2]; i++) {
            if (STOPS(r, 2 * DEAR * (uint64_t)s[1]))
                return PRNN_STOPPED;
            const real *x = floats(r, f[0]) + o * s[1] * s[2] + i;
            real *y = floats(r, f[1]) + o * s[1] * s[2] + i;
            wide largest = (wide)x[0], total = 0;
            for (size_t n = 1; n < s[1]; n++)
                largest = (wide)x[n * s[2]] > largest ? (wide)x[n * s[2]] : largest;
            for (size_t n = 0; n < s[1]; n++)
                total += exp((wide)x[n * s[2]] - largest);
            for (size_t n = 0; n < s[1]; n++) {
                wide above = (wide)x[n * s[2]] - largest;
                y[n * s[2]] = (real)(f[2] ? above - log(total) : exp(above) / total);
            }
        }
    return PRNN_OK;
}

static int run_norm(struct run *r, const uint32_t *f)
{
    size_t outer, n;
    if (!size_at(f + 4, r->steps, &outer) || !size_at(f + 6, r->steps, &n) || !n || !has(r, f[0], (uint64_t)outer * n) ||
        !has(r, f[3], (uint64_t)outer * n) || !has(r, f[1], n) || !has(r, f[2], n))
        return PRNN_CONTENT;
    COUNTED(r, work_of(outer, work_of(n, 3 * CHEAP) + DEAR));
    const real *scale = floats(r, f[1]), *bias = floats(r, f[2]);
    for (size_t o = 0; o < outer; o++) {
        if (STOPS(r, 3 * CHEAP * (uint64_t)n))
            return PRNN_STOPPED;
        const real *x = floats(r, f[0]) + o * n;
        real *y = floats(r, f[3]) + o * n;
        wide mean = 0, spread = 0;
        for (size_t i = 0; i < n; i++)
            mean += (wide)x[i];
        mean /= (wide)n;
        for (size_t i = 0; i < n; i++)
            spread += ((wide)x[i] - mean) * ((wide)x[i] - mean);
        wide by = 1 / sqrt(spread / (wide)n + (wide)float_of(f[8]));
        for (size_t i = 0; i < n; i++)
            y[i] = (real)(((wide)x[i] - mean) * by) * (scale ? scale[i] : 1) + (bias ? bias[i] : 0);
    }
    return PRNN_OK;
}

enum { C_CHANNELS = 4, C_HEIGHT = 5, C_WIDTH = 7, C_OUT, C_GROUPS = 10, C_KERNEL, C_STRIDE = 13, C_PAD = 15,
       C_DILATION = 17, C_OUT_HEIGHT = 19, C_OUT_WIDTH = 21 };

static int run_conv(struct run *r, const uint32_t *f)
{
    size_t height, width, out_height, out_width, channels = f[C_CHANNELS], outs = f[C_OUT + 1], groups = f[C_GROUPS];
    const uint32_t *k = f + C_KERNEL;
    if (!size_at(f + C_HEIGHT, r->steps, &height) || !size_at(f + C_WIDTH, r->steps, &width) ||
        !size_at(f + C_OUT_HEIGHT, r->steps, &out_height) || !size_at(f + C_OUT_WIDTH, r->steps, &out_width))
        return PRNN_CONTENT;
    for (int i = 0; i < 8; i++)
        if (k[i] > 1 << 16)
            return PRNN_CONTENT;
    if (!groups || !channels || !outs || channels > 1 << 20 || outs > 1 << 20 || channels % groups || outs % groups)
        return PRNN_CONTENT;
    size_t each = channels / groups, area = (size_t)k[0] * k[1];
    if (!area || area > 1 << 20 || (uint64_t)height * width > MOST_NUMBERS / channels ||
        (uint64_t)out_height * out_width > MOST_NUMBERS / outs || !has(r, f[0], (uint64_t)channels * height * width) ||
        !has(r, f[1], (uint64_t)outs * each * area) || !has(r, f[2], outs) ||
        !has(r, f[3], (uint64_t)outs * out_height * out_width))
        return PRNN_CONTENT;
    COUNTED(r, work_of(work_of(outs, out_height), work_of(work_of(each, area), CHEAP * (uint64_t)out_width + CHEAP) + out_width));
    const real *x = floats(r, f[0]), *w = floats(r, f[1]), *bias = floats(r, f[2]);
    real *y = floats(r, f[3]);
    for (size_t o = 0; o < outs; o++)
        for (size_t i = 0; i < out_height; i++) {
            real *row = y + (o * out_height + i) * out_width;
            for (size_t j = 0; j < out_width; j++)
                row[j] = bias ? bias[o] : 0;
            for (size_t c = 0; c < each; c++)
                for (size_t a = 0; a < k[0]; a++) {
                    if (STOPS(r, work_of(k[1], CHEAP * (uint64_t)out_width + CHEAP)))
                        return PRNN_STOPPED;
                    int64_t from_row = (int64_t)i * k[2] + (int64_t)a * k[6] - k[4];
                    if (from_row < 0 || from_row >= (int64_t)height)
                        continue;
                    const real *in = x + ((o / (outs / groups) * each + c) * height + (size_t)from_row) * width;
                    for (size_t b = 0; b < k[1]; b++) {
                        real factor = w[((o * each + c) * k[0] + a) * k[1] + b];
                        for (size_t j = 0; j < out_width; j++) {
                            int64_t from = (int64_t)j * k[3] + (int64_t)b * k[7] - k[5];
                            if (from >= 0 && from < (int64_t)width)
                                row[j] += factor * in[from];
                        }
                    }
                }
        }
    return PRNN_OK;
}

static int run_pool(struct run *r, const uint32_t *f)
{
    size_t height, width, out_height, out_width, channels = f[3];
    const uint32_t *k = f + 8;
    if (!size_at(f + 4, r->steps, &height) || !size_at(f + 6, r->steps, &width) || !size_at(f + 14, r->steps, &out_height) ||
        !size_at(f + 16, r->steps, &out_width) || f[2] > 2 || !channels || channels > 1 << 20)
        return PRNN_CONTENT;
    for (int i = 0; i < 6; i++)
        if (k[i] > 1 << 16)
            return PRNN_CONTENT;
    if ((uint64_t)height * width > MOST_NUMBERS / channels || (uint64_t)out_height * out_width > MOST_NUMBERS / channels ||
        !has(r, f[0], (uint64_t)channels * height * width) || !has(r, f[1], (uint64_t)channels * out_height * out_width))
        return PRNN_CONTENT;
    COUNTED(r, work_of(work_of(channels * out_height, out_width), work_of(work_of(k[0], k[1]), CHEAP) + DEAR));
    for (size_t at = 0; at < channels * out_height * out_width; at++) {
        size_t c = at / (out_height * out_width), i = at / out_width % out_height, j = at % out_width, counted = 0;
        wide so_far = 0;
        for (size_t a = 0; a < k[0]; a++) {
            if (STOPS(r, CHEAP * (uint64_t)k[1]))
                return PRNN_STOPPED;
            for (size_t b = 0; b < k[1]; b++) {
                int64_t y = (int64_t)i * k[2] + (int64_t)a - k[4], x = (int64_t)j * k[3] + (int64_t)b - k[5];
                if (y < 0 || y >= (int64_t)height || x < 0 || x >= (int64_t)width)
                    continue;
                wide number = (wide)floats(r, f[0])[(c * height + (size_t)y) * width + (size_t)x];
                so_far = f[2] ? so_far + number : !counted || number > so_far || number != number ? number : so_far;
                counted++;
            }
        }
        size_t by = f[2] == 2 ? (size_t)k[0] * k[1] : counted;
        floats(r, f[1])[at] = (real)(f[2] && by ? so_far / (wide)by : so_far);
    }
    return PRNN_OK;
}

static int run_gather(struct run *r, const uint32_t *f)
{
    size_t s[3], count = r->numbers[f[1]], each = bytes_of(type_of(r->p, f[0]));
    const int32_t *indices = r->at[f[1]];
    if (!view(r, f + 3, f[0], s) || (uint64_t)s[0] * s[2] > MOST_NUMBERS || count > MOST_NUMBERS / (s[0] * s[2]) ||
        !has(r, f[2], (uint64_t)s[0] * count * s[2]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(work_of(s[0], count), s[2] + DEAR / CHEAP));
    for (size_t o = 0; o < s[0]; o++)
        for (size_t i = 0; i < count; i++) {
            if (STOPS(r, s[2]))
                return PRNN_STOPPED;
            int64_t index = indices[i] < 0 ? (int64_t)indices[i] + (int64_t)s[1] : indices[i];
            if (index < 0 || (uint64_t)index >= s[1])
                return PRNN_ID;
            memmove((uint8_t *)r->at[f[2]] + (o * count + i) * s[2] * each,
                   (const uint8_t *)r->at[f[0]] + (o * s[1] + (size_t)index) * s[2] * each, s[2] * each);
        }
    return PRNN_OK;
}

static int run_argmax(struct run *r, const uint32_t *f)
{
    size_t s[3];
    if (!view(r, f + 3, f[0], s) || !has(r, f[1], (uint64_t)s[0] * s[2]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(s[0] * s[1] * s[2], 2 * CHEAP));
    for (size_t o = 0; o < s[0]; o++)
        for (size_t i = 0; i < s[2]; i++) {
            if (STOPS(r, 2 * CHEAP * (uint64_t)s[1]))
                return PRNN_STOPPED;
            size_t best = 0;
            for (size_t n = 1; n < s[1]; n++) {
                wide x = number_at(r, f[0], (o * s[1] + n) * s[2] + i);
                wide y = number_at(r, f[0], (o * s[1] + best) * s[2] + i);
                best = (f[2] ? x < y : x > y) ? n : best;
            }
            ((int32_t *)r->at[f[1]])[o * s[2] + i] = (int32_t)best;
        }
    return PRNN_OK;
}

/* Flags: 1 leaves each number itself out, 2 goes from the end. */
static int run_cumsum(struct run *r, const uint32_t *f)
{
    size_t s[3];
    if (!view(r, f + 3, f[0], s) || !has(r, f[1], (uint64_t)s[0] * s[1] * s[2]))
        return PRNN_CONTENT;
    COUNTED(r, work_of(s[0] * s[1] * s[2], 2 * CHEAP));
    for (size_t o = 0; o < s[0]; o++)
        for (size_t i = 0; i < s[2]; i++) {
            if (STOPS(r, 2 * CHEAP * (uint64_t)s[1]))
                return PRNN_STOPPED;
            wide sum = 0;
            for (size_t n = 0; n < s[1]; n++) {
                size_t at = (o * s[1] + (f[2] & 2 ? s[1] - 1 - n : n)) * s[2] + i;
                wide x = number_at(r, f[0], at);
                put_at(r, f[1], at, f[2] & 1 ? sum : sum + x);
                sum += x;
            }
        }
    return PRNN_OK;
}

static int (*const RUN[OP_KINDS])(struct run *, const uint32_t *) = {
#define OPERATION(NAME, name, words, reads, optional) run_##name,
#include "ops.def"
#undef OPERATION
};

/* Whether nothing reads a value, since its lookup is left out. */
static int is_left_out(const struct program *g, uint32_t value)
{
    for (int k = 0; k < MOST_KNOWN; k++)
        if (g->known[k].lookup && g->known[k].lookup[2] == value)
            return 1;
    return 0;
}

/* How many numbers each value has that a program may read, and where its regions begin, the last one being their end. */
static int measured(struct run *r, size_t *regions)
{
    const prnn *p = r->p;
    const struct program *g = r->g;
    memset(regions, 0, ((size_t)g->regions + 1) * sizeof *regions);
    for (uint32_t i = 0; i < g->end; i++) {
        const uint32_t *value = value_of(p, i);
        r->numbers[i] = 0;
        if (!may_read(p, g, i))
            continue;
        int status = product_at(value + 5, FACTORS, r->steps, &r->numbers[i]);
        if (status)
            return status;
        if (is_constant(p, i) || i < g->first)
            continue;
        size_t bytes = r->numbers[i] * bytes_of(type_of(p, i));
        if (bytes > regions[value[1]] && !is_left_out(g, i))
            regions[value[1]] = bytes;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i <= g->regions; i++) {
        size_t bytes = regions[i];
        regions[i] = (size_t)total;
        total += aligned(bytes);
        if (total > SIZE_MAX / 8)
            return PRNN_COSTLY;
    }
    if (total + p->scratch * sizeof(real) > PRNN_MOST_MEMORY(p->header[H_SIZE], (uint64_t)r->steps))
        return PRNN_COSTLY;
    return r->numbers[0] == r->steps && (!g->state_size || r->numbers[g->first] == g->state_size) ? PRNN_OK
                                                                                                   : PRNN_CONTENT;
}

/* Whether a text may take what its operations take; asked before a long one is begun. */
static int counted(struct run *r)
{
    const uint32_t *op = r->g->ops;
    uint64_t left = r->left;
    int status = PRNN_OK;
    r->only_counts = 1;
    for (uint32_t i = 0; i < r->g->op_count && !status; i++, op += op[1])
        status = RUN[op[0]](r, op + 2);
    r->only_counts = 0;
    r->left = left;
    return status;
}

/* Where every value stands, for a text of so many ids; `state` is a step's. */
static int placed(struct run *r, const int32_t *ids, const real *state, struct arena *a)
{
    const prnn *p = r->p;
    const struct program *g = r->g;
    r->memory = a->memory;
    r->left = PRNN_MOST_WORK(p->header[H_SIZE], (uint64_t)r->steps);
    r->at = taken(a, (uint64_t)g->end * sizeof *r->at, 0);
    r->numbers = r->at ? taken(a, (uint64_t)g->end * sizeof *r->numbers, 0) : NULL;
    size_t *regions = r->numbers ? taken(a, ((uint64_t)g->regions + 1) * sizeof *regions, 0) : NULL;
    r->scratch = regions ? taken(a, (uint64_t)p->scratch * sizeof(real), 0) : NULL;
    if (!r->scratch)
        return PRNN_MEMORY;
    int status = measured(r, regions);
    if (status)
        return status;
    uint8_t *start = taken(a, regions[g->regions], 0);
    if (!start)
        return PRNN_MEMORY;
    /* A program that reads what it did not write finds nothing of an earlier text. */
    memset(start, 0, regions[g->regions]);
    for (uint32_t i = 0; i < g->end; i++)
        r->at[i] = is_constant(p, i) ? (void *)(uintptr_t)p->constants[i]
                   : i >= g->first   ? start + regions[value_of(p, i)[1]]
                                     : NULL;
    /* No operation writes to these. */
    r->at[0] = (void *)(uintptr_t)ids;
    if (g->state_size)
        r->at[g->first] = (void *)(uintptr_t)state;
    return r->steps > LONG_TEXT ? counted(r) : PRNN_OK;
}

/* Whether a classifier takes a text of these ids, which are in their range. */
static int beyond(const prnn *p, const int32_t *ids, size_t count)
{
    if (count < p->header[H_LEAST] || count > p->header[H_MOST])
        return count < p->header[H_LEAST] ? PRNN_TOO_SHORT : PRNN_TOO_LONG;
    if (!p->header[H_NEEDS_WORD])
        return PRNN_OK;
    for (size_t i = 0; i < count; i++)
        if (ids[i] != p->rules.padding_id)
            return PRNN_OK;
    return PRNN_NO_WORD;
}

static int are_ids(const prnn *p, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= p->header[H_IDS])
            return 0;
    return 1;
}

/* All operations, one after the other, and the logits. */
static int run_program(struct run *r, real *logits)
{
    const struct program *g = r->g;
    const uint32_t *op = g->ops;
    for (uint32_t i = 0; i < g->op_count; i++, op += op[1]) {
        int status = RUN[op[0]](r, op + 2);
        if (status)
            return status;
    }
    uint32_t classes = r->p->header[H_CLASSES];
    if (r->numbers[g->output] != classes)
        return PRNN_CONTENT;
    memcpy(logits, floats(r, g->output), classes * sizeof *logits);
    return PRNN_OK;
}

static int logits_of(const prnn *p, const int32_t *ids, size_t count, real *logits, struct arena *a)
{
    if (!are_ids(p, ids, count))
        return PRNN_ID;
    int status = beyond(p, ids, count);
    struct run r = {.p = p, .g = &p->whole, .steps = count};
    if (!status)
        status = placed(&r, ids, NULL, a);
    return status ? status : run_program(&r, logits);
}

/* Read on from a state; the new one may take its place. */
static int step_of(const prnn *p, const int32_t *ids, size_t count, const real *state, real *logits, real *new_state,
                   struct arena *a)
{
    struct run r = {.p = p, .g = &p->step, .steps = count};
    int status = placed(&r, ids, state, a);
    if (!status && r.numbers[p->step.new_state] != p->step.state_size)
        status = PRNN_CONTENT;
    if (!status)
        status = run_program(&r, logits);
    if (!status)
        memmove(new_state, floats(&r, p->step.new_state), p->step.state_size * sizeof *new_state);
    return status;
}

/* Several texts, by falling number of ids, operation by operation. */
static int run_all(struct run *runs, size_t count, real *scratch)
{
    const prnn *p = runs[0].p;
    const uint32_t *op = p->whole.ops;
    for (uint32_t i = 0; i < p->whole.op_count; i++, op += op[1]) {
        int status = PRNN_OK;
        if (op[0] == OP_RECURRENT && count > 1)
            status = run_recurrent_together(runs, count, op + 2, scratch);
        else
            for (size_t k = 0; k < count && !status; k++)
                status = RUN[op[0]](&runs[k], op + 2);
        if (status)
            return status;
    }
    return PRNN_OK;
}

/* Up to TOGETHER texts: PRNN_MEMORY, or else every text has its status. */
static int classify_some(const prnn *p, struct prnn_text *texts, size_t count, struct arena *a)
{
    struct run runs[TOGETHER];
    struct prnn_text *of[TOGETHER];
    const int32_t *ids[TOGETHER];
    size_t right = 0, classes = p->header[H_CLASSES];
    for (size_t k = 0; k < count; k++) {
        const int32_t *own;
        size_t steps = 0, at = right;
        int status = encode(p, texts[k].text, texts[k].bytes, &own, &steps, a);
        if (status == PRNN_MEMORY || status == PRNN_STOPPED)
            return status;
        if (!status)
            status = beyond(p, own, steps);
        texts[k].status = status;
        if (status)
            continue;
        for (; at && runs[at - 1].steps < steps; at--) {
            runs[at] = runs[at - 1];
            of[at] = of[at - 1];
            ids[at] = ids[at - 1];
        }
        runs[at] = (struct run){.p = p, .g = &p->whole, .steps = steps};
        of[at] = &texts[k];
        ids[at] = own;
        right++;
    }
    if (!right)
        return PRNN_OK;
    int status = PRNN_OK;
    for (size_t k = 0; k < right && !status; k++)
        status = placed(&runs[k], ids[k], NULL, a);
    real *scratch = status ? NULL : taken(a, (uint64_t)TOGETHER * p->scratch * sizeof *scratch, 0);
    if (!status && !scratch)
        status = PRNN_MEMORY;
    if (status == PRNN_MEMORY)
        return status;
    if (!status)
        status = run_all(runs, right, scratch);
    for (size_t k = 0; k < right; k++) {
        if (!status && runs[k].numbers[p->whole.output] != classes)
            status = PRNN_CONTENT;
        of[k]->status = status;
        if (!status)
            memcpy(of[k]->logits, floats(&runs[k], p->whole.output), classes * sizeof(real));
    }
    if (status && status != PRNN_STOPPED) /* one alone may be right all the same */
        for (size_t k = 0; k < right; k++) {
            struct arena again = *a;
            size_t count_of_ids = runs[k].steps;
            if ((of[k]->status = logits_of(p, ids[k], count_of_ids, of[k]->logits, &again)) == PRNN_MEMORY) {
                a->wanted = again.wanted;
                return PRNN_MEMORY;
            }
        }
    return status == PRNN_STOPPED ? status : PRNN_OK;
}

int prnn_classify_many(const prnn *p, struct prnn_text *texts, size_t count, size_t *done, void *memory, size_t *size)
{
    while (*done < count) {
        struct arena a = arena_of(memory, *size);
        size_t some = count - *done < TOGETHER ? count - *done : TOGETHER;
        int status = classify_some(p, texts + *done, some, &a);
        if (status == PRNN_MEMORY)
            *size = a.wanted;
        if (status)
            return status;
        *done += some;
    }
    return PRNN_OK;
}

int prnn_logits(const prnn *p, const int32_t *ids, size_t count, real *logits, void *memory, size_t *size)
{
    struct arena a = arena_of(memory, *size);
    int status = logits_of(p, ids, count, logits, &a);
    if (status == PRNN_MEMORY)
        *size = a.wanted;
    return status;
}

int prnn_classify(const prnn *p, const char *text, size_t bytes, real *logits, void *memory, size_t *size)
{
    struct arena a = arena_of(memory, *size);
    const int32_t *ids;
    size_t count;
    int status = encode(p, text, bytes, &ids, &count, &a);
    if (!status)
        status = logits_of(p, ids, count, logits, &a);
    if (status == PRNN_MEMORY)
        *size = a.wanted;
    return status;
}

/* The operation that looks up the embeddings of the ids themselves which this layer reads, step by step; or NULL. */
static const uint32_t *lookup_of_ids(const prnn *p, const struct program *g, const uint32_t *layer)
{
    const uint32_t *op = g->ops;
    if (layer[R_STEPS] != 1 || layer[R_STEPS + 1] != 0)
        return NULL;
    for (uint32_t i = 0; i < g->op_count; i++, op += op[1]) {
        const uint32_t *f = op + 2;
        if (op[0] == OP_LOOKUP && f[1] == 0 && f[2] == layer[R_X] && value_of(p, f[0])[8] == layer[R_INPUT] &&
            value_of(p, f[0])[6] >= p->header[H_IDS])
            return f;
    }
    return NULL;
}

/* Whether `value` is read by these layers alone, as what they read step by step, and written by `lookup` alone. */
static int is_only_read_by(const struct program *g, uint32_t value, const uint32_t *lookup)
{
    const uint32_t *op = g->ops;
    for (uint32_t i = 0; i < g->op_count; i++, op += op[1]) {
        const uint32_t *f = op + 2;
        int is_layer = 0;
        for (int k = 0; k < MOST_KNOWN; k++)
            is_layer |= g->known[k].operands == f;
        for (int n = is_layer ? R_X + 1 : 0; n <= OP_READS[op[0]] && f != lookup; n++)
            if (f[n] == value)
                return 0;
        if (op[0] == OP_RECURRENT && (f[R_LAST_H] == value || f[R_LAST_C] == value))
            return 0;
    }
    return value != g->output && !(g->state_size && value == g->new_state);
}

/* The layers of a program that read the embeddings of the ids: how many. */
static int find_known(const prnn *p, struct program *g)
{
    const uint32_t *op = g->ops;
    int found = 0;
    for (uint32_t i = 0; i < g->op_count && found < MOST_KNOWN; i++, op += op[1]) {
        const uint32_t *lookup = op[0] == OP_RECURRENT ? lookup_of_ids(p, g, op + 2) : NULL;
        if (lookup)
            g->known[found++] = (struct known){.operands = op + 2, .table = value_of(p, lookup[0]), .lookup = lookup};
    }
    for (int k = 0; k < found; k++)
        if (!is_only_read_by(g, g->known[k].operands[R_X], g->known[k].lookup))
            g->known[k].lookup = NULL;
    return found;
}

/* Fill what memory is given with products of the first words, which are the most frequent of most vocabularies. */
static void make_known(prnn *p, uint8_t *memory, size_t size)
{
    struct program *g = &p->whole;
    int found = find_known(p, g);
    size_t each = 0;
    for (int k = 0; k < found; k++) {
        const uint32_t *f = g->known[k].operands;
        each += (f[R_DIRECTIONS] == 3 ? 2 : 1) * gates_of(f[R_KIND]) * padded(f[R_HIDDEN]) * sizeof(real);
    }
    size &= ~(size_t)(ALIGN - 1);
    for (int k = 0; k < found; k++) {
        const uint32_t *f = g->known[k].operands, *table = g->known[k].table;
        size_t width = padded(f[R_HIDDEN]), gate_width = gates_of(f[R_KIND]) * width, input = f[R_INPUT];
        /* A row and the biases stand behind the products while they are made. */
        size_t aside = aligned((4 * input + 2 * gate_width) * sizeof(real)), words = size > aside ? (size - aside) / each : 0;
        words = (words < table[6] ? words : table[6]) & ~(size_t)3;
        words = words < p->header[H_IDS] ? words : p->header[H_IDS] & ~3u;
        uint64_t each_word = (uint64_t)input * gate_width * (f[R_DIRECTIONS] == 3 ? 2 : 1);
        words = words < MOST_OPENING / each_word ? words : (size_t)(MOST_OPENING / each_word) & ~(size_t)3;
        g->known[k].words = (uint32_t)words;
        if (!words)
            continue;
        real *rows = (real *)(void *)(memory + size - aside), *bias = rows + 4 * input;
        for (size_t i = 0; i < (f[R_DIRECTIONS] == 3 ? 2 : 1); i++) {
            const uint32_t *weights = f + R_WEIGHTS + 4 * i;
            real *products = (real *)(void *)memory;
            add_biases(p->constants[weights[2]], p->constants[weights[3]], f[R_KIND], width, bias);
            for (size_t word = 0; word < words; word += 4) {
                for (size_t n = 0; n < 4; n++)
                    row_of(p, table, word + n, input, rows + n * input);
                multiply(p, weights[0], rows, input, 4, input, gate_width, bias, 0, products + word * gate_width,
                         gate_width, bias + gate_width);
            }
            g->known[k].products[i] = products;
            memory += words * gate_width * sizeof(real);
            size -= words * gate_width * sizeof(real);
        }
        each -= (f[R_DIRECTIONS] == 3 ? 2 : 1) * gate_width * sizeof(real);
    }
}

/* Where a layer of the step is one of whole texts with the same table and weights, the products are the same too. */
static void share_known(prnn *p)
{
    int found = find_known(p, &p->step);
    for (int k = 0; k < found; k++)
        for (int w = 0; w < MOST_KNOWN; w++) {
            struct known *one = &p->step.known[k];
            const struct known *made = &p->whole.known[w];
            if (!made->operands || one->table != made->table ||
                memcmp(one->operands + R_KIND, made->operands + R_KIND, 4 * sizeof *made->operands) ||
                memcmp(one->operands + R_WEIGHTS, made->operands + R_WEIGHTS, 8 * sizeof *made->operands))
                continue;
            memcpy(one->products, made->products, sizeof one->products);
            one->words = made->words;
        }
}

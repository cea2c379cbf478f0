/* The engine as one WebAssembly module; scripts/build_web compiles it, runtime/web/native.js calls it. There is no C
 * library here: this file brings what the engine needs of one. Nothing is imported, so it cannot reach out of its
 * own memory. */
/* The inner loops are compiled as the compiler is asked to, all else for size: a fifth less time than with all for size. */
#define PRNN_AFTER_KERNELS _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
#include "../src/pocketrnn.c"

/* ---- string.h --------------------------------------------------------------------------------------------------- */

/* Must not be compiled into calls of themselves. */
#define PLAIN __attribute__((no_builtin))
typedef uint64_t word __attribute__((aligned(1), may_alias));

PLAIN void *memcpy(void *to, const void *from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    for (; size >= sizeof(word); size -= sizeof(word), out += sizeof(word), in += sizeof(word))
        *(word *)out = *(const word *)in;
    while (size--)
        *out++ = *in++;
    return to;
}

PLAIN void *memmove(void *to, const void *from, size_t size)
{
    if ((uintptr_t)to - (uintptr_t)from >= size)
        return memcpy(to, from, size);
    while (size--)
        ((uint8_t *)to)[size] = ((const uint8_t *)from)[size];
    return to;
}

PLAIN void *memset(void *to, int byte, size_t size)
{
    uint8_t *out = to;
    word pattern = 0x0101010101010101u * (uint8_t)byte;
    for (; size >= sizeof(word); size -= sizeof(word), out += sizeof(word))
        *(word *)out = pattern;
    while (size--)
        *out++ = (uint8_t)byte;
    return to;
}

PLAIN int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *left = a, *right = b;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return left[i] - right[i];
    return 0;
}

PLAIN void *memchr(const void *bytes, int byte, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        if (at[i] == (uint8_t)byte)
            return (void *)(uintptr_t)(at + i);
    return NULL;
}

/* ---- math.h: within some units of the last place of a double, of which a float keeps less than half --------------- */

/* x * 2^power, where power is from -2098 to 1024. */
static double scale_by_power_of_2(double x, int power)
{
    while (power > 1023 || power < -1022) {
        int some = power > 0 ? 1023 : -1022;
        union { uint64_t bits; double number; } by = {.bits = (uint64_t)(some + 1023) << 52};
        x *= by.number;
        power -= some;
    }
    union { uint64_t bits; double number; } by = {.bits = (uint64_t)(power + 1023) << 52};
    return x * by.number;
}

/* 1 / n! */
static const double PARTS[18] = {
    1.0, 1.0, 0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333333333, 0.001388888888888889,
    0.0001984126984126984, 2.48015873015873e-05, 2.7557319223985893e-06, 2.755731922398589e-07,
    2.505210838544172e-08, 2.08767569878681e-09, 1.6059043836821613e-10, 1.1470745597729725e-11,
    7.647163731819816e-13, 4.779477332387385e-14, 2.8114572543455206e-15};

/* The sum of x^n / n! from n = `first` on, divided by x^first, for |x| up to 0.35. */
static double sum_exponential_series(double x, int first)
{
    double sum = 0;
    for (int n = 17; n >= first; n--)
        sum = sum * x + PARTS[n];
    return sum;
}

static const double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;

double exp(double x)
{
    if (x != x || x > 710)
        return x + __builtin_inf() * (x > 0);
    if (x < -746)
        return 0;
    double power = floor(x * 1.44269504088896338700 + 0.5);
    return scale_by_power_of_2(sum_exponential_series(x - power * LN2_HIGH - power * LN2_LOW, 0), (int)power);
}

double expm1(double x) { return x > -0.35 && x < 0.35 ? x * sum_exponential_series(x, 1) : exp(x) - 1; }

double log(double x)
{
    if (!(x > 0) || x > 1.7976931348623157e308)
        return x == 0 ? -__builtin_inf() : x > 0 ? x : __builtin_nan("");
    int power = 0;
    if (x < 2.2250738585072014e-308) {
        x *= 18014398509481984.0; /* 2^54 */
        power = -54;
    }
    union { double number; uint64_t bits; } parts = {.number = x};
    power += (int)(parts.bits >> 52) - 1023;
    parts.bits = (parts.bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
    if (parts.number > 1.41421356237309504880) {
        parts.number *= 0.5;
        power++;
    }
    /* log m = 2 artanh s */
    double s = (parts.number - 1) / (parts.number + 1), square = s * s, sum = 0;
    for (int n = 25; n >= 1; n -= 2)
        sum = sum * square + 2.0 / n;
    return power * LN2_HIGH + (power * LN2_LOW + s * sum);
}

/* The slope corrects for the digits that 1 + x loses. */
double log1p(double x)
{
    double above = 1 + x;
    if (!(above > 0) || above > 1.7976931348623157e308)
        return log(above);
    return above == 1 ? x : log(above) - ((above - 1) - x) / above;
}

double tanh(double x)
{
    double size = x < 0 ? -x : x;
    if (!(size < 20))
        return x != x ? x : x < 0 ? -1 : 1;
    double grown = expm1(2 * size), t = grown / (grown + 2);
    return x < 0 ? -t : t;
}

/* Exact for y = 2, which is all that it is asked for. */
double fmod(double x, double y) { return x - y * __builtin_trunc(x / y); }

double pow(double x, double y)
{
    if (y == 0 || x == 1)
        return 1;
    if (x != x || y != y)
        return x + y;
    double size = x < 0 ? -x : x;
    int is_whole = floor(y) == y, is_odd = is_whole && isfinite(y) && fmod(y, 2) != 0;
    if (is_whole && isfinite(x) && y >= -64 && y <= 64) {
        double product = 1;
        for (double n = y < 0 ? -y : y; n > 0; n--)
            product *= x;
        return y < 0 ? 1 / product : product;
    }
    if (x < 0 && !is_whole && isfinite(x))
        return __builtin_nan("");
    double power = size == 1 ? 1 : exp(y * log(size));
    return __builtin_signbit(x) && is_odd ? -power : power;
}

/* erf x = 2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...): no term is negative, so that none takes from another's
 * digits. */
double erf(double x)
{
    double size = x < 0 ? -x : x;
    if (!(size < 6))
        return x != x ? x : x < 0 ? -1 : 1;
    double term = size, sum = size;
    for (double n = 3; term > 1e-18 * sum; n += 2)
        sum += term *= 2 * x * x / n;
    sum *= 1.12837916709551257390 * exp(-x * x);
    return x < 0 ? -sum : sum;
}

/* sin(x + quarters * pi / 2). Beyond 2^20 the digits of x - n pi / 2 are lost one by one. */
static double compute_shifted_sine(double x, double quarters)
{
    double n = floor(x * 0.63661977236758134308 + 0.5);
    /* pi / 2 in parts whose products with n are exact (fdlibm's) */
    x = x - n * 1.57079632673412561417 - n * 6.07710050630396597660e-11 - n * 2.02226624871116645580e-21 -
        n * 8.47842766036889956997e-32;
    if (!(x < 2 && x > -2)) /* so large a number has lost them all, infinity and NaN have none */
        x -= x;
    n += quarters;
    double square = x * x, sum = 0;
    int is_cosine = fmod(n, 2) != 0;
    for (int i = is_cosine ? 16 : 17; i >= 0; i -= 2)
        sum = PARTS[i] - sum * square;
    sum *= is_cosine ? 1 : x;
    return fmod(floor(n / 2), 2) != 0 ? -sum : sum;
}

double sin(double x) { return compute_shifted_sine(x, 0); }
double cos(double x) { return compute_shifted_sine(x, 1); }

/* ---- What native.js asks beside the functions of pocketrnn.h ------------------------------------------------------ */

/* Whether a code point is of a script that puts no space between words: Thai, Lao, Burmese, Khmer, kana, Han. */
static int is_unspaced(uint32_t code)
{
    return code - 0xE00 < 0x100 || code - 0x1000 < 0xA0 || code - 0x1780 < 0x80 || code - 0x3040 < 0xC0 || code - 0x3400 < 0x19C0 ||
           code - 0x4E00 < 0x5200 || code - 0xF900 < 0x200 || code - 0x20000 < 0x1FFFE;
}

/* The positions of the words of a text, or, for a classifier of characters, of its code points: the bytes of their beginnings and
 * ends, at most as many pairs as the text has bytes. With subwords, each code point of a script without spaces is separate. The
 * number of pairs; -1 if the text is not UTF-8. */
int32_t prnn_words(const prnn *p, const uint8_t *text, size_t bytes, uint32_t (*places)[2])
{
    const uint8_t *at = text, *end = text + bytes, *start = text;
    int32_t count = 0;
    int all_alone = p->rules->tokenizer == CHARACTERS, some_alone = p->rules->tokenizer == SUBWORDS, was_alone = 0;
    if (!is_utf8(text, bytes))
        return -1;
    for (;;) {
        const uint8_t *after = at;
        size_t white = at == end || all_alone ? 0 : measure_white_space(at, end);
        uint32_t code = at == end ? 0 : (uint32_t)decode_code_point(&after, end);
        int alone = all_alone || (some_alone && is_unspaced(code));
        if ((at == end || white || alone || was_alone) && at > start) {
            places[count][0] = (uint32_t)(start - text);
            places[count++][1] = (uint32_t)(at - text);
            start = at;
        }
        if (at == end)
            return count;
        start = white ? after : start;
        was_alone = alone;
        at = after;
    }
}

/* The reason for refusing samples of a sequence of numbers, as in the runtime in Python: the kind of the worst fault (1 infinite,
 * 2 missing, 3 too large for float32; 0 for none), and at `found` how many samples have it, and which is the first. */
int prnn_fault_of_samples(const prnn *p, const void *samples, int type, size_t steps, uint32_t found[2])
{
    uint32_t counts[4] = {0}, firsts[4];
    for (size_t at = 0; at < steps * p->header->channels; at++) {
        real made;
        size_t channel = at % p->header->channels;
        int status = scale_sample(p, samples, type, at, channel, &made);
        int kind = !status ? 0 : status == PRNN_MISSING ? 2 : isfinite(read_sample(p, samples, type, at, channel)) ? 3 : 1;
        if (!counts[kind]++)
            firsts[kind] = (uint32_t)at;
    }
    for (int kind = 1; kind < 4; kind++)
        if (counts[kind]) {
            found[0] = counts[kind];
            found[1] = firsts[kind];
            return kind;
        }
    return 0;
}
#pragma clang attribute pop

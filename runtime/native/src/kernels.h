/* The inner loops, in vectors of LANES numbers. pocketrnn.c includes this file once for every instruction set that it
 * chooses among when a file is opened, with KERNEL(name) giving the functions names of their own, and says:
 *
 *   LANES           16 for AVX-512, else 8, which is taken where nothing is said. Rows are multiples of 8 wide, so that
 *                   the last 8 numbers of one may be half a vector
 *   PRNN_VECTORS    what a vector is: GNU C's, which its compilers turn into the machine's; two of 32-bit ARM's NEON,
 *                   which gcc does not use by itself, since it takes denormal numbers for 0; or a loop, for any compiler
 *   PRNN_TILES      how many sums are kept in registers: 3 for 16 registers of 256 bits or 32 of 128, 2 for half as
 *                   many, 1 for the latter in little code, 0 for 32 scalars */

#ifndef LANES
#define LANES 8
#endif
#define vec KERNEL(vec)
#if defined(__GNUC__) && !defined(PRNN_SMALL)
#define INLINE static inline __attribute__((always_inline, unused))
#else
#define INLINE static inline
#endif
#if defined(__GNUC__) && !defined(PRNN_SMALL) /* so that sums are registers whatever the compiler is asked for */
#define UNROLLED _Pragma("GCC unroll 8")
#else
#define UNROLLED
#endif

#if PRNN_VECTORS == PRNN_GNU
typedef real vec __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real)), may_alias));
#if LANES == 16
INLINE vec KERNEL(all)(real x) { return (vec)_mm512_set1_ps(x); }
INLINE vec KERNEL(load_8)(const real *from) { return (vec)_mm512_zextps256_ps512(_mm256_loadu_ps(from)); }
INLINE void KERNEL(store_8)(real *to, vec x) { _mm256_storeu_ps(to, _mm512_castps512_ps256((__m512)x)); }
#else
INLINE vec KERNEL(all)(real x) { return (vec){x, x, x, x, x, x, x, x}; }
#endif
INLINE vec KERNEL(load)(const real *from) { return *(const vec *)from; }
INLINE void KERNEL(store)(real *to, vec x) { *(vec *)to = x; }
INLINE vec KERNEL(sum)(vec x, vec y) { return x + y; }
INLINE vec KERNEL(times)(vec x, vec y) { return x * y; }
INLINE vec KERNEL(over)(vec x, vec y) { return x / y; }
/* x * y + z, rounded once where the machine can. */
INLINE vec KERNEL(fused)(vec x, vec y, vec z) { return x * y + z; }
#ifndef PRNN_DOUBLE
/* NaN stays. The compilers make no minimum of the portable form: gcc 12 takes it apart number by number in SSE2. */
INLINE vec KERNEL(at_most)(vec x, real bound)
{
#if LANES == 16
    return (vec)_mm512_min_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(KERNEL_AVX2)
    return (vec)_mm256_min_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    union { vec all; __m128 half[2]; } of = {x};
    of.half[0] = _mm_min_ps(_mm_set1_ps(bound), of.half[0]);
    of.half[1] = _mm_min_ps(_mm_set1_ps(bound), of.half[1]);
    return of.all;
#else
    typedef int32_t i8x __attribute__((vector_size(32)));
    i8x over = x > KERNEL(all)(bound);
    return (vec)(((i8x)KERNEL(all)(bound) & over) | ((i8x)x & ~over));
#endif
}

INLINE vec KERNEL(at_least)(vec x, real bound)
{
#if LANES == 16
    return (vec)_mm512_max_ps(_mm512_set1_ps(bound), (__m512)x);
#elif defined(KERNEL_AVX2)
    return (vec)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    union { vec all; __m128 half[2]; } of = {x};
    of.half[0] = _mm_max_ps(_mm_set1_ps(bound), of.half[0]);
    of.half[1] = _mm_max_ps(_mm_set1_ps(bound), of.half[1]);
    return of.all;
#else
    return -KERNEL(at_most)(-x, -bound);
#endif
}

INLINE vec KERNEL(clamp)(vec x, real bound) { return KERNEL(at_least)(KERNEL(at_most)(x, bound), -bound); }
#endif

#elif PRNN_VECTORS == PRNN_ARM_NEON
typedef struct { float32x4_t of[2]; } vec;
INLINE vec KERNEL(all)(real x) { return (vec){{vdupq_n_f32(x), vdupq_n_f32(x)}}; }
INLINE vec KERNEL(load)(const real *from) { return (vec){{vld1q_f32(from), vld1q_f32(from + 4)}}; }
INLINE void KERNEL(store)(real *to, vec x)
{
    vst1q_f32(to, x.of[0]);
    vst1q_f32(to + 4, x.of[1]);
}
INLINE vec KERNEL(sum)(vec x, vec y) { return (vec){{vaddq_f32(x.of[0], y.of[0]), vaddq_f32(x.of[1], y.of[1])}}; }
INLINE vec KERNEL(times)(vec x, vec y) { return (vec){{vmulq_f32(x.of[0], y.of[0]), vmulq_f32(x.of[1], y.of[1])}}; }
INLINE vec KERNEL(fused)(vec x, vec y, vec z)
{
    return (vec){{vfmaq_f32(z.of[0], x.of[0], y.of[0]), vfmaq_f32(z.of[1], x.of[1], y.of[1])}};
}
/* There is no division: Newton's steps, and a last one for the quotient itself. */
INLINE float32x4_t KERNEL(over4)(float32x4_t x, float32x4_t y)
{
    float32x4_t by = vrecpeq_f32(y);
    by = vmulq_f32(by, vrecpsq_f32(by, y));
    by = vmulq_f32(by, vrecpsq_f32(by, y));
    float32x4_t quotient = vmulq_f32(x, by);
    return vfmaq_f32(quotient, by, vfmsq_f32(x, y, quotient));
}
INLINE vec KERNEL(over)(vec x, vec y) { return (vec){{KERNEL(over4)(x.of[0], y.of[0]), KERNEL(over4)(x.of[1], y.of[1])}}; }
INLINE float32x4_t KERNEL(clamp4)(float32x4_t x, real bound) /* the minimum with NaN is NaN */
{
    return vmaxq_f32(vminq_f32(x, vdupq_n_f32(bound)), vdupq_n_f32(-bound));
}
INLINE vec KERNEL(clamp)(vec x, real bound) { return (vec){{KERNEL(clamp4)(x.of[0], bound), KERNEL(clamp4)(x.of[1], bound)}}; }

#else
typedef struct { real of[8]; } vec;
#define EACH(expression)                                                                                               \
    vec made;                                                                                                          \
    for (int i = 0; i < 8; i++)                                                                                        \
        made.of[i] = (expression);                                                                                     \
    return made
INLINE vec KERNEL(all)(real x) { EACH(x); }
INLINE vec KERNEL(load)(const real *from) { EACH(from[i]); }
INLINE void KERNEL(store)(real *to, vec x) { memcpy(to, x.of, sizeof x.of); }
INLINE vec KERNEL(sum)(vec x, vec y) { EACH(x.of[i] + y.of[i]); }
INLINE vec KERNEL(times)(vec x, vec y) { EACH(x.of[i] * y.of[i]); }
INLINE vec KERNEL(over)(vec x, vec y) { EACH(x.of[i] / y.of[i]); }
INLINE vec KERNEL(fused)(vec x, vec y, vec z) { EACH(x.of[i] * y.of[i] + z.of[i]); }
INLINE vec KERNEL(clamp)(vec x, real bound)
{
    EACH(x.of[i] > bound ? bound : x.of[i] < -bound ? -bound : x.of[i]);
}
#undef EACH
#endif

#ifdef PRNN_DOUBLE
INLINE vec KERNEL(tanh)(vec x)
{
    real each[8];
    KERNEL(store)(each, x);
    for (int i = 0; i < 8; i++)
        each[i] = tanh(each[i]);
    return KERNEL(load)(each);
}
#else
/* The rational function of degrees 13 and 6 that Eigen and onnxruntime use: 4e-7 from tanh at most. Its numbers of over
 * 8.05 are cut to 1: a gate that is kept open for thousands of steps must be exactly open. */
INLINE vec KERNEL(tanh)(vec x)
{
    x = KERNEL(clamp)(x, 9.0f);
    vec s = KERNEL(times)(x, x);
#define NEXT(sum, factor) sum = KERNEL(fused)(sum, s, KERNEL(all)(factor))
    vec p = KERNEL(all)(-2.76076847742355e-16f), q = KERNEL(all)(1.19825839466702e-06f);
    NEXT(p, 2.00018790482477e-13f);
    NEXT(p, -8.60467152213735e-11f);
    NEXT(p, 5.12229709037114e-08f);
    NEXT(p, 1.48572235717979e-05f);
    NEXT(p, 6.37261928875436e-04f);
    NEXT(p, 4.89352455891786e-03f);
    NEXT(q, 1.18534705686654e-04f);
    NEXT(q, 2.26843463243900e-03f);
    NEXT(q, 4.89352518554385e-03f);
#undef NEXT
    return KERNEL(clamp)(KERNEL(over)(KERNEL(times)(x, p), q), 1.0f);
}
#endif

INLINE vec KERNEL(sigmoid)(vec x)
{
    vec half = KERNEL(all)((real)0.5);
    return KERNEL(fused)(KERNEL(tanh)(KERNEL(times)(x, half)), half, half);
}

/* y[i][0..columns) = init[i] + x[i] . w, for `rows` of the constant number ROWS and VECTORS vectors of w's columns, read
 * and written by LOAD and STORE. */
#define TILE(name, ROWS, VECTORS, LOAD, STORE)                                                                         \
    INLINE void KERNEL(name)(const real *x, size_t x_row, size_t k, const real *w, size_t n, const real *init,         \
                             size_t init_row, real *y, size_t y_row)                                                   \
    {                                                                                                                  \
        vec sum[ROWS][VECTORS];                                                                                        \
        UNROLLED                                                                                                       \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            UNROLLED                                                                                                   \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                sum[i][j] = init ? KERNEL(LOAD)(init + (size_t)i * init_row + LANES * j) : KERNEL(all)(0);             \
        for (size_t p = 0; p < k; p++) {                                                                               \
            const real *row = w + p * n;                                                                               \
            UNROLLED                                                                                                   \
            for (int i = 0; i < ROWS; i++) {                                                                           \
                vec factor = KERNEL(all)(x[(size_t)i * x_row + p]);                                                    \
                UNROLLED                                                                                               \
                for (int j = 0; j < VECTORS; j++)                                                                      \
                    sum[i][j] = KERNEL(fused)(factor, KERNEL(LOAD)(row + LANES * j), sum[i][j]);                       \
            }                                                                                                          \
        }                                                                                                              \
        UNROLLED                                                                                                       \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            UNROLLED                                                                                                   \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                KERNEL(STORE)(y + (size_t)i * y_row + LANES * j, sum[i][j]);                                           \
    }
#if PRNN_TILES > 2
TILE(tile_4_2, 4, 2, load, store)
TILE(tile_1_8, 1, 8, load, store)
#endif
#if PRNN_TILES > 0
TILE(tile_4_1, 4, 1, load, store)
#endif
#if PRNN_TILES > 1
TILE(tile_1_4, 1, 4, load, store)
#endif
TILE(tile_1_1, 1, 1, load, store)
#if LANES > 8
TILE(tile_4_half, 4, 1, load_8, store_8)
TILE(tile_1_half, 1, 1, load_8, store_8)
#endif
#undef TILE

/* y[i] = init[i] + x[i] . w for m rows; n is a multiple of 8; init may be NULL, for zeros. */
static void KERNEL(product)(const real *x, size_t x_row, size_t m, size_t k, const real *w, size_t n, const real *init,
                            size_t init_row, real *y, size_t y_row)
{
#define CALL(name) KERNEL(name)(x, x_row, k, w + j, n, init ? init + j : NULL, init_row, y + j, y_row)
#if PRNN_TILES > 0
    for (; m >= 4; m -= 4, x += 4 * x_row, y += 4 * y_row, init = init ? init + 4 * init_row : NULL) {
        size_t j = 0;
#if PRNN_TILES > 2
        for (; j + 2 * LANES <= n; j += 2 * LANES)
            CALL(tile_4_2);
#endif
        for (; j + LANES <= n; j += LANES)
            CALL(tile_4_1);
#if LANES > 8
        if (j < n)
            CALL(tile_4_half);
#endif
    }
#endif
    for (; m; m--, x += x_row, y += y_row, init = init ? init + init_row : NULL) {
        size_t j = 0;
#if PRNN_TILES > 2
        for (; j + 8 * LANES <= n; j += 8 * LANES)
            CALL(tile_1_8);
#endif
#if PRNN_TILES > 1
        for (; j + 4 * LANES <= n; j += 4 * LANES)
            CALL(tile_1_4);
#endif
        for (; j + LANES <= n; j += LANES)
            CALL(tile_1_1);
#if LANES > 8
        if (j < n)
            CALL(tile_1_half);
#endif
    }
#undef CALL
}

/* The numbers of a gate or a state that begin at j, and are put back: the last may be half a vector. */
INLINE vec KERNEL(at)(const real *from, size_t j, size_t width)
{
#if LANES > 8
    if (j + LANES > width)
        return KERNEL(load_8)(from + j);
#endif
    (void)width;
    return KERNEL(load)(from + j);
}

INLINE void KERNEL(put)(real *to, size_t j, size_t width, vec x)
{
#if LANES > 8
    if (j + LANES > width) {
        KERNEL(store_8)(to + j, x);
        return;
    }
#endif
    (void)width;
    KERNEL(store)(to + j, x);
}

/* From the sums of one step's gates to its states; `width` is a multiple of 8. */
static void KERNEL(lstm)(const real *gates, size_t width, real *h, real *c)
{
    for (size_t j = 0; j < width; j += LANES) {
        vec in = KERNEL(sigmoid)(KERNEL(at)(gates, j, width));
        vec keep = KERNEL(sigmoid)(KERNEL(at)(gates + width, j, width));
        vec out = KERNEL(sigmoid)(KERNEL(at)(gates + 2 * width, j, width));
        vec fresh = KERNEL(tanh)(KERNEL(at)(gates + 3 * width, j, width));
        vec cell = KERNEL(fused)(keep, KERNEL(at)(c, j, width), KERNEL(times)(in, fresh));
        KERNEL(put)(c, j, width, cell);
        KERNEL(put)(h, j, width, KERNEL(times)(out, KERNEL(tanh)(cell)));
    }
}

/* `gates`: the sums of update and reset, and the hidden part of the new state; `fresh`: its part of the input. */
static void KERNEL(gru)(const real *gates, const real *fresh, size_t width, real *h)
{
    for (size_t j = 0; j < width; j += LANES) {
        vec keep = KERNEL(sigmoid)(KERNEL(at)(gates, j, width));
        vec reset = KERNEL(sigmoid)(KERNEL(at)(gates + width, j, width));
        vec hidden = KERNEL(at)(gates + 2 * width, j, width);
        vec new = KERNEL(tanh)(KERNEL(fused)(reset, hidden, KERNEL(at)(fresh, j, width)));
        vec change = KERNEL(fused)(KERNEL(all)(-1), new, KERNEL(at)(h, j, width));
        KERNEL(put)(h, j, width, KERNEL(fused)(keep, change, new));
    }
}

static void KERNEL(rnn)(const real *sums, size_t width, int relu, real *h)
{
    for (size_t j = 0; j < width; j += LANES) {
        if (!relu)
            KERNEL(put)(h, j, width, KERNEL(tanh)(KERNEL(at)(sums, j, width)));
        else
            for (size_t i = j; i < j + LANES && i < width; i++)
                h[i] = sums[i] < 0 ? 0 : sums[i];
    }
}

static void KERNEL(tanh_all)(const real *x, size_t n, real *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        KERNEL(store)(y + i, KERNEL(tanh)(KERNEL(load)(x + i)));
    if (i < n) {
        real rest[LANES] = {0};
        memcpy(rest, x + i, (n - i) * sizeof(real));
        KERNEL(store)(rest, KERNEL(tanh)(KERNEL(load)(rest)));
        memcpy(y + i, rest, (n - i) * sizeof(real));
    }
}

static const struct kernels KERNEL(kernels) = {KERNEL(product), KERNEL(lstm), KERNEL(gru), KERNEL(rnn),
                                               KERNEL(tanh_all)};
#undef vec
#undef LANES
#undef INLINE
#undef UNROLLED
#undef PRNN_VECTORS
#undef PRNN_TILES

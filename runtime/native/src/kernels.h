/* The inner loops, in vectors of 8 numbers. pocketrnn.c includes this file once for every instruction set that it
 * chooses among when a file is opened, with KERNEL(name) giving the functions names of their own, and says:
 *
 *   PRNN_VECTORS    what a vector is: GNU C's, which its compilers turn into the machine's; two of 32-bit ARM's NEON,
 *                   which gcc does not use by itself, since it takes denormal numbers for 0; or a loop, for any compiler
 *   PRNN_TILES      how many sums are kept in registers: 3 for 16 registers of 256 bits or 32 of 128, 2 for half as
 *                   many, 1 for the latter in little code, 0 for 32 scalars */

#define v8 KERNEL(v8)
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
typedef real v8 __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real)), may_alias));
INLINE v8 KERNEL(all)(real x) { return (v8){x, x, x, x, x, x, x, x}; }
INLINE v8 KERNEL(load)(const real *from) { return *(const v8 *)from; }
INLINE void KERNEL(store)(real *to, v8 x) { *(v8 *)to = x; }
INLINE v8 KERNEL(sum)(v8 x, v8 y) { return x + y; }
INLINE v8 KERNEL(times)(v8 x, v8 y) { return x * y; }
INLINE v8 KERNEL(over)(v8 x, v8 y) { return x / y; }
/* x * y + z, rounded once where the machine can. */
INLINE v8 KERNEL(fused)(v8 x, v8 y, v8 z) { return x * y + z; }
#ifndef PRNN_DOUBLE
/* NaN stays. The compilers make no minimum of the portable form: gcc 12 takes it apart number by number in SSE2. */
INLINE v8 KERNEL(at_most)(v8 x, real bound)
{
#if defined(KERNEL_AVX2)
    return (v8)_mm256_min_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    union { v8 all; __m128 half[2]; } of = {x};
    of.half[0] = _mm_min_ps(_mm_set1_ps(bound), of.half[0]);
    of.half[1] = _mm_min_ps(_mm_set1_ps(bound), of.half[1]);
    return of.all;
#else
    typedef int32_t i8x __attribute__((vector_size(32)));
    i8x over = x > KERNEL(all)(bound);
    return (v8)(((i8x)KERNEL(all)(bound) & over) | ((i8x)x & ~over));
#endif
}

INLINE v8 KERNEL(at_least)(v8 x, real bound)
{
#if defined(KERNEL_AVX2)
    return (v8)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
#elif defined(__SSE2__)
    union { v8 all; __m128 half[2]; } of = {x};
    of.half[0] = _mm_max_ps(_mm_set1_ps(bound), of.half[0]);
    of.half[1] = _mm_max_ps(_mm_set1_ps(bound), of.half[1]);
    return of.all;
#else
    return -KERNEL(at_most)(-x, -bound);
#endif
}

INLINE v8 KERNEL(clamp)(v8 x, real bound) { return KERNEL(at_least)(KERNEL(at_most)(x, bound), -bound); }
#endif

#elif PRNN_VECTORS == PRNN_ARM_NEON
typedef struct { float32x4_t of[2]; } v8;
INLINE v8 KERNEL(all)(real x) { return (v8){{vdupq_n_f32(x), vdupq_n_f32(x)}}; }
INLINE v8 KERNEL(load)(const real *from) { return (v8){{vld1q_f32(from), vld1q_f32(from + 4)}}; }
INLINE void KERNEL(store)(real *to, v8 x)
{
    vst1q_f32(to, x.of[0]);
    vst1q_f32(to + 4, x.of[1]);
}
INLINE v8 KERNEL(sum)(v8 x, v8 y) { return (v8){{vaddq_f32(x.of[0], y.of[0]), vaddq_f32(x.of[1], y.of[1])}}; }
INLINE v8 KERNEL(times)(v8 x, v8 y) { return (v8){{vmulq_f32(x.of[0], y.of[0]), vmulq_f32(x.of[1], y.of[1])}}; }
INLINE v8 KERNEL(fused)(v8 x, v8 y, v8 z)
{
    return (v8){{vfmaq_f32(z.of[0], x.of[0], y.of[0]), vfmaq_f32(z.of[1], x.of[1], y.of[1])}};
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
INLINE v8 KERNEL(over)(v8 x, v8 y) { return (v8){{KERNEL(over4)(x.of[0], y.of[0]), KERNEL(over4)(x.of[1], y.of[1])}}; }
INLINE float32x4_t KERNEL(clamp4)(float32x4_t x, real bound) /* the minimum with NaN is NaN */
{
    return vmaxq_f32(vminq_f32(x, vdupq_n_f32(bound)), vdupq_n_f32(-bound));
}
INLINE v8 KERNEL(clamp)(v8 x, real bound) { return (v8){{KERNEL(clamp4)(x.of[0], bound), KERNEL(clamp4)(x.of[1], bound)}}; }

#else
typedef struct { real of[8]; } v8;
#define EACH(expression)                                                                                               \
    v8 made;                                                                                                           \
    for (int i = 0; i < 8; i++)                                                                                        \
        made.of[i] = (expression);                                                                                     \
    return made
INLINE v8 KERNEL(all)(real x) { EACH(x); }
INLINE v8 KERNEL(load)(const real *from) { EACH(from[i]); }
INLINE void KERNEL(store)(real *to, v8 x) { memcpy(to, x.of, sizeof x.of); }
INLINE v8 KERNEL(sum)(v8 x, v8 y) { EACH(x.of[i] + y.of[i]); }
INLINE v8 KERNEL(times)(v8 x, v8 y) { EACH(x.of[i] * y.of[i]); }
INLINE v8 KERNEL(over)(v8 x, v8 y) { EACH(x.of[i] / y.of[i]); }
INLINE v8 KERNEL(fused)(v8 x, v8 y, v8 z) { EACH(x.of[i] * y.of[i] + z.of[i]); }
INLINE v8 KERNEL(clamp)(v8 x, real bound)
{
    EACH(x.of[i] > bound ? bound : x.of[i] < -bound ? -bound : x.of[i]);
}
#undef EACH
#endif

#ifdef PRNN_DOUBLE
INLINE v8 KERNEL(tanh)(v8 x)
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
INLINE v8 KERNEL(tanh)(v8 x)
{
    x = KERNEL(clamp)(x, 9.0f);
    v8 s = KERNEL(times)(x, x);
#define NEXT(sum, factor) sum = KERNEL(fused)(sum, s, KERNEL(all)(factor))
    v8 p = KERNEL(all)(-2.76076847742355e-16f), q = KERNEL(all)(1.19825839466702e-06f);
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

INLINE v8 KERNEL(sigmoid)(v8 x)
{
    v8 half = KERNEL(all)((real)0.5);
    return KERNEL(fused)(KERNEL(tanh)(KERNEL(times)(x, half)), half, half);
}

/* y[i][0..columns) = init[i] + x[i] . w, for `rows` of the constant number ROWS and 8 VECTORS columns of w. */
#define TILE(name, ROWS, VECTORS)                                                                                      \
    INLINE void KERNEL(name)(const real *x, size_t x_row, size_t k, const real *w, size_t n, const real *init,         \
                             size_t init_row, real *y, size_t y_row)                                                   \
    {                                                                                                                  \
        v8 sum[ROWS][VECTORS];                                                                                         \
        UNROLLED                                                                                                       \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            UNROLLED                                                                                                   \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                sum[i][j] = init ? KERNEL(load)(init + (size_t)i * init_row + 8 * j) : KERNEL(all)(0);                 \
        for (size_t p = 0; p < k; p++) {                                                                               \
            const real *row = w + p * n;                                                                               \
            UNROLLED                                                                                                   \
            for (int i = 0; i < ROWS; i++) {                                                                           \
                v8 factor = KERNEL(all)(x[(size_t)i * x_row + p]);                                                     \
                UNROLLED                                                                                               \
                for (int j = 0; j < VECTORS; j++)                                                                      \
                    sum[i][j] = KERNEL(fused)(factor, KERNEL(load)(row + 8 * j), sum[i][j]);                           \
            }                                                                                                          \
        }                                                                                                              \
        UNROLLED                                                                                                       \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            UNROLLED                                                                                                   \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                KERNEL(store)(y + (size_t)i * y_row + 8 * j, sum[i][j]);                                               \
    }
#if PRNN_TILES > 2
TILE(tile_4_2, 4, 2)
TILE(tile_1_8, 1, 8)
#endif
#if PRNN_TILES > 0
TILE(tile_4_1, 4, 1)
#endif
#if PRNN_TILES > 1
TILE(tile_1_4, 1, 4)
#endif
TILE(tile_1_1, 1, 1)
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
        for (; j + 16 <= n; j += 16)
            CALL(tile_4_2);
#endif
        for (; j < n; j += 8)
            CALL(tile_4_1);
    }
#endif
    for (; m; m--, x += x_row, y += y_row, init = init ? init + init_row : NULL) {
        size_t j = 0;
#if PRNN_TILES > 2
        for (; j + 64 <= n; j += 64)
            CALL(tile_1_8);
#endif
#if PRNN_TILES > 1
        for (; j + 32 <= n; j += 32)
            CALL(tile_1_4);
#endif
        for (; j < n; j += 8)
            CALL(tile_1_1);
    }
#undef CALL
}

/* From the sums of one step's gates to its states; `width` is a multiple of 8. */
static void KERNEL(lstm)(const real *gates, size_t width, real *h, real *c)
{
    for (size_t j = 0; j < width; j += 8) {
        v8 in = KERNEL(sigmoid)(KERNEL(load)(gates + j)), keep = KERNEL(sigmoid)(KERNEL(load)(gates + width + j));
        v8 out = KERNEL(sigmoid)(KERNEL(load)(gates + 2 * width + j));
        v8 fresh = KERNEL(tanh)(KERNEL(load)(gates + 3 * width + j));
        v8 cell = KERNEL(fused)(keep, KERNEL(load)(c + j), KERNEL(times)(in, fresh));
        KERNEL(store)(c + j, cell);
        KERNEL(store)(h + j, KERNEL(times)(out, KERNEL(tanh)(cell)));
    }
}

/* `gates`: the sums of update and reset, and the hidden part of the new state; `fresh`: its part of the input. */
static void KERNEL(gru)(const real *gates, const real *fresh, size_t width, real *h)
{
    for (size_t j = 0; j < width; j += 8) {
        v8 keep = KERNEL(sigmoid)(KERNEL(load)(gates + j)), reset = KERNEL(sigmoid)(KERNEL(load)(gates + width + j));
        v8 new = KERNEL(tanh)(KERNEL(fused)(reset, KERNEL(load)(gates + 2 * width + j), KERNEL(load)(fresh + j)));
        v8 change = KERNEL(fused)(KERNEL(all)(-1), new, KERNEL(load)(h + j));
        KERNEL(store)(h + j, KERNEL(fused)(keep, change, new));
    }
}

static void KERNEL(rnn)(const real *sums, size_t width, int relu, real *h)
{
    for (size_t j = 0; j < width; j += 8) {
        if (!relu)
            KERNEL(store)(h + j, KERNEL(tanh)(KERNEL(load)(sums + j)));
        else
            for (size_t i = j; i < j + 8; i++)
                h[i] = sums[i] < 0 ? 0 : sums[i];
    }
}

static void KERNEL(tanh_all)(const real *x, size_t n, real *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        KERNEL(store)(y + i, KERNEL(tanh)(KERNEL(load)(x + i)));
    if (i < n) {
        real rest[8] = {0};
        memcpy(rest, x + i, (n - i) * sizeof(real));
        KERNEL(store)(rest, KERNEL(tanh)(KERNEL(load)(rest)));
        memcpy(y + i, rest, (n - i) * sizeof(real));
    }
}

static const struct kernels KERNEL(kernels) = {KERNEL(product), KERNEL(lstm), KERNEL(gru), KERNEL(rnn),
                                               KERNEL(tanh_all)};
#undef v8
#undef INLINE
#undef UNROLLED
#undef PRNN_VECTORS
#undef PRNN_TILES

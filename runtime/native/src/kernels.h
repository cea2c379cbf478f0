/* The inner loops, in vectors of 8 numbers. pocketrnn.c includes this file once for every instruction set that it
 * chooses among when a file is opened, with KERNEL(name) giving the functions names of their own. */

#if defined(__GNUC__)
typedef real KERNEL(v8) __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real)), may_alias));
#define v8 KERNEL(v8)
#define AT(pointer) (*(v8 *)(pointer))
#define AT_CONST(pointer) (*(const v8 *)(pointer))
#ifdef PRNN_SMALL /* defined where there is little room for code */
#define INLINE static inline
#else
#define INLINE static inline __attribute__((always_inline))
#endif
INLINE v8 KERNEL(all)(real x) { return (v8){x, x, x, x, x, x, x, x}; }
#else
typedef struct { real of[8]; } v8;
#define AT(pointer) (*(v8 *)(pointer))
#define AT_CONST(pointer) (*(const v8 *)(pointer))
#define INLINE static
#error "pocketrnn needs a compiler that knows GNU C's vectors: gcc or clang."
#endif

#ifdef PRNN_DOUBLE
INLINE v8 KERNEL(tanh)(v8 x)
{
    for (int i = 0; i < 8; i++)
        x[i] = tanh(x[i]);
    return x;
}
#else
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

/* The rational function of degrees 13 and 6 that Eigen and onnxruntime use: 4e-7 from tanh at most. Its numbers of over
 * 8.05 are cut to 1: a gate that is kept open for thousands of steps must be exactly open. */
INLINE v8 KERNEL(tanh)(v8 x)
{
    x = KERNEL(clamp)(x, 9.0f);
    v8 s = x * x;
    v8 p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    v8 q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return KERNEL(clamp)(x * p / q, 1.0f);
}
#endif

INLINE v8 KERNEL(sigmoid)(v8 x) { return KERNEL(tanh)(x * (real)0.5) * (real)0.5 + (real)0.5; }

/* y[i][0..columns) = init[i] + x[i] . w, for `rows` of the constant number ROWS and 8 VECTORS columns of w. */
#define TILE(name, ROWS, VECTORS)                                                                                      \
    INLINE void KERNEL(name)(const real *x, size_t x_row, size_t k, const real *w, size_t n, const real *init,         \
                             size_t init_row, real *y, size_t y_row)                                                   \
    {                                                                                                                  \
        v8 sum[ROWS][VECTORS];                                                                                         \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                sum[i][j] = init ? AT_CONST(init + (size_t)i * init_row + 8 * j) : KERNEL(all)(0);                     \
        for (size_t p = 0; p < k; p++) {                                                                               \
            const real *row = w + p * n;                                                                               \
            for (int i = 0; i < ROWS; i++) {                                                                           \
                v8 factor = KERNEL(all)(x[(size_t)i * x_row + p]);                                                     \
                for (int j = 0; j < VECTORS; j++)                                                                      \
                    sum[i][j] += factor * AT_CONST(row + 8 * j);                                                       \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < ROWS; i++)                                                                                 \
            for (int j = 0; j < VECTORS; j++)                                                                          \
                AT(y + (size_t)i * y_row + 8 * j) = sum[i][j];                                                         \
    }
TILE(tile_4_1, 4, 1)
TILE(tile_1_1, 1, 1)
#ifndef PRNN_SMALL
TILE(tile_1_4, 1, 4)
#ifndef __wasm__ /* whose 16 registers of 128 bits hold no more sums than those above */
TILE(tile_4_2, 4, 2)
TILE(tile_1_8, 1, 8)
#endif
#endif
#undef TILE

/* y[i] = init[i] + x[i] . w for m rows; n is a multiple of 8; init may be NULL, for zeros. */
static void KERNEL(product)(const real *x, size_t x_row, size_t m, size_t k, const real *w, size_t n, const real *init,
                            size_t init_row, real *y, size_t y_row)
{
#define CALL(name) KERNEL(name)(x, x_row, k, w + j, n, init ? init + j : NULL, init_row, y + j, y_row)
    for (; m >= 4; m -= 4, x += 4 * x_row, y += 4 * y_row, init = init ? init + 4 * init_row : NULL) {
        size_t j = 0;
#if !defined(PRNN_SMALL) && !defined(__wasm__)
        for (; j + 16 <= n; j += 16)
            CALL(tile_4_2);
#endif
        for (; j < n; j += 8)
            CALL(tile_4_1);
    }
    for (; m; m--, x += x_row, y += y_row, init = init ? init + init_row : NULL) {
        size_t j = 0;
#if !defined(PRNN_SMALL) && !defined(__wasm__)
        for (; j + 64 <= n; j += 64)
            CALL(tile_1_8);
#endif
#ifndef PRNN_SMALL
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
        v8 in = KERNEL(sigmoid)(AT_CONST(gates + j)), keep = KERNEL(sigmoid)(AT_CONST(gates + width + j));
        v8 out = KERNEL(sigmoid)(AT_CONST(gates + 2 * width + j)), fresh = KERNEL(tanh)(AT_CONST(gates + 3 * width + j));
        v8 cell = keep * AT(c + j) + in * fresh;
        AT(c + j) = cell;
        AT(h + j) = out * KERNEL(tanh)(cell);
    }
}

/* `gates`: the sums of update and reset, and the hidden part of the new state; `fresh`: its part of the input. */
static void KERNEL(gru)(const real *gates, const real *fresh, size_t width, real *h)
{
    for (size_t j = 0; j < width; j += 8) {
        v8 keep = KERNEL(sigmoid)(AT_CONST(gates + j)), reset = KERNEL(sigmoid)(AT_CONST(gates + width + j));
        v8 new = KERNEL(tanh)(AT_CONST(fresh + j) + reset * AT_CONST(gates + 2 * width + j));
        AT(h + j) = new + keep * (AT(h + j) - new);
    }
}

static void KERNEL(rnn)(const real *sums, size_t width, int relu, real *h)
{
    for (size_t j = 0; j < width; j += 8) {
        if (!relu)
            AT(h + j) = KERNEL(tanh)(AT_CONST(sums + j));
        else
            for (size_t i = j; i < j + 8; i++)
                h[i] = sums[i] < 0 ? 0 : sums[i];
    }
}

static void KERNEL(tanh_all)(const real *x, size_t n, real *y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        AT(y + i) = KERNEL(tanh)(AT_CONST(x + i));
    if (i < n) {
        real rest[8] = {0};
        memcpy(rest, x + i, (n - i) * sizeof(real));
        AT(rest) = KERNEL(tanh)(AT_CONST(rest));
        memcpy(y + i, rest, (n - i) * sizeof(real));
    }
}

static const struct kernels KERNEL(kernels) = {KERNEL(product), KERNEL(lstm), KERNEL(gru), KERNEL(rnn),
                                               KERNEL(tanh_all)};
#undef v8
#undef AT
#undef AT_CONST
#undef INLINE

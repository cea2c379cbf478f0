/* Every instruction set's products of integers and rounding beside the plain ones, bit by bit: the engine's source is part of
 * this program. A line for each set: its name, and how many products were compared, or that this processor has not got it.
 *
 *   integer_kernels [NAME...]   the exit status is 1 where an integer differs, 2 where a set that is named was not compared
 *
 * Few processors have AVX-VNNI. With -DINSTEAD_OF_AVXVNNI, on one that has AVX2, the one instruction that its file has beyond
 * AVX2's is computed by another in its place: the same one as AVX-512 encodes it where the processor has that, else widened to
 * 16 bits, as Intel's manual states it. All else of the file is what runs where AVX-VNNI is. */
#include <stdio.h>
#include <stdlib.h>

#ifdef INSTEAD_OF_AVXVNNI
#include <immintrin.h>

__attribute__((noinline, target("avx512vl,avx512vnni"))) static __m256i as_avx512(__m256i sum, __m256i x, __m256i w)
{
    return _mm256_dpbusd_epi32(sum, x, w);
}

/* Each of 8 sums and four products of a byte without a sign by one with it. */
__attribute__((noinline, target("avx2"))) static __m256i widened(__m256i sum, __m256i x, __m256i w)
{
    __m256i low = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(x)),
                                    _mm256_cvtepi8_epi16(_mm256_castsi256_si128(w)));
    __m256i high = _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm256_extracti128_si256(x, 1)),
                                     _mm256_cvtepi8_epi16(_mm256_extracti128_si256(w, 1)));
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xD8);
    return _mm256_add_epi32(sum, pairs);
}

__attribute__((target("avx2"))) static __m256i instead(__m256i sum, __m256i x, __m256i w)
{
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") ? as_avx512(sum, x, w)
                                                                                     : widened(sum, x, w);
}
#define _mm256_dpbusd_avx_epi32 instead
#endif

#include "pocketrnn.c"

enum { MOST_ROWS = 9, MOST_INPUTS = 1100, MOST_OUTPUTS = 328 };

static uint64_t state = 88172645463325252u;
static uint32_t draw_below(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* Memory of just so many bytes, for the sanitizers. */
static void *allocate_exactly(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory)
        exit(9);
    return memory;
}

/* Drawn numbers, or the largest there are with one sign or both: what saturates 16 bits somewhere. */
static int8_t draw_number(int how, int lowest)
{
    int any = (int)draw_below(255 + (lowest < -127)) + lowest;
    return (int8_t)(how == 0 ? any : how == 1 ? 127 : how == 2 ? lowest : draw_below(2) ? 127 : lowest);
}

static int products_differ(const struct integers *set, size_t m, size_t inputs, size_t n, int how)
{
    size_t row = round_up_to_4(inputs), groups = row / 4;
    int8_t *x = allocate_exactly(m * row), *w = allocate_exactly(row * n);
    int32_t *starts = allocate_exactly(n * sizeof *starts), *given = allocate_exactly(m * n * sizeof *given), *wanted = allocate_exactly(m * n * sizeof *wanted);
    for (size_t i = 0; i < m * row; i++)
        x[i] = i % row < inputs ? draw_number(how % 4, -128) : 0;
    for (size_t i = 0; i < row * n; i++)
        w[i] = draw_number(how / 4, -127);
    for (size_t j = 0; j < n; j++) {
        starts[j] = 0;
        for (size_t g = 0; g < groups; g++)
            for (int k = 0; k < 4; k++)
                starts[j] -= 128 * w[(g * n + j) * 4 + (size_t)k];
    }
    set->dot(x, row, m, groups, w, set->begins ? starts : NULL, n, given);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            int64_t sum = 0;
            for (size_t k = 0; k < row; k++)
                sum += x[i * row + k] * w[(k / 4 * n + j) * 4 + k % 4];
            wanted[i * n + j] = (int32_t)sum;
        }
    int differ = memcmp(given, wanted, m * n * sizeof *wanted) != 0;
    free(x), free(w), free(starts), free(given), free(wanted);
    return differ;
}

static int roundings_differ(const struct integers *set)
{
    static const real HARD[] = {0, -0.0f, 1, -1, 0.5f / 127, 1.5f / 127, 2.5f / 127, -0.5f / 127, -126.5f / 127, 1e-42f, 3, -3,
                                1e30f, -1e30f, INFINITY, -INFINITY, NAN};
    enum { COUNT = 331 };
    real *x = allocate_exactly(COUNT * sizeof *x);
    int8_t *given = allocate_exactly(COUNT), *wanted = allocate_exactly(COUNT);
    int differ = 0;
    for (int times = 0; times < 200; times++)
        for (size_t n = times % 2 ? COUNT : 1 + draw_below(COUNT), i = 0; i <= n; i++) {
            if (i < n) {
                x[i] = draw_below(4) ? ((real)draw_below(1 << 24) / (1 << 23) - 1) : HARD[draw_below(sizeof HARD / sizeof *HARD)];
                if (draw_below(3) == 0) /* just between two */
                    x[i] = ((real)draw_below(254) - 127 + 0.5f) / 127;
                continue;
            }
            real factor = times % 3 ? 127 : (real)draw_below(1 << 20) / 4096;
            set->rounded(x, n, factor, given);
            plain_integers.rounded(x, n, factor, wanted);
            differ |= memcmp(given, wanted, n) != 0;
            for (size_t k = 0; k < n; k++) { /* and the plain one is the nearest, half to even */
                double product = (double)(x[k] * factor), at = product < 127 ? product : 127;
                differ |= wanted[k] != (int)nearbyint(at > -127 ? at : -127);
            }
        }
    free(x), free(given), free(wanted);
    return differ;
}

int main(int count, char **names)
{
    struct integer_set sets[INTEGER_SETS] = {{0}};
    int status = 0, found = list_integer_sets(sets);
    for (int s = 0; s < found; s++) {
        int asked = 0, differ = 0;
#ifdef INSTEAD_OF_AVXVNNI
        sets[s].is_here |= !strcmp(sets[s].name, "avxvnni") && __builtin_cpu_supports("avx2");
#endif
        if (!sets[s].is_here) {
            printf("%s: not here\n", sets[s].name);
            continue;
        }
        static const size_t OUTPUTS[] = {8, 16, 24, 32, 40, 56, 64, 96, 104, 128, 192, 200, 288, 312, 328};
        for (size_t m = 1; m <= MOST_ROWS; m += 1 + m / 4)
            for (size_t k = 0; k < sizeof OUTPUTS / sizeof *OUTPUTS; k++)
                for (int how = 0; how < 16; how++, asked++)
                    differ |= products_differ(sets[s].integers, m, 1 + draw_below(how % 5 ? 40 : MOST_INPUTS), OUTPUTS[k], how);
        differ |= products_differ(sets[s].integers, 5, MOST_INTEGERS, 24, 9) | roundings_differ(sets[s].integers);
        printf("%s: %d products, %s\n", sets[s].name, asked + 1, differ ? "not all the same" : "the same");
        status |= differ;
    }
    for (int i = 1; i < count; i++) {
        int is_here = 0;
        for (int s = 0; s < found; s++)
            is_here |= sets[s].is_here && !strcmp(sets[s].name, names[i]);
        if (!is_here)
            return 2;
    }
    return status;
}

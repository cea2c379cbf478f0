/* The functions of <math.h> that the engine needs, where there is no C library. Some are WebAssembly's own instructions, wasm.c
 * defines the others. */
#ifndef POCKETRNN_WASM_MATH_H
#define POCKETRNN_WASM_MATH_H

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define isnan(x) __builtin_isnan(x)
#define isfinite(x) __builtin_isfinite(x)
#define floor(x) __builtin_floor(x)
#define ceil(x) __builtin_ceil(x)
#define sqrt(x) __builtin_sqrt(x)

double exp(double x);
double expm1(double x);
double log(double x);
double log1p(double x);
double pow(double x, double y);
double tanh(double x);
double erf(double x);
double sin(double x);
double cos(double x);
double fmod(double x, double y);

#endif

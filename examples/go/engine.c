/* cgo compiles the C files of a package's folder: the engine is this one. */
#include "pocketrnn.c"

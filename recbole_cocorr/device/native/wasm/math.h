/* What the library takes from C's own, for WebAssembly, which has an instruction for each. */
#ifndef COCORR_MATH_H
#define COCORR_MATH_H

#define sqrt __builtin_sqrt
#define sqrtf __builtin_sqrtf

#endif

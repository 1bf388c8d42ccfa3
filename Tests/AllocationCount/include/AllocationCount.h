// Counts the allocations of the calling thread in the program this is linked into.
#pragma once

/// Whether there is anything to be counted: not in a program that was built with a sanitizer.
int allocation_is_counted(void);

/// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by this thread so far.
unsigned long allocation_count(void);

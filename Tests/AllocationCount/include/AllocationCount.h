// Counts the allocations of the calling thread in the program that links this file.
#pragma once

/// Whether allocations are counted. They are not in a program built with a sanitizer.
int allocation_is_counted(void);

/// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by this thread so far.
unsigned long allocation_count(void);

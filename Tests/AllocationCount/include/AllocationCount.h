// Counts the allocations of the calling thread in the program this is linked into.
#pragma once

/// Calls of malloc, calloc, realloc, aligned_alloc and posix_memalign by this thread so far.
unsigned long allocation_count(void);

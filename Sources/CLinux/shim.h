#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* prctl takes as many arguments as it likes, which Swift cannot call. */

static inline int
linux_no_new_privileges(void)
{
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static inline int
linux_drop_bounding_capability(int number)
{
  return prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
}

/* glibc declares pipe2 and splice for _GNU_SOURCE alone. */
static inline int
linux_pipe(int ends[2], int flags)
{
  return (int)syscall(SYS_pipe2, ends, flags);
}

static inline int
linux_memory_file(const char *name)
{
  return (int)syscall(SYS_memfd_create, name, 1 /* CLOEXEC */ | 2 /* ALLOW_SEALING */);
}

static inline long
linux_splice(int from, int to, unsigned long length)
{
  return syscall(SYS_splice, from, (void *)0, to, (void *)0, length, 1 /* MOVE */ | 2 /* NONBLOCK */);
}

/* glibc defines these for _GNU_SOURCE alone. */
enum { LINUX_O_PATH = 010000000, LINUX_AT_EMPTY_PATH = 0x1000, LINUX_F_SETPIPE_SZ = 1031,
       LINUX_F_ADD_SEALS = 1033, LINUX_F_GET_SEALS = 1034,
       /* No more seals, not shorter, not longer, not written. */
       LINUX_ALL_SEALS = 1 | 2 | 4 | 8 };

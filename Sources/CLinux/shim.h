#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

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

/* glibc defines these two for _GNU_SOURCE alone. */
enum { LINUX_O_PATH = 010000000, LINUX_AT_EMPTY_PATH = 0x1000 };

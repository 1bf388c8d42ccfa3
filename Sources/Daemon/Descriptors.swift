// The process's descriptors: three that must be there, and as many more as are allowed.
@preconcurrency import Glibc

/// Puts /dev/null where a standard descriptor was closed. A socket would get its number otherwise,
/// and a line meant for standard error would go to a client.
func holdStandardDescriptors() {
  while true {
    let descriptor = open("/dev/null", O_RDWR)
    if descriptor > STDERR_FILENO { close(descriptor) }
    if descriptor < 0 || descriptor > STDERR_FILENO { return }
  }
}

/// Lets the process have as many descriptors as it is allowed to: each client takes two or more.
func raiseDescriptorLimit() {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
  limit.rlim_cur = limit.rlim_max
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

// The process's descriptors: the three standard ones must be open, and the limit is as high as allowed.
@preconcurrency import Glibc

/// Opens /dev/null in place of each closed standard descriptor. Otherwise a socket would get its number, and a line
/// meant for standard error would go to a client.
func holdStandardDescriptors() {
  while true {
    let descriptor = open("/dev/null", O_RDWR)
    if descriptor > STDERR_FILENO { close(descriptor) }
    if descriptor < 0 || descriptor > STDERR_FILENO { return }
  }
}

/// Raises the soft limit of descriptors to the hard limit: each client takes two or more.
func raiseDescriptorLimit() {
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
  limit.rlim_cur = limit.rlim_max
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

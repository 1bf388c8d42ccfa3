// The process at the other end of a UNIX socket, as the kernel reports it.
import Glibc
import Streams

extension UnixPeer {
  init?(of descriptor: Int32) {
    guard let (pid, uid, gid) = UnixPeer.credentials(of: descriptor) else { return nil }
    self.init(
      pid: pid, uid: uid, gid: gid, startTime: UnixPeer.startTime(of: pid),
      selinuxContext: UnixPeer.context(of: descriptor))
  }

  /// The user that owns the process, and nothing else.
  static func user(of descriptor: Int32) -> uid_t? { credentials(of: descriptor)?.uid }

  private static func credentials(of descriptor: Int32) -> (pid: pid_t, uid: uid_t, gid: gid_t)? {
    // The kernel's `struct ucred`, which the C library declares only with its extensions.
    var credentials: (pid: pid_t, uid: uid_t, gid: gid_t) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else {
      return nil
    }
    return credentials
  }

  /// Field 22 of /proc/PID/stat. The command in field 2 may contain any character, so count from its end.
  private static func startTime(of pid: pid_t) -> UInt64? {
    let file = Descriptor(open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC))
    guard file.number >= 0 else { return nil }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(file.number, &bytes, bytes.count)
    guard count > 0, let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = bytes[(end + 1)..<count].split(separator: UInt8(ascii: " "))
    guard fields.count > 19 else { return nil }
    return UInt64(String(decoding: fields[19], as: UTF8.self))
  }

  private static func context(of descriptor: Int32) -> String? {
    var bytes = [UInt8](repeating: 0, count: 1024)
    var length = socklen_t(bytes.count)
    guard getsockopt(descriptor, SOL_SOCKET, SO_PEERSEC, &bytes, &length) == 0 else { return nil }
    let context = bytes[..<min(Int(length), bytes.count)].prefix { $0 != 0 }
    // AppArmor answers the same call with its own labels, which are no SELinux contexts.
    guard context.contains(UInt8(ascii: ":")) else { return nil }
    return String(decoding: context, as: UTF8.self)
  }
}

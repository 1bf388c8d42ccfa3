// Who is at the other end of a UNIX socket, as the kernel vouches for it.
import Glibc
import Streams

/// A local client's identity, in the fields libvirt forwards.
struct UnixPeer: Sendable {
  let pid: pid_t
  let uid: uid_t
  let gid: gid_t
  let userName: String?
  let groupName: String?
  /// When the process started, in clock ticks since boot: a pid alone can have been reused.
  let startTime: UInt64?
  let selinuxContext: String?

  init?(of descriptor: Int32) {
    // The kernel's `struct ucred`, which the C library shows only to those who ask for its extensions.
    var credentials: (pid: pid_t, uid: uid_t, gid: gid_t) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else {
      return nil
    }
    let (pid, uid, gid) = credentials
    self.pid = pid
    self.uid = uid
    self.gid = gid
    userName = UnixPeer.name(passwd(), { getpwuid_r(uid, $0, $1, $2, $3) }, { $0.pw_name })
    groupName = UnixPeer.name(group(), { getgrgid_r(gid, $0, $1, $2, $3) }, { $0.gr_name })
    startTime = UnixPeer.startTime(of: pid)
    selinuxContext = UnixPeer.context(of: descriptor)
  }

  /// The parameters of CONNECT_SET_IDENTITY, in libvirt's order. A user or group without a name is
  /// known by its number alone.
  var identity: [TypedParameter] {
    var parameters: [TypedParameter] = []
    if let userName { parameters.append(TypedParameter("user-name", .string(userName))) }
    parameters.append(TypedParameter("unix-user-id", .ullong(UInt64(uid))))
    if let groupName { parameters.append(TypedParameter("group-name", .string(groupName))) }
    parameters.append(TypedParameter("unix-group-id", .ullong(UInt64(gid))))
    parameters.append(TypedParameter("process-id", .llong(Int64(pid))))
    if let startTime { parameters.append(TypedParameter("process-time", .ullong(startTime))) }
    if let selinuxContext {
      parameters.append(TypedParameter("selinux-context", .string(selinuxContext)))
    }
    return parameters
  }

  private static func name<Entry>(
    _ empty: Entry,
    _ look: (
      UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
      UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
    ) -> Int32,
    _ field: (Entry) -> UnsafeMutablePointer<CChar>?
  ) -> String? {
    // A group's entry names its members, and there is no end to those.
    for size in [16 << 10, 256 << 10, 4 << 20] {
      var entry = empty
      var found: UnsafeMutablePointer<Entry>?
      var buffer = [CChar](repeating: 0, count: size)
      var name: String?
      let status = buffer.withUnsafeMutableBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return EINVAL }
        let status = look(&entry, base, buffer.count, &found)
        if status == 0, found != nil { name = field(entry).map { String(cString: $0) } }
        return status
      }
      if status != ERANGE { return name }
    }
    return nil
  }

  /// Field 22 of /proc/PID/stat. The command in field 2 may hold anything, so count from its end.
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
    // AppArmor answers the same question, with its own labels, which are no SELinux context.
    guard context.contains(UInt8(ascii: ":")) else { return nil }
    return String(decoding: context, as: UTF8.self)
  }
}

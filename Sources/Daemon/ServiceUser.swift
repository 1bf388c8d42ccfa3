import Broker
import CLinux
@preconcurrency import Glibc
// `user`: the user that the daemon becomes once root has bound its sockets and read its keys.
import Streams

/// A user that the process becomes permanently.
struct ServiceUser: Equatable, Sendable {
  let name: String
  let uid: uid_t
  let gid: gid_t

  var account: ServiceAccount { ServiceAccount(name: name, uid: uid, gid: gid) }

  /// Finds the user by name, or by number if a user has that number.
  init(_ text: String, place: String) throws(StartFailure) {
    let entry = getpwnam(text) ?? uid_t(text).flatMap { getpwuid($0) }
    guard let entry else {
      throw StartFailure(.privileges, .unknownUser, [place, text])
    }
    name = String(cString: entry.pointee.pw_name)
    uid = entry.pointee.pw_uid
    gid = entry.pointee.pw_gid
  }

  /// Gives up root with all its groups and capabilities, and verifies that the process cannot regain them.
  func become() throws(StartFailure) {
    func failure(
      _ cause: MessageDefinition, _ arguments: [any CustomStringConvertible]
    ) -> StartFailure {
      StartFailure(.privileges, .cannotBecomeUser, [name, Message(cause, arguments)])
    }
    guard initgroups(name, gid) == 0 else { throw failure(.cannotSetGroups, [reason()]) }
    guard setgid(gid) == 0 else { throw failure(.cannotSetGroupID, [gid, reason()]) }
    if uid != 0 { try ServiceUser.closeWaysBack(failure) }
    guard setuid(uid) == 0 else { throw failure(.cannotSetUserID, [uid, reason()]) }
    guard uid == 0 || (setuid(0) != 0 && seteuid(0) != 0) else {
      throw failure(.canBecomeRootAgain, [])
    }
    for field in ["CapEff", "CapPrm", "CapAmb"] where uid != 0 && !ServiceUser.isZero(field) {
      throw failure(.capabilitiesRemain, [field])
    }
  }

  /// After this no program that the process starts can have more rights than the user: neither set-user-ID and
  /// set-group-ID bits nor file capabilities add any. A sandbox may forbid dropping a capability (EPERM); programs
  /// cannot gain that capability either.
  private static func closeWaysBack(
    _ failure: (MessageDefinition, [any CustomStringConvertible]) -> StartFailure
  ) throws(StartFailure) {
    guard linux_no_new_privileges() == 0 else {
      throw failure(.cannotSetNoNewPrivileges, [reason()])
    }
    var number: CInt = 0
    while linux_drop_bounding_capability(number) == 0 { number += 1 }
    guard errno == EINVAL || errno == EPERM else {
      throw failure(.cannotDropCapability, [number, reason()])
    }
  }

  /// Whether a mask of capabilities in /proc/self/status is zero. A missing mask counts as zero.
  private static func isZero(_ field: String) -> Bool {
    let file = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = read(file, &bytes, bytes.count)
    guard count > 0 else { return false }
    let lines = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
    guard let line = lines.first(where: { $0.hasPrefix("\(field):") }) else { return true }
    return line.dropFirst(field.count + 1).allSatisfy { $0 == "0" || $0.isWhitespace }
  }
}

extension Daemon {
  /// The user to become, if one is configured.
  func serviceUser(_ configuration: Configuration) throws(StartFailure) -> ServiceUser? {
    guard let name = configuration.user else { return nil }
    let user = try ServiceUser(name, place: configuration.places["user"] ?? "user")
    return user.uid == geteuid() ? nil : user
  }

  /// The same user, if this process can become it; otherwise nil, and the log has the reason.
  func possible(_ user: ServiceUser?, log: BrokerLog) -> ServiceUser? {
    guard let user, geteuid() != 0 else { return user }
    log.write(.userIgnored, [user.name, geteuid()])
    return nil
  }

  /// Becomes `user`, and logs what works as root but will not work as this user.
  func become(
    _ user: ServiceUser, pidFile: PidFile, settings: BrokerSettings, log: LogBook
  ) throws(StartFailure) {
    log.outputs.give(to: user.account)
    pidFile.give(to: user.account)
    try user.become()
    let told = log[.daemon]
    told.write(.runningAsUser, [user.name])
    if user.uid != 0, settings.listeners.contains(where: { $0.authentication == .polkit }) {
      told.write(.polkitNeedsRoot, [user.name])
    }
    for path in settings.tls?.necessaryFiles ?? [] where access(path, R_OK) != 0 {
      told.write(.cannotReadCertificateAgain, [path, user.name, reason()])
    }
    let file = options.configurationFile ?? places.configurationFile
    if access(file, R_OK) != 0, errno != ENOENT {
      told.write(.cannotReadConfigurationAgain, [file, user.name, reason()])
    }
    if !pidFile.canBeRemoved {
      told.write(.cannotRemovePidFile, [pidFile.path, user.name])
    }
  }
}

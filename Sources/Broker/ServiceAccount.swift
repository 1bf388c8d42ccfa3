// The user that root's process is about to become, and whose rights apply to files until then.
import CLinux
import Glibc
import Streams

/// The user of the key `user` in the configuration, while the process still runs as root.
///
/// A user who can change a directory can put a link to any file there, also between two accesses by root. So whatever
/// root opens, creates or removes in such a directory, it does with the rights of that user: a link then leads to
/// nothing that the user could not reach without the broker. Elsewhere root uses its own rights.
public struct ServiceAccount: Sendable, Equatable {
  /// A path that leads through more links than this counts as under the user's control.
  private static let mostLinks = 40

  public let name: String
  public let uid: UInt32
  public let gid: UInt32
  /// All groups of the user, `gid` among them.
  private let groups: [gid_t]

  public init(name: String, uid: UInt32, gid: UInt32) {
    self.name = name
    self.uid = uid
    self.gid = gid
    var count: Int32 = 64
    var groups = [gid_t](repeating: gid, count: Int(count))
    if getgrouplist(name, gid, &groups, &count) < 0, count > 0 {
      groups = [gid_t](repeating: gid, count: Int(count))
      _ = getgrouplist(name, gid, &groups, &count)
    }
    self.groups = Array(groups.prefix(max(1, Int(count))))
  }

  // MARK: Rights

  /// Whether root must use this user's rights for `path`. Once the process runs as that user, it has no others.
  public func isUsed(at path: String) -> Bool { geteuid() == 0 && uid != 0 && canRedirect(path) }

  /// Calls `body`, which opens, creates or removes the file at `path`, with the rights that apply there. Keeps the
  /// `errno` of `body`. Call it only before there are other threads: the rights apply to all of them.
  /// - Throws: why the process cannot take the user's rights; `body` is not called then.
  public func access<Result>(
    _ path: String, _ body: () -> Result
  ) throws(BrokerFailure) -> Result {
    guard isUsed(at: path) else { return body() }
    func failure(
      _ cause: MessageDefinition, _ arguments: [any CustomStringConvertible] = []
    ) -> BrokerFailure {
      let cause = Message(cause, arguments + [errorText(errno)])
      return BrokerFailure(.cannotUseRightsOfUser, [path, name, cause])
    }
    var before = [gid_t](repeating: 0, count: max(1, Int(getgroups(0, nil))))
    let count = getgroups(Int32(before.count), &before)
    let group = getegid()
    guard count >= 0 else { throw failure(.cannotChangeGroups) }
    guard setgroups(groups.count, groups) == 0 else { throw failure(.cannotChangeGroups) }
    var result: Result?
    var number: Int32 = 0
    if setegid(gid) == 0 {
      if seteuid(uid) == 0 {
        result = body()
        number = errno
        // The real user is root, so the kernel has no reason to refuse.
        guard seteuid(0) == 0 else { throw failure(.cannotReturnToRoot) }
      }
      guard setegid(group) == 0 else { throw failure(.cannotReturnToRoot) }
    }
    guard setgroups(Int(count), before) == 0 else { throw failure(.cannotReturnToRoot) }
    guard let result else { throw failure(.cannotChangeUserID, [uid]) }
    errno = number
    return result
  }

  /// The cause of an error at `path`: `text`, and the user whose rights were used if they were not the process's own.
  public func cause(_ text: String, at path: String) -> any CustomStringConvertible {
    isUsed(at: path) ? Message(.withRightsOfUser, [text, name]) : text
  }

  // MARK: Control over paths

  /// Whether the user can change what `path` leads to: a directory on the way or an entry in it.
  ///
  /// The user cannot change any directory that has been passed, so what was found there stays true.
  func canRedirect(_ path: String) -> Bool {
    guard path.hasPrefix("/") else { return true }
    var rest = Array(path.split(separator: "/").map(String.init).reversed())
    var way: [String] = []
    var links = 0
    while let name = rest.popLast() {
      if name == "." { continue }
      if name == ".." {
        _ = way.popLast()
        continue
      }
      let directory = "/" + way.joined(separator: "/")
      let entry = way.isEmpty ? "/\(name)" : "\(directory)/\(name)"
      var place = stat()
      var found = stat()
      guard lstat(directory, &place) == 0 else { return true }
      let isThere = lstat(entry, &found) == 0
      guard isThere || errno == ENOENT else { return true }
      if canChange(directory, place) {
        let isKept =
          place.st_mode & S_ISVTX != 0 && place.st_uid != uid && isThere && found.st_uid != uid
        if !isKept { return true }
      }
      // Only root can create what is missing here.
      guard isThere else { return false }
      guard found.st_mode & S_IFMT == S_IFLNK else {
        way.append(name)
        continue
      }
      links += 1
      guard links <= ServiceAccount.mostLinks, let target = ServiceAccount.target(of: entry) else {
        return true
      }
      if target.hasPrefix("/") { way = [] }
      rest += target.split(separator: "/").map(String.init).reversed()
    }
    return false
  }

  /// Whether the user can add and remove entries. An access control list beyond the permission bits counts as
  /// permission, whatever it contains.
  private func canChange(_ directory: String, _ status: stat) -> Bool {
    if status.st_uid == uid || status.st_mode & 0o002 != 0 { return true }
    guard status.st_mode & 0o020 != 0 else { return false }
    return groups.contains(status.st_gid)
      || getxattr(directory, "system.posix_acl_access", nil, 0) > 0
  }

  private static func target(of link: String) -> String? {
    var room = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = room.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return -1 }
      return readlink(link, base.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    guard count > 0, count < room.count else { return nil }
    return String(validating: room[..<count], as: UTF8.self)
  }
}

/// Calls `body` with the rights that apply at `path`: those of `account` if there is one.
public func access<Result>(
  _ path: String, for account: ServiceAccount?, _ body: () -> Result
) throws(BrokerFailure) -> Result {
  guard let account else { return body() }
  return try account.access(path, body)
}

/// Gives a regular file that root has opened to the user that the process is about to become. A file with a second name
/// stays root's: the other name may be elsewhere.
public func giveFile(_ descriptor: Int32, to account: ServiceAccount) {
  var status = stat()
  guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_nlink == 1,
    status.st_uid != account.uid
  else { return }
  fchown(descriptor, account.uid, account.gid)
}

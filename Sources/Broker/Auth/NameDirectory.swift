// The names of user and group IDs. A name service may query the network for them.
import Glibc
import Streams

/// Looks up names on the blocking pool, and caches them.
final class NameDirectory {
  /// Long enough for a burst of connections, short enough for an administrator who renames a user.
  private static let freshSeconds = 60.0
  private static let mostKept = 1024

  private struct Key: Hashable {
    let uid: uid_t
    let gid: gid_t
  }
  private final class Question {
    var askers: [(UnixNames) -> Void] = []
    var alarm: Alarm?
  }

  /// After this time the lookup is abandoned. A backend accepts the IDs without names.
  private let waitSeconds: Double
  private let reactor: Reactor
  private let log: BrokerLog
  private let pool: BlockingPool
  private let look: @Sendable (uid_t, gid_t) -> UnixNames
  private var known: [Key: (names: UnixNames, at: Double)] = [:]
  private var asked: [Key: Question] = [:]

  init(
    on reactor: Reactor, _ pool: BlockingPool, log: BrokerLog, waitSeconds: Double = 5,
    look: @escaping @Sendable (uid_t, gid_t) -> UnixNames = UnixNames.look
  ) {
    self.reactor = reactor
    self.log = log
    self.waitSeconds = waitSeconds
    self.look = look
    self.pool = pool
  }

  /// Returns the names at once if they are cached. Otherwise passes them to `completion` later, exactly once.
  func names(uid: uid_t, gid: gid_t, completion: @escaping (UnixNames) -> Void) -> UnixNames? {
    let key = Key(uid: uid, gid: gid)
    if let (names, at) = known[key], reactor.now - at < NameDirectory.freshSeconds { return names }
    if let question = asked[key] {
      // An abandoned lookup still runs, and its result will be cached.
      guard question.alarm != nil else { return UnixNames() }
      question.askers.append(completion)
      return nil
    }
    let question = Question()
    question.askers = [completion]
    question.alarm = Alarm(on: reactor) { [unowned self] in giveUp(key) }
    question.alarm?.start(seconds: waitSeconds)
    asked[key] = question
    pool.run(
      .names, { [look] in look(uid, gid) }, completion: { [weak self] in self?.answered(key, $0) })
    return nil
  }

  private func answered(_ key: Key, _ names: UnixNames) {
    if known.count >= NameDirectory.mostKept { known = [:] }
    known[key] = (names, reactor.now)
    guard let question = asked.removeValue(forKey: key) else { return }
    question.alarm?.stop()
    for asker in question.askers { asker(names) }
  }

  private func giveUp(_ key: Key) {
    guard let question = asked[key], let alarm = question.alarm else { return }
    log.write(
      .nameLookupTimedOut, [key.uid, key.gid, Int(waitSeconds.rounded(.up))])
    reactor.releaseAfterTurn(alarm)
    question.alarm = nil
    let askers = question.askers
    question.askers = []
    for asker in askers { asker(UnixNames()) }
  }
}

extension UnixNames {
  /// Queries the name service, which may block for any time.
  static func look(_ uid: uid_t, _ gid: gid_t) -> UnixNames {
    UnixNames(
      user: name(passwd(), { getpwuid_r(uid, $0, $1, $2, $3) }, { $0.pw_name }),
      group: name(GroupEntry(), { getgrgid_r(gid, $0, $1, $2, $3) }, { $0.gr_name }))
  }

  private typealias GroupEntry = Glibc.group

  private static func name<Entry>(
    _ empty: Entry,
    _ look: (
      UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
      UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
    ) -> Int32,
    _ field: (Entry) -> UnsafeMutablePointer<CChar>?
  ) -> String? {
    // A group's entry names its members, whose number is not bounded.
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
}

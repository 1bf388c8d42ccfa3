import Broker
// The configuration's meaning: libvirt's keys with their types and defaults, and our own few.
import Streams

/// What the file says, or the default where it says nothing.
struct Configuration: Equatable, Sendable {
  var listenTCP = false
  var listenTLS = false
  var tcpPort = "16509"
  var tls = TLSConfiguration()
  /// One host or address; nil: all of the machine's.
  var listenAddress: String?

  /// Directory of the sockets; nil: the user's runtime directory.
  var socketDirectory: String?
  /// Owning group of the sockets; nil: the process's.
  var socketGroup: String?
  /// nil: 0700, or 0777 where polkit decides.
  var readWriteMode: UInt32?
  var readOnlyMode: UInt32 = 0o777
  var adminMode: UInt32 = 0o700

  /// nil: polkit decides where root listens, for both.
  var authUnixReadWrite: Authentication?
  var authUnixReadOnly: Authentication?
  var authTLS = Authentication.none
  var authTCP = Authentication.sasl
  /// Users that may come in by SASL; nil: all.
  var saslUsers: [String]?
  var tcpMinSSF = SASLSettings().leastTCPStrength
  var accessDrivers: [String] = []

  var maxClients = 5000
  var maxQueuedClients = 1000
  var maxAnonymousClients = 20
  var maxClientRequests = 5
  var maxClientsPerIdentity = 0
  var maxClientsPerAddress = 0
  var authTimeout = 120
  var openTimeout = 30
  var slowCallSeconds = 60
  var maxClientBuffer = LimitSettings().bufferBytes
  var maxTotalBuffer = LimitSettings().totalBufferBytes

  var keepAliveInterval = 5
  var keepAliveCount = 5

  /// Thread pools, which `virt-admin` reports and the broker does not have.
  var minWorkers = 5
  var maxWorkers = 20
  var prioWorkers = 5
  var adminMinWorkers = 5
  var adminMaxWorkers = 20

  var adminMaxClients = 5000
  var adminMaxQueuedClients = 20
  var adminKeepAliveInterval = 5
  var adminKeepAliveCount = 5

  /// libvirt's number of a level; 0: the built-in one.
  var logLevel = 0
  var logFilters: String?
  var logOutputs: String?
  var auditLevel = 1

  /// Who the daemon is once it listens; nil: who started it.
  var user: String?

  var rates = RateSettings()
  var metricsAddress: ListenerSettings.Address?
  var audit = AuditSettings()

  /// Directory of the system daemons' sockets; nil: the default one.
  var backendDirectory: String?
  /// Directory of the per-user daemons' sockets; nil: the user's own, for root the system's.
  var backendSessionDirectory: String?

  /// Other hosts clients may open, and with what, as the file has them.
  var upstreamHosts: [String] = []
  var upstreamRules: [String] = []

  /// Where each key that was given stands: `file:line: key`.
  var places: [String: String] = [:]
}

/// One thing to tell about a configuration, in libvirt's levels.
struct Finding: Equatable, Sendable {
  enum Weight: Equatable, Sendable {
    case info
    case warning
    /// The daemon does not start, and leaves with that stage's status.
    case error(Stage)
  }
  let weight: Weight
  let text: String
}

extension Configuration {
  /// Reads every entry of `file`. What is wrong with one does not hide what is wrong with the next:
  /// everything there is to say comes back in the file's order, and behind it what is accepted without effect.
  static func read(_ file: ConfigurationFile) -> (Configuration, [Finding]) {
    var configuration = Configuration()
    var findings: [Finding] = []
    var firstLines: [String: Int] = [:]
    var remarks: [(remark: Finding, places: [String])] = []
    for entry in file.entries {
      let place = "\(file.name):\(entry.line): \(entry.key)"
      guard let key = ConfigurationKey.all[entry.key] else {
        let nearest = nearest(to: entry.key, among: ConfigurationKey.all.keys)
        let hint = nearest.map { "; did you mean \($0)?" } ?? ""
        findings.append(Finding(weight: .warning, text: "\(place): unknown key, ignored\(hint)"))
        continue
      }
      // The first one counts, as in libvirt.
      if let first = firstLines[entry.key] {
        findings.append(
          Finding(weight: .warning, text: "\(place): ignored, it was already set on line \(first)"))
        continue
      }
      firstLines[entry.key] = entry.line
      configuration.places[entry.key] = place
      if let expected = key.store(entry.value, &configuration) {
        let text = "\(place): expected \(expected), found \(entry.value.told)"
        findings.append(Finding(weight: .error(key.stage), text: text))
      } else if let remark = key.remark, key.isRemarkable(configuration) {
        // The same is said once of all of which it is true.
        if let known = remarks.firstIndex(where: { $0.remark == remark }) {
          remarks[known].places.append(place)
        } else {
          remarks.append((remark, [place]))
        }
      }
    }
    findings += remarks.map { remark, places in
      let isOne = places.count == 1 || !remark.text.hasPrefix("has ")
      let text = isOne ? remark.text : "have \(remark.text.dropFirst(4))"
      return Finding(weight: remark.weight, text: "\(places.joined(separator: ", ")): \(text)")
    }
    return (configuration, findings + configuration.contradictions(in: file.name))
  }

  /// What keys that are each right by themselves say together.
  private func contradictions(in file: String) -> [Finding] {
    var findings: [Finding] = []
    func error(_ key: String, at stage: Stage = .configuration, _ text: String) {
      findings.append(
        Finding(weight: .error(stage), text: "\(places[key] ?? "\(file): \(key)"): \(text)"))
    }
    if listenTLS { for (key, text) in tlsContradictions { error(key, text) } }
    for (key, text) in upstreamMistakes { error(key, text) }
    for (key, method) in [("auth_tcp", authTCP), ("auth_tls", authTLS)] where method == .polkit {
      error(key, "polkit decides on processes of this machine, and so on UNIX sockets alone")
    }
    if let driver = accessDrivers.first(where: { $0 != "none" }) {
      error("access_drivers", "this build has no access driver \"\(driver)\"; only \"none\"")
    }
    if auditLevel > 1 {
      error(
        "audit_level", at: .audit, "auditing is required, and this build has none; set it to 0 or 1"
      )
    }
    if maxAnonymousClients > maxClients {
      let key = places["max_anonymous_clients"] == nil ? "max_clients" : "max_anonymous_clients"
      error(
        key, at: .initialisation,
        "max_anonymous_clients (\(maxAnonymousClients)) must not be more than "
          + "max_clients (\(maxClients))")
    }
    return findings
  }
}

extension [Finding] {
  /// The errors among these, if any, and the first stage one of them belongs to.
  var failure: StartFailure? {
    let errors = compactMap { finding -> (stage: Stage, text: String)? in
      if case .error(let stage) = finding.weight { (stage, finding.text) } else { nil }
    }
    guard let stage = errors.map(\.stage).min() else { return nil }
    return StartFailure(stage, errors.map { Message(unidentified: $0.text, .error) })
  }
}

extension ConfigurationValue {
  /// The value as one would read it out to whoever wrote it.
  var told: String {
    switch self {
    case .number(let number): "the number \(number)"
    case .text(let text): "the string \"\(text)\""
    case .list(let elements): elements.isEmpty ? "an empty list" : "a list"
    }
  }
}

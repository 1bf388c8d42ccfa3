import Broker
// The meaning of the configuration: libvirt's keys with their types and defaults, and our own.
import Streams

/// The values of the file, and the default of each key that the file does not set.
struct Configuration: Equatable, Sendable {
  var listenTCP = false
  var listenTLS = false
  var tcpPort = "16509"
  var tls = TLSConfiguration()
  /// One host or address; nil: all addresses of the machine.
  var listenAddress: String?

  /// Directory of the sockets; nil: the user's runtime directory.
  var socketDirectory: String?
  /// Owning group of the sockets; nil: the process's group.
  var socketGroup: String?
  /// nil: 0700, or 0777 where polkit decides.
  var readWriteMode: UInt32?
  var readOnlyMode: UInt32 = 0o777
  var adminMode: UInt32 = 0o700

  /// nil: on root's daemon polkit decides, for both sockets.
  var authUnixReadWrite: Authentication?
  var authUnixReadOnly: Authentication?
  var authTLS = Authentication.none
  var authTCP = Authentication.sasl
  /// Users that may log in by SASL; nil: all.
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
  var upstreamReconnect = ReconnectPolicy.safe
  var upstreamReconnectSeconds = 30
  var slowCallSeconds = 60
  var maxClientBuffer = LimitSettings().bufferBytes
  var maxTotalBuffer = LimitSettings().totalBufferBytes

  var keepAliveInterval = 5
  var keepAliveCount = 5

  /// Sizes of thread pools. `virt-admin` reports them; the broker has no such pools.
  var minWorkers = 5
  var maxWorkers = 20
  var prioWorkers = 5
  var adminMinWorkers = 5
  var adminMaxWorkers = 20

  var adminMaxClients = 5000
  var adminMaxQueuedClients = 20
  var adminKeepAliveInterval = 5
  var adminKeepAliveCount = 5

  /// libvirt's number of a level; 0: the default level.
  var logLevel = 0
  var logFilters: String?
  var logOutputs: String?
  var auditLevel = 1

  /// The user the daemon becomes once it listens; nil: it keeps the user that started it.
  var user: String?

  var rates = RateSettings()
  var metricsAddress: ListenerSettings.Address?
  var audit = AuditSettings()

  /// Directory of the system daemons' sockets; nil: the default one.
  var backendDirectory: String?
  /// Directory of the per-user daemons' sockets; nil: the user's own, for root the system's.
  var backendSessionDirectory: String?

  /// Other hosts that clients may open, and the rules and programs for them, as the file has them.
  var upstreamHosts: [String] = []
  var upstreamRules: [String] = []

  /// The place of each key in the file: `file:line: key`.
  var places: [String: String] = [:]
}

/// One diagnostic of a check of the configuration.
struct Diagnostic: Equatable, Sendable {
  let message: Message
  /// Of an error: the stage whose number is the exit status; the daemon does not start.
  var stage = Stage.configuration

  var severity: Severity { message.severity }

  init(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible],
    at stage: Stage = .configuration
  ) {
    message = Message(definition, arguments)
    self.stage = stage
  }
}

extension Configuration {
  /// Reads every entry of `file`. An error in one entry does not hide an error in the next. Returns all diagnostics in
  /// the file's order, and after them the keys that are accepted without effect.
  static func read(_ file: ConfigurationFile) -> (Configuration, [Diagnostic]) {
    var configuration = Configuration()
    var diagnostics: [Diagnostic] = []
    var firstLines: [String: Int] = [:]
    var remarks: [(remark: MessageDefinition, places: [String])] = []
    for entry in file.entries {
      let place = "\(file.name):\(entry.line): \(entry.key)"
      guard let key = ConfigurationKey.all[entry.key] else {
        diagnostics.append(
          nearest(to: entry.key, among: ConfigurationKey.all.keys).map {
            Diagnostic(.misspeltKey, [place, $0])
          } ?? Diagnostic(.unknownKey, [place]))
        continue
      }
      // The first entry of a key counts, as in libvirt.
      if let first = firstLines[entry.key] {
        diagnostics.append(Diagnostic(.repeatedKey, [place, first]))
        continue
      }
      firstLines[entry.key] = entry.line
      configuration.places[entry.key] = place
      if let expected = key.store(entry.value, &configuration) {
        diagnostics.append(
          Diagnostic(.invalidValue, [place, expected, entry.value.told], at: key.stage))
      } else if let remark = key.remark, key.isRemarkable(configuration) {
        // One message for all keys with the same remark.
        if let known = remarks.firstIndex(where: { $0.remark == remark }) {
          remarks[known].places.append(place)
        } else {
          remarks.append((remark, [place]))
        }
      }
    }
    diagnostics += remarks.map { Diagnostic($0.remark, [$0.places.joined(separator: ", ")]) }
    return (configuration, diagnostics + configuration.contradictions(in: file.name))
  }

  /// Errors in the combination of keys that are each valid.
  private func contradictions(in file: String) -> [Diagnostic] {
    func place(_ key: String) -> String { places[key] ?? "\(file): \(key)" }
    var diagnostics = listenTLS ? tlsContradictions(place) : []
    diagnostics += upstreamMistakes(place)
    for (key, method) in [("auth_tcp", authTCP), ("auth_tls", authTLS)] where method == .polkit {
      diagnostics.append(Diagnostic(.polkitNeedsUNIXSocket, [place(key)]))
    }
    if let driver = accessDrivers.first(where: { $0 != "none" }) {
      diagnostics.append(Diagnostic(.noAccessDriver, [place("access_drivers"), driver]))
    }
    if auditLevel > 1 {
      diagnostics.append(Diagnostic(.auditingRequired, [place("audit_level")], at: .audit))
    }
    if maxAnonymousClients > maxClients {
      let key = places["max_anonymous_clients"] == nil ? "max_clients" : "max_anonymous_clients"
      diagnostics.append(
        Diagnostic(
          .tooManyAnonymousClients, [place(key), maxAnonymousClients, maxClients],
          at: .initialisation))
    }
    return diagnostics
  }
}

extension [Diagnostic] {
  /// The errors, if there are any, and the first stage that one of them belongs to.
  var failure: StartFailure? {
    let errors = filter { $0.severity == .error }
    guard let stage = errors.map(\.stage).min() else { return nil }
    return StartFailure(stage, errors.map(\.message))
  }
}

extension ConfigurationValue {
  /// The value as an error message names it.
  var told: String {
    switch self {
    case .number(let number): "the number \(number)"
    case .text(let text): "the string \"\(text)\""
    case .list(let elements): elements.isEmpty ? "an empty list" : "a list"
    }
  }
}

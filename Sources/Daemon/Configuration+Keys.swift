import Broker
// Every key of virtproxyd.conf and our own: its type, its bounds, and the field that takes its value.
import Streams

/// One key of the configuration file.
struct ConfigurationKey: Sendable {
  /// Stores a value in the configuration. Returns nil, or what was expected instead of that value.
  typealias Store = @Sendable (ConfigurationValue, inout Configuration) -> String?
  typealias Path<Value> = any WritableKeyPath<Configuration, Value> & Sendable

  let name: String
  let store: Store
  /// The stage at which virtproxyd would fail on a wrong value.
  var stage = Stage.configuration
  /// Reported when the key is set, because its effect is not what an administrator would expect. Its argument is the
  /// place.
  var remark: MessageDefinition?
  /// Whether the remark applies to this configuration.
  var isRemarkable: @Sendable (Configuration) -> Bool = { _ in true }
  /// The key's value in the form of a file; nil: it has none, or no meaning.
  var value: @Sendable (Configuration) -> ConfigurationValue? = { _ in nil }
  /// Copies the key's value from the first configuration to the second.
  var keep: @Sendable (Configuration, inout Configuration) -> Void = { _, _ in }

  static let all: [String: ConfigurationKey] = Dictionary(
    uniqueKeysWithValues: table.map { ($0.name, $0) })

  static let table: [ConfigurationKey] =
    listeners + sockets + security + tls + limits + workers + rates + keepAlive + admin + logging
    + watching + backends + unused

  private static let listeners: [ConfigurationKey] = [
    flag("listen_tcp", \.listenTCP),
    flag("listen_tls", \.listenTLS),
    text("tcp_port", \.tcpPort, port, isPort),
    text("listen_addr", \.listenAddress, "a host name or address", isFilled),
  ]

  private static let sockets: [ConfigurationKey] = [
    text("unix_sock_dir", \.socketDirectory, directory, isDirectory),
    text("unix_sock_group", \.socketGroup, "the name or number of a group", isFilled),
    text("user", \.user, "the name or number of a user", isFilled),
    mode("unix_sock_rw_perms", \.readWriteMode),
    mode("unix_sock_ro_perms", \.readOnlyMode),
    mode("unix_sock_admin_perms", \.adminMode),
  ]

  private static let security: [ConfigurationKey] = [
    authentication("auth_unix_rw", \.authUnixReadWrite),
    authentication("auth_unix_ro", \.authUnixReadOnly),
    authentication("auth_tls", \.authTLS),
    authentication("auth_tcp", \.authTCP),
    texts("sasl_allowed_username_list", \.saslUsers),
    // The default is below the range that the file accepts.
    kept(
      "tcp_min_ssf", \.tcpMinSSF, range(leastSSF...Int(Int32.max)),
      { $0 < leastSSF ? nil : .number($0) },
      { $0.number(in: leastSSF...Int(Int32.max)) }),
    texts("access_drivers", \.accessDrivers),
    number("audit_level", \.auditLevel, 0...maximum),
  ]

  private static let tls: [ConfigurationKey] = [
    text("tls_port", \.tls.port, port, isPort),
    files("key_file", \.tls.keyFiles),
    files("cert_file", \.tls.certificateFiles),
    text("ca_file", \.tls.authorityFile, file, isFile),
    text("crl_file", \.tls.revocationFile, file, isFile),
    flag("tls_no_sanity_certificate", \.tls.checksNoSanity),
    flag("tls_no_verify_certificate", \.tls.acceptsUnverified),
    texts("tls_allowed_dn_list", \.tls.allowedNames),
    text("tls_priority", \.tls.priority, "a GnuTLS priority string", isFilled),
    number("tls_handshake_timeout", \.tls.handshakeSeconds, 1...3600),
    number("tls_max_handshakes", \.tls.maxHandshakes, 1...100_000),
  ]

  private static let limits: [ConfigurationKey] = [
    number("max_clients", \.maxClients, 0...maximum),
    number("max_queued_clients", \.maxQueuedClients, 0...maximum),
    number("max_anonymous_clients", \.maxAnonymousClients, 0...maximum),
    // With 0 no client would ever be read. virtproxyd starts with it, and then every client hangs.
    number("max_client_requests", \.maxClientRequests, 1...maximum),
    number("max_clients_per_identity", \.maxClientsPerIdentity, 0...maximum),
    number("max_clients_per_address", \.maxClientsPerAddress, 0...maximum),
    number("auth_timeout", \.authTimeout, 0...86_400),
    number("open_timeout", \.openTimeout, 1...86_400),
    number("slow_call_seconds", \.slowCallSeconds, 0...86_400),
    number("max_client_buffer", \.maxClientBuffer, LimitSettings.leastBufferBytes...1 << 30),
    number("max_total_buffer", \.maxTotalBuffer, 0...1 << 40),
  ]

  private static let workers: [ConfigurationKey] = [
    workerCount("min_workers", \.minWorkers, 0...maximum),
    workerCount("max_workers", \.maxWorkers, 1...maximum),
    workerCount("prio_workers", \.prioWorkers, 0...maximum),
    workerCount("admin_min_workers", \.adminMinWorkers, 0...maximum),
    workerCount("admin_max_workers", \.adminMaxWorkers, 0...maximum),
  ]

  private static let keepAlive: [ConfigurationKey] = [
    number("keepalive_interval", \.keepAliveInterval, Int(Int32.min)...Int(Int32.max)),
    number("keepalive_count", \.keepAliveCount, 0...maximum),
  ]

  private static let admin: [ConfigurationKey] = [
    number("admin_max_clients", \.adminMaxClients, 0...maximum),
    number("admin_max_queued_clients", \.adminMaxQueuedClients, 0...maximum),
    number(
      "admin_keepalive_interval", \.adminKeepAliveInterval, Int(Int32.min)...Int(Int32.max)),
    number("admin_keepalive_count", \.adminKeepAliveCount, 0...maximum),
  ]

  private static let logging: [ConfigurationKey] = [
    number("log_level", \.logLevel, 0...4),
    text(
      "log_outputs", \.logOutputs, "outputs as N:stderr, N:file:/path, N:syslog:name or N:journald",
      { (try? LogOutput.read($0)) != nil }),
    text(
      "log_filters", \.logFilters, "filters as N:match, separated by blanks",
      { (try? LogFilter.read($0)) != nil }),
  ]

  private static let backends: [ConfigurationKey] = [
    text("backend_socket_dir", \.backendDirectory, directory, isDirectory),
    text("backend_session_socket_dir", \.backendSessionDirectory, directory, isDirectory),
    texts("upstream_allowed_hosts", \.upstreamHosts),
    texts("upstream_settings", \.upstreamRules),
    kept(
      "upstream_reconnect", \.upstreamReconnect, reconnectPolicy, { .text($0.rawValue) },
      { $0.text.flatMap(ReconnectPolicy.init(rawValue:)) }),
    number("upstream_reconnect_seconds", \.upstreamReconnectSeconds, 1...3600),
  ]

  /// Checked although unused, so that the check finds a typing mistake here and not after the next update.
  private static let unused: [ConfigurationKey] = [
    noEffect("admin_max_client_requests", .adminRequestsWithoutEffect, count),
    noEffect("audit_logging", .kernelAuditWithoutEffect, isFlag),
    noEffect("host_uuid", .hostUUIDWithoutEffect, insteadOfHostUUID),
    noEffect(
      "host_uuid_source", .hostUUIDWithoutEffect,
      { ["smbios", "machine-id"].contains($0.text) ? nil : "\"smbios\" or \"machine-id\"" }),
    noEffect("ovs_timeout", .backendKeyWithoutEffect, count),
    // libvirt accepts any value of these and ignores it.
    noEffect("keepalive_required", .unusedKeyWithoutEffect, { _ in nil }),
    noEffect("admin_keepalive_required", .unusedKeyWithoutEffect, { _ in nil }),
  ]
}

// MARK: Kinds of keys

extension ConfigurationKey {
  /// A key that stores the result of `read` at `path`. If `read` returns nil, the error says `expected`.
  static func kept<Value>(
    _ name: String, _ path: Path<Value>, _ expected: String, at stage: Stage = .configuration,
    _ show: @escaping @Sendable (Value) -> ConfigurationValue?,
    _ read: @escaping @Sendable (ConfigurationValue) -> Value?
  ) -> ConfigurationKey {
    var key = ConfigurationKey(
      name: name,
      store: { value, configuration in
        guard let value = read(value) else { return expected }
        configuration[keyPath: path] = value
        return nil
      })
    key.stage = stage
    key.value = { show($0[keyPath: path]) }
    key.keep = { $1[keyPath: path] = $0[keyPath: path] }
    return key
  }

  private static func flag(_ name: String, _ path: Path<Bool>) -> ConfigurationKey {
    kept(name, path, zeroOrOne, { .number($0 ? 1 : 0) }, { $0.number(in: 0...1).map { $0 == 1 } })
  }

  private static func number(
    _ name: String, _ path: Path<Int>, _ bounds: ClosedRange<Int>
  ) -> ConfigurationKey {
    kept(name, path, range(bounds), { .number($0) }, { $0.number(in: bounds) })
  }

  private static func text(
    _ name: String, _ path: Path<String>, _ expected: String,
    _ isRight: @escaping @Sendable (String) -> Bool
  ) -> ConfigurationKey {
    kept(name, path, expected, { .text($0) }, { $0.text(isRight) })
  }

  private static func text(
    _ name: String, _ path: Path<String?>, _ expected: String,
    _ isRight: @escaping @Sendable (String) -> Bool
  ) -> ConfigurationKey {
    kept(name, path, expected, { $0.map { .text($0) } }, { $0.text(isRight).map(Optional.some) })
  }

  private static func texts(_ name: String, _ path: Path<[String]>) -> ConfigurationKey {
    kept(name, path, listOfTexts, { .list($0.map { .text($0) }) }, { $0.texts })
  }

  private static func texts(_ name: String, _ path: Path<[String]?>) -> ConfigurationKey {
    kept(
      name, path, listOfTexts, { $0.map { .list($0.map { .text($0) }) } },
      { $0.texts.map(Optional.some) })
  }

  /// One path, or a list of them.
  private static func files(_ name: String, _ path: Path<[String]?>) -> ConfigurationKey {
    kept(
      name, path, "an absolute path as a string, or a list of such",
      { $0.map { .list($0.map { .text($0) }) } },
      { value in
        let paths = value.text.map { [$0] } ?? value.texts ?? []
        return paths.isEmpty || !paths.allSatisfy(isFile) ? nil : .some(paths)
      })
  }

  private static func mode(_ name: String, _ path: Path<UInt32>) -> ConfigurationKey {
    kept(name, path, permissions, at: .network, { .text(octal($0)) }, { $0.mode })
  }

  private static func mode(_ name: String, _ path: Path<UInt32?>) -> ConfigurationKey {
    kept(
      name, path, permissions, at: .network, { $0.map { .text(octal($0)) } },
      { $0.mode.map(Optional.some) })
  }

  private static func authentication(
    _ name: String, _ path: Path<Authentication>
  ) -> ConfigurationKey {
    kept(name, path, authenticationMethod, { .text($0.rawValue) }, { $0.authentication })
  }

  private static func authentication(
    _ name: String, _ path: Path<Authentication?>
  ) -> ConfigurationKey {
    kept(
      name, path, authenticationMethod, { $0.map { .text($0.rawValue) } },
      { $0.authentication.map(Optional.some) })
  }

  private static func noEffect(
    _ name: String, _ remark: MessageDefinition,
    _ mismatch: @escaping @Sendable (ConfigurationValue) -> String?,
    _ stage: Stage = .configuration
  ) -> ConfigurationKey {
    var key = ConfigurationKey(name: name, store: { value, _ in mismatch(value) })
    key.stage = stage
    key.remark = remark
    return key
  }

  /// A number that `virt-admin` reports. An administrator who sets another value than libvirt's default expects an
  /// effect.
  private static func workerCount(
    _ name: String, _ path: Path<Int>, _ bounds: ClosedRange<Int>
  ) -> ConfigurationKey {
    var key = number(name, path, bounds)
    key.remark = .workersWithoutEffect
    key.isRemarkable = { $0[keyPath: path] != Configuration()[keyPath: path] }
    return key
  }
}

// MARK: Checks of values

private let maximum = Int(UInt32.max)
private let leastSSF = 112
private let port = "a port number from 0 to 65535 or a service name, as a string"
private let directory = "an absolute path with room for a socket's name, as a string"
private let file = "an absolute path, as a string"
private let permissions = "permission bits in octal from 0 to 0777, as a string"
private let authenticationMethod = "\"none\", \"sasl\" or \"polkit\""
private let reconnectPolicy = "\"safe\", \"always\" or \"never\""
private let listOfTexts = "a list of strings"
private let zeroOrOne = "0 or 1"

private func range(_ bounds: ClosedRange<Int>) -> String {
  "a number from \(bounds.lowerBound) to \(bounds.upperBound)"
}

@Sendable private func count(_ value: ConfigurationValue) -> String? {
  value.number(in: 0...maximum) == nil ? range(0...maximum) : nil
}

@Sendable private func isFlag(_ value: ConfigurationValue) -> String? {
  value.number(in: 0...1) == nil ? zeroOrOne : nil
}

/// Permissions in the usual form: `0700`.
func octal(_ mode: UInt32) -> String {
  let digits = String(mode, radix: 8)
  return String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
}

@Sendable private func isFilled(_ text: String) -> Bool { !text.isEmpty }

/// A socket's address holds 108 bytes including the final zero, and the socket's name needs some of them.
@Sendable private func isDirectory(_ text: String) -> Bool {
  text.hasPrefix("/") && text.utf8.count + "/libvirt-admin-sock".utf8.count < 108
}

@Sendable private func isFile(_ text: String) -> Bool { text.hasPrefix("/") }

@Sendable private func isPort(_ text: String) -> Bool {
  if text.allSatisfy({ ("0"..."9").contains($0) }) { return UInt16(text) != nil }
  return text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.+".contains($0)) }
    && text.contains { $0.isLetter }
}

/// 32 hexadecimal digits, with dashes and spaces between them.
@Sendable private func isUUID(_ text: String) -> Bool {
  let digits = text.filter { $0 != "-" && $0 != " " }
  return digits.count == 32 && digits.allSatisfy { $0.isASCII && $0.isHexDigit }
}

/// What is expected instead of the value. libvirt's daemons treat a UUID of equal bytes as one that the vendor has
/// forgotten to set.
@Sendable private func insteadOfHostUUID(_ value: ConfigurationValue) -> String? {
  guard let text = value.text, isUUID(text) else { return "a UUID in hexadecimal" }
  let digits = Array(text.lowercased().filter { $0 != "-" && $0 != " " })
  let isVaried = digits.indices.contains { digits[$0] != digits[$0 % 2] }
  return isVaried ? nil : "a UUID whose bytes are not all equal"
}

extension ConfigurationValue {
  var text: String? { if case .text(let text) = self { text } else { nil } }

  fileprivate func text(_ isRight: (String) -> Bool) -> String? {
    text.flatMap { isRight($0) ? $0 : nil }
  }

  fileprivate func number(in bounds: ClosedRange<Int>) -> Int? {
    if case .number(let number) = self, bounds.contains(number) { number } else { nil }
  }

  fileprivate var authentication: Authentication? { text.flatMap(Authentication.init(rawValue:)) }

  fileprivate var mode: UInt32? {
    guard let text, text.allSatisfy({ ("0"..."7").contains($0) }) else { return nil }
    return UInt32(text, radix: 8).flatMap { $0 <= 0o777 ? $0 : nil }
  }

  /// The strings of the list; nil: the value is not a list, or has an element that is not a string.
  var texts: [String]? {
    guard case .list(let elements) = self else { return nil }
    let texts = elements.compactMap(\.text)
    return texts.count == elements.count ? texts : nil
  }
}

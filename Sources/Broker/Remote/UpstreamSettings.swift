// The other hosts that clients may open, and how this host reaches them. The administrator sets all of it.
import Streams

/// The settings for other hosts.
public struct UpstreamSettings: Sendable, Equatable {
  /// Destinations that clients may open; empty: none.
  public var allowed: [UpstreamPattern] = []
  /// Parameters of destinations. If several rules have the same parameter, the first counts.
  public var rules: [UpstreamRule] = []
  /// The broker's own certificates as a client of other hosts, unless a rule has others.
  public var certificates = UpstreamCertificates(
    authorityFile: "/etc/pki/CA/cacert.pem", revocationFile: "/etc/pki/CA/cacrl.pem",
    certificateFile: "/etc/pki/libvirt/clientcert.pem",
    keyFile: "/etc/pki/libvirt/private/clientkey.pem")
  public init() {}
}

/// Files for TLS as a client.
public struct UpstreamCertificates: Sendable, Equatable {
  public var authorityFile: String
  public var revocationFile: String
  public var certificateFile: String
  public var keyFile: String

  public init(
    authorityFile: String, revocationFile: String, certificateFile: String, keyFile: String
  ) {
    self.authorityFile = authorityFile
    self.revocationFile = revocationFile
    self.certificateFile = certificateFile
    self.keyFile = keyFile
  }

  /// The files of a directory, under the names that libvirt's parameter `pkipath` expects.
  public init(directory: String) {
    self.init(
      authorityFile: directory + "/cacert.pem", revocationFile: directory + "/cacrl.pem",
      certificateFile: directory + "/clientcert.pem", keyFile: directory + "/clientkey.pem")
  }
}

/// Destinations: `[TRANSPORT://]HOST[:PORT]`, with `*` and `?` in the host, and `*` for any port.
public struct UpstreamPattern: Sendable, Equatable {
  private enum Port: Sendable, Equatable {
    case unsaid
    case any
    case number(UInt16)
  }

  private let transport: RemoteTransport?
  private let hosts: NameList
  private let port: Port

  /// - Throws: the error in the text.
  public init(_ text: String) throws(BrokerFailure) {
    var rest = text[...]
    if let end = text.firstRange(of: "://") {
      guard let transport = RemoteTransport(word: text[..<end.lowerBound]) else {
        throw BrokerFailure(.unknownTransport, [text[..<end.lowerBound]])
      }
      self.transport = transport
      rest = text[end.upperBound...]
    } else {
      transport = nil
    }
    var host = rest
    var port: Substring?
    if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
      host = rest[rest.index(after: rest.startIndex)..<end]
      let behind = rest[rest.index(after: end)...]
      if !behind.isEmpty { port = behind.hasPrefix(":") ? behind.dropFirst() : "" }
    } else if let colon = rest.firstIndex(of: ":") {
      host = rest[..<colon]
      port = rest[rest.index(after: colon)...]
    }
    // With the wildcards replaced it must be a valid host.
    let sample = host.map { $0 == "*" || $0 == "?" ? "a" : String($0) }.joined()
    guard RemoteURI.isHost(sample) else { throw BrokerFailure(.patternInvalidHost, [host]) }
    hosts = NameList([host.lowercased()])
    switch port {
    case nil: self.port = .unsaid
    case "*": self.port = .any
    case let port?:
      guard let number = UInt16(port), number > 0 else {
        throw BrokerFailure(.patternInvalidPort, [port])
      }
      self.port = .number(number)
    }
  }

  /// Whether the pattern matches that destination.
  func concerns(_ uri: RemoteURI) -> Bool {
    guard transport == nil || transport == uri.transport, hosts.admits(uri.host) else {
      return false
    }
    guard case .number(let number) = port else { return true }
    return (uri.port ?? uri.transport.usualPort) == number
  }

  /// Whether clients may open it. A pattern without a port matches the default port only.
  func allows(_ uri: RemoteURI) -> Bool {
    guard concerns(uri) else { return false }
    return port != .unsaid || uri.port == nil || uri.port == uri.transport.usualPort
  }
}

/// The parameters for some destinations: a pattern, then any number of `PARAMETER=VALUE`, separated by blanks.
public struct UpstreamRule: Sendable, Equatable {
  let pattern: UpstreamPattern
  let values: [String: String]

  /// The files that the rule names and that must exist at start, by parameter.
  public var files: [(parameter: String, path: String)] {
    ["command", "keyfile", "known_hosts", "pkipath", "authfile"].compactMap { key in
      values[key].map { (key, $0) }
    }
  }

  /// The names of all parameters.
  public static let parameters: [String] = checks.keys.sorted()

  /// - Throws: the error in the text.
  public init(_ text: String) throws(BrokerFailure) {
    let words = text.split { $0 == " " || $0 == "\t" }
    guard let first = words.first else { throw BrokerFailure(.ruleEmpty) }
    pattern = try UpstreamPattern(String(first))
    var values: [String: String] = [:]
    for word in words.dropFirst() {
      guard let sign = word.firstIndex(of: "=") else {
        throw BrokerFailure(.ruleWithoutValue, [word])
      }
      let key = String(word[..<sign])
      let value = String(word[word.index(after: sign)...])
      guard let check = UpstreamRule.checks[key] else {
        throw BrokerFailure(
          .ruleUnknownParameter, [key, UpstreamRule.parameters.joined(separator: ", ")])
      }
      guard values[key] == nil else { throw BrokerFailure(.ruleRepeatedParameter, [key]) }
      if let error = check(key, value) { throw BrokerFailure(error) }
      values[key] = value
    }
    self.values = values
  }

  /// The error in the value of a parameter; nil: it is valid.
  private typealias Check = @Sendable (_ key: String, _ value: String) -> Message?

  private static let checks: [String: Check] = [
    "user": { RemoteURI.isUser($1) ? nil : Message(.ruleInvalidUser, [$0, $1]) },
    "command": path, "keyfile": path, "known_hosts": path, "pkipath": path, "authfile": path,
    "socket": path,
    "netcat": {
      RemoteURI.consists($1, of: "/._+-") && !$1.hasPrefix("-")
        ? nil : Message(.ruleInvalidProgram, [$0, $1])
    },
    "proxy": words("auto", "netcat", "native"),
    "known_hosts_verify": words("normal", "auto", "ignore"),
    "no_verify": words("0", "1"), "no_sanity": words("0", "1"),
    "tls_priority": { _, text in
      do throws(TLSError) { _ = try TLSPriority(text) } catch { return error.message }
      return nil
    },
  ]

  /// The path must consist of characters without a meaning in any shell, because some of these paths pass through one.
  private static let path: Check = {
    $1.hasPrefix("/") && RemoteURI.consists($1, of: "/._+:@=,-")
      ? nil : Message(.ruleInvalidPath, [$0, $1])
  }

  private static func words(_ words: String...) -> Check {
    {
      words.contains($1)
        ? nil : Message(.ruleInvalidWord, [$0, words.joined(separator: " or "), $1])
    }
  }
}

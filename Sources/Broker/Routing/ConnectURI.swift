// The URI that a client opens: which URIs the broker accepts, and their meaning.
import Streams

/// A checked connection URI: `scheme:///path?query`, without anything that names a host, a command or a file here. A
/// client must never choose what the broker or a daemon resolves with its own privileges.
struct ConnectURI: Equatable {
  var scheme: String
  /// The text for the backend.
  var text: String
  /// Whether it means a per-user daemon.
  var isSession: Bool

  /// libvirt's drivers, and the paths that each of them opens; the first is the one that an error suggests. Other paths
  /// have their own meaning in libvirt: `test:///FILE` reads that file, `/embed` starts a driver in another directory.
  /// The drivers for ESX and Hyper-V are missing because they connect to the host in the URI: they belong to the
  /// client. Other daemons have sockets with names of the same form (virtlogd, virtlockd, virtproxyd); clients open
  /// none of them.
  static let paths: [String: [String]] = {
    var paths: [String: [String]] = [
      "xen": ["/system", "/", ""], "lxc": ["/system", "/", ""], "test": ["/default"],
      "openvz": ["/system"],
    ]
    for scheme in ["vmwareplayer", "vmwarews", "vmwarefusion"] { paths[scheme] = ["/session"] }
    for scheme in [
      "qemu", "vbox", "bhyve", "vz", "parallels", "ch", "network", "storage", "nodedev",
      "interface", "nwfilter", "secret",
    ] {
      paths[scheme] = ["/system", "/session"]
    }
    return paths
  }()

  /// Drivers that are part of libvirt's library. Only a monolithic libvirtd has them: modular daemons have one driver
  /// each and refuse every other.
  static let libraryDrivers: Set<String> = [
    "test", "openvz", "vmwareplayer", "vmwarews", "vmwarefusion",
  ]

  /// URI parameters that libvirt resolves on the host where they are read: sockets, commands, keys, checks to skip, the
  /// directory of an embedded driver.
  static let clientParameters: Set<String> = [
    "name", "socket", "mode", "proxy", "command", "netcat", "auth", "authfile", "keyfile",
    "sshauth",
    "known_hosts", "known_hosts_verify", "no_verify", "no_sanity", "no_tty", "pkipath",
    "tls_priority", "root",
  ]

  /// The longest URI that is parsed. A chain of hosts, each in the parameter `name` of the one before it, needs the
  /// most.
  static let longest = 8192

  /// Checks a URI that a client sent.
  static func parse(_ name: String) -> Result<ConnectURI, RemoteError> {
    guard isWellFormed(name) else { return .failure(unparsable(name)) }
    if name == "xen" || name == "xen://" {
      return .success(ConnectURI(scheme: "xen", text: "xen:///system", isSession: false))
    }
    guard let colon = name.firstIndex(of: ":") else {
      return .failure(noDriver(name))
    }
    let parts = name[..<colon].split(separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
    let scheme = String(parts[0])
    // The scheme becomes part of a socket's path, so only letters and digits are allowed.
    guard !scheme.isEmpty, scheme.utf8.allSatisfy({ isLetterOrDigit($0) }) else {
      return .failure(unparsable(name))
    }
    if parts.count == 2, parts[1] != "unix" {
      return .failure(
        refusal(.unsupportedTransport, [parts[1], shown(name)]))
    }
    guard let paths = paths[scheme] else { return .failure(noDriver(name)) }
    // No daemon uses a fragment.
    let rest = name[name.index(after: colon)...].prefix { $0 != "#" }
    var path = rest.prefix { $0 != "?" }
    if path.hasPrefix("//") {
      path = path.dropFirst(2)
      guard path.isEmpty || path.hasPrefix("/") else {
        return .failure(refusal(.hostInLocalURI, [shown(name)]))
      }
    }
    switch URIParameters.parse(rest.drop { $0 != "?" }.dropFirst()) {
    case nil: return .failure(unparsable(name))
    case let parameters?:
      if let key = parameters.first(where: { clientParameters.contains($0.key) })?.key {
        return .failure(refusal(.clientParameter, [key, shown(name)]))
      }
    }
    guard paths.contains(String(path)) else {
      return .failure(unexpected(path: String(path), scheme: scheme, suggestion: paths[0]))
    }
    return .success(
      ConnectURI(scheme: scheme, text: "\(scheme):\(rest)", isSession: path == "/session"))
  }

  /// libvirt's error text for a path that a driver does not have. Its test driver has another text only for a missing
  /// path.
  private static func unexpected(path: String, scheme: String, suggestion: String) -> RemoteError {
    if scheme == "test", path.isEmpty || path == "/" {
      return RemoteError(.invalidArgument, domain: .none, .testPathMissing)
    }
    return RemoteError(
      scheme == "test" ? .invalidArgument : .internalError, domain: .none,
      .unexpectedPath, [scheme, shown(path), scheme, suggestion])
  }

  static func unparsable(_ name: String) -> RemoteError {
    RemoteError(.internalError, .unparsableURI, [shown(name)])
  }

  private static func noDriver(_ name: String) -> RemoteError {
    RemoteError(.noConnect, .noDriver, [shown(name)])
  }

  private static func refusal(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible]
  ) -> RemoteError {
    RemoteError(.configurationUnsupported, definition, arguments)
  }

  // MARK: Characters

  /// Only the characters of RFC 3986, as libvirt's own parser demands. libvirt splits a URI by bytes, Swift by
  /// characters, in which a combining mark can absorb a `&`. Each of these bytes is a character of its own.
  static func isWellFormed(_ text: String) -> Bool {
    text.utf8.count <= longest
      && text.utf8.allSatisfy { isLetterOrDigit($0) || punctuation.contains($0) }
  }

  private static let punctuation = Set("-._~:/?#[]@!$&'()*+,;=%".utf8)

  static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }

  /// How much of a client's text an error or a log line repeats.
  private static let shownBytes = 200

  /// A client's text for an error or the log: its beginning, with %XX for everything but printable ASCII characters.
  static func shown(_ text: String) -> String {
    var shown = ""
    for byte in text.utf8.prefix(shownBytes) {
      if (0x20...0x7e).contains(byte) {
        shown.unicodeScalars.append(UnicodeScalar(byte))
      } else {
        let digits = String(byte, radix: 16, uppercase: true)
        shown += digits.utf8.count == 1 ? "%0" + digits : "%" + digits
      }
    }
    return text.utf8.count > shownBytes ? shown + "..." : shown
  }
}

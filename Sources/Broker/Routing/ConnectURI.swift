// The URI a client opens: what of it the broker accepts, and what it means.
import Streams

/// A checked connection URI: `scheme:///path?query`, without anything that names a host, a command or a
/// file here. A client must never choose what is resolved with the broker's privileges.
struct ConnectURI: Equatable {
  var scheme: String
  /// As it goes to the backend, which checks path and query itself.
  var text: String
  /// A per-user daemon is meant.
  var isSession: Bool

  /// libvirt's drivers. Other daemons have sockets of such names as well (virtlogd, virtlockd, virtproxyd),
  /// and none of them is for a client to open.
  static let schemes: Set<String> = [
    "qemu", "xen", "lxc", "vbox", "bhyve", "vz", "ch", "network", "storage", "nodedev", "interface",
    "nwfilter", "secret", "test", "openvz", "vmwareplayer", "vmwarews", "vmwarefusion", "parallels",
    "esx", "gsx", "vpx", "hyperv",
  ]

  /// URI parameters libvirt's client resolves on its own host: sockets, commands, keys, checks to skip.
  static let clientParameters: Set<String> = [
    "name", "socket", "mode", "proxy", "command", "netcat", "auth", "authfile", "keyfile",
    "sshauth",
    "known_hosts", "known_hosts_verify", "no_verify", "no_sanity", "no_tty", "pkipath",
    "tls_priority",
  ]

  init(scheme: String, path: String) {
    self.scheme = scheme
    text = "\(scheme)://\(path)"
    isSession = path == "/session"
  }

  /// Checks what a client sent.
  static func parse(_ name: String) -> Result<ConnectURI, RemoteError> {
    // libvirt takes a URI apart by bytes, Swift by characters, into which a combining mark can draw a `&`.
    // No URI has other bytes than these: libvirt's own parser refuses them as well.
    guard name.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      return .failure(RemoteError(.internalError, "Unable to parse URI \(name)"))
    }
    if name == "xen" || name == "xen://" {
      return .success(ConnectURI(scheme: "xen", path: "/system"))
    }
    guard let colon = name.firstIndex(of: ":") else {
      return .failure(RemoteError(.noConnect, name))
    }
    let parts = name[..<colon].split(separator: "+", maxSplits: 1, omittingEmptySubsequences: false)
    let scheme = String(parts[0])
    // The scheme becomes part of a socket's path, so nothing but letters and digits may be in it.
    guard !scheme.isEmpty, scheme.utf8.allSatisfy({ isLetterOrDigit($0) }) else {
      return .failure(RemoteError(.internalError, "Unable to parse URI \(name)"))
    }
    if parts.count == 2, parts[1] != "unix" {
      return .failure(
        refusal("transport '\(parts[1])' in URI '\(name)': no such transport is served here"))
    }
    guard schemes.contains(scheme) else { return .failure(RemoteError(.noConnect, name)) }
    var rest = name[name.index(after: colon)...]
    if rest.hasPrefix("//") {
      rest = rest.dropFirst(2)
      guard rest.isEmpty || rest.hasPrefix("/") || rest.hasPrefix("?") else {
        return .failure(
          refusal("server part in URI '\(name)', which is a local daemon's"))
      }
    }
    let path = rest.prefix { $0 != "?" && $0 != "#" }
    if let query = rest.firstIndex(of: "?") {
      let parameters = rest[rest.index(after: query)...].prefix { $0 != "#" }
      for parameter in parameters.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
        let key = decoded(parameter.prefix { $0 != "=" }).lowercased()
        if clientParameters.contains(key) {
          return .failure(
            refusal("parameter '\(key)' in URI '\(name)': it is for the client's own host"))
        }
      }
    }
    var uri = ConnectURI(scheme: scheme, path: String(path))
    let afterColon = name.index(after: colon)
    uri.text = scheme + ":" + name[afterColon...]
    return .success(uri)
  }

  private static func refusal(_ detail: String) -> RemoteError {
    RemoteError(.configurationUnsupported, detail)
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }

  /// A parameter's name with its %XX undone, so that none hides.
  static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(2)
      if byte == UInt8(ascii: "%"), digits.count == 2,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

// The broker's user and password for other hosts: libvirt's file for them.

/// A user's name and password.
struct UpstreamCredentials: Sendable, Equatable {
  var user: String
  var password: String

  /// Reads the credentials for a host from the text of a libvirt auth.conf: `[auth-libvirt-HOST]`, else
  /// `[auth-libvirt-default]`, names the credentials; `[credentials-NAME]` has them.
  init?(for host: String, in text: String) {
    var groups: [String: [String: String]] = [:]
    var group = ""
    for line in text.split(whereSeparator: \.isNewline) {
      let line = UpstreamCredentials.trimmed(line)
      if line.isEmpty || line.hasPrefix("#") { continue }
      if line.hasPrefix("["), line.hasSuffix("]") {
        group = String(line.dropFirst().dropLast())
      } else if let sign = line.firstIndex(of: "=") {
        let key = UpstreamCredentials.trimmed(line[..<sign])
        groups[group, default: [:]][String(key)] =
          String(UpstreamCredentials.trimmed(line[line.index(after: sign)...]))
      }
    }
    let chosen = groups["auth-libvirt-\(host)"] ?? groups["auth-libvirt-default"]
    guard let name = chosen?["credentials"], let found = groups["credentials-\(name)"],
      let user = found["authname"] ?? found["username"], let password = found["password"]
    else { return nil }
    self.user = user
    self.password = password
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text.drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return text
  }
}

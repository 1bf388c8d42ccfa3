// How to reach another host: everything is decided, no connection exists yet.

/// The transport and the address that a client's URI leads to, in the administrator's terms.
struct Destination: Equatable {
  enum Way: Equatable {
    indirect case network(TLSWish?)
    case socket(path: String)
    /// A program whose standard input and output are the connection.
    case command(arguments: [String])
  }

  /// The parameters of a TLS connection.
  struct TLSWish: Equatable {
    var settings: TLSSettings
    /// Whether the other host must prove its identity.
    var verifies: Bool
  }

  var way: Way
  var host: String
  var port: UInt16
  /// The text for messages: `tls://hostb:16514`.
  var place: String
  /// The marks of this broker and of those before it. The other side is asked whether it has one of them.
  var marks: [Int32] = []
  /// Credentials for a host that requires SASL.
  var authFile: String?
}

/// The command lines that reach a daemon through ssh. They are libvirt's own, so that another host's restrictions that
/// accept them (a key with a forced command, a special shell) accept the broker as well.
struct SSHCommand {
  enum Proxy: String {
    case auto, netcat, native
  }

  var program = "ssh"
  var user: String?
  var host: String
  var port: UInt16?
  var keyFile: String?
  var knownHosts: String?
  /// ssh's StrictHostKeyChecking; nil: ssh's default.
  var hostKeys: String?
  var proxy = Proxy.auto
  var netcat = "nc"
  var socket: String
  /// The URI for virt-ssh-helper.
  var uri: String
  var isReadOnly: Bool

  /// No user could type a password, so ssh must not prompt for one.
  var arguments: [String] {
    var words = [program]
    if let port { words += ["-p", String(port)] }
    if let user { words += ["-l", user] }
    if let keyFile { words += ["-i", keyFile] }
    words += ["-T", "-e", "none", "-o", "BatchMode=yes"]
    if let hostKeys { words += ["-o", "StrictHostKeyChecking=\(hostKeys)"] }
    if let knownHosts { words += ["-o", "UserKnownHostsFile=\(knownHosts)"] }
    return words + ["--", host, remoteCommand]
  }

  /// The command for the other host's shell.
  private var remoteCommand: String {
    let netcat = SSHCommand.quotedTwice(netcat)
    let plain =
      "if '\(netcat)' -q 2>&1 | grep \"requires an argument\" >/dev/null 2>&1; then ARG=-q0;"
      + "else ARG=;fi;'\(netcat)' $ARG -U \(socket)"
    let helper = "virt-ssh-helper \(isReadOnly ? "-r " : "")'\(SSHCommand.quotedTwice(uri))'"
    switch proxy {
    case .netcat: return "sh -c '\(plain)'"
    case .native: return "sh -c '\(helper)'"
    case .auto:
      return "sh -c 'which virt-ssh-helper 1>/dev/null 2>&1; if test $? = 0; then     \(helper); "
        + "else    \(plain); fi'"
    }
  }

  /// Quotes a text that two shells parse, one after the other.
  static func quotedTwice(_ text: String) -> String { quoted(quoted(text)) }

  /// Quotes any text as one word for a shell.
  static func quoted(_ text: String) -> String {
    if RemoteURI.consists(text, of: "/._:+-=,@%") { return text }
    return "'"
      + text.split(separator: "'", omittingEmptySubsequences: false)
      .joined(separator: "'\\''") + "'"
  }
}

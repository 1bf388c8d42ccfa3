// Another host as it is to be reached: everything decided, nothing done yet.

/// How and where a client's URI leads, in the administrator's terms.
struct Destination: Equatable {
  enum Way: Equatable {
    indirect case network(TLSWish?)
    case socket(path: String)
    /// A program whose standard input and output are the connection.
    case command(arguments: [String])
  }

  /// What a TLS connection is made with.
  struct TLSWish: Equatable {
    var settings: TLSSettings
    /// Whether the other host has to prove who it is.
    var verifies: Bool
  }

  var way: Way
  var host: String
  var port: UInt16
  /// As people read it: `tls://hostb:16514`.
  var place: String
  /// What the other side is asked whether it is, by their marks: this broker, and those before it.
  var marks: [Int32] = []
  /// Credentials for a host that asks for SASL.
  var authFile: String?
}

/// The command lines that reach a daemon through ssh: libvirt's own, so that whatever admits these on the other host
/// (a key with a forced command, a shell of its own) admits the broker as well.
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
  /// What ssh's StrictHostKeyChecking is set to; nil: as ssh has it.
  var hostKeys: String?
  var proxy = Proxy.auto
  var netcat = "nc"
  var socket: String
  /// What is opened, for virt-ssh-helper.
  var uri: String
  var isReadOnly: Bool

  /// There is no user who could type a password, so ssh must not ask for one.
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

  /// What the other host's shell is given.
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

  /// Two shells read it, one after the other.
  static func quotedTwice(_ text: String) -> String { quoted(quoted(text)) }

  /// One word for a shell, whatever is in it.
  static func quoted(_ text: String) -> String {
    if RemoteURI.consists(text, of: "/._:+-=,@%") { return text }
    return "'"
      + text.split(separator: "'", omittingEmptySubsequences: false)
      .joined(separator: "'\\''") + "'"
  }
}

// `virtbrokerd --check-tls`: diagnostics of the certificates and the TLS settings.
import Broker
@preconcurrency import Glibc
import Streams

extension Daemon {
  /// Prints the diagnostics on standard output. The exit status: 0: no error, perhaps warnings; 1: an error keeps TLS
  /// from working; 2: the check could not be made.
  func checkTLS() -> Int32 {
    let configuration: Configuration
    do throws(StartFailure) {
      let (read, findings) = try Configuration.load(
        options.configurationFile ?? places.configurationFile,
        mayBeMissing: options.configurationFile == nil)
      if let failure = findings.failure { throw failure }
      configuration = read
    } catch {
      for message in error.messages { print("fault: \(printable(message.line))") }
      return 2
    }
    var diagnostics: [TLSDoctor.Diagnostic] = []
    if !configuration.listenTLS { diagnostics.append(.init(.tlsNotEnabled)) }
    let settings = configuration.tlsSettings(places: places)
    diagnostics += TLSDoctor.examine(settings)
    if let connect = options.connect {
      let (host, port) = Daemon.hostAndPort(connect, else: configuration.tls.port)
      diagnostics += TLSDoctor.examine(host: host, port: port, against: settings)
    }
    for diagnostic in diagnostics {
      print("\(diagnostic.mark.rawValue): \(printable(diagnostic.message.line))")
    }
    let faults = diagnostics.count { $0.mark == .fault }
    let warnings = counted(diagnostics.count { $0.mark == .warning }, "warning")
    let result =
      faults == 0
      ? Message(.checkPassed, [warnings])
      : Message(.checkFailed, [counted(faults, "fault"), warnings])
    print(result.line)
    return faults == 0 ? 0 : 1
  }

  /// `host`, `host:port`, `[v6]:port`, `v6`.
  static func hostAndPort(_ text: String, else port: String) -> (host: String, port: String) {
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      let host = String(text[text.index(after: text.startIndex)..<end])
      let rest = text[text.index(after: end)...]
      return (host, rest.hasPrefix(":") && rest.count > 1 ? String(rest.dropFirst()) : port)
    }
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    // More than one colon means an IPv6 address.
    guard parts.count == 2, !parts[1].isEmpty else { return (text, port) }
    return (String(parts[0]), String(parts[1]))
  }
}

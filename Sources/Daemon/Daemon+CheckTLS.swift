// `virtbrokerd --check-tls`: what is wrong with the certificates, and what to do about it.
import Broker
@preconcurrency import Glibc
import Streams

extension Daemon {
  /// Says what there is to say on standard output. The exit status: 0 all is well, perhaps with warnings;
  /// 1 something keeps TLS from working; 2 it could not be checked.
  func checkTLS() -> Int32 {
    let configuration: Configuration
    do throws(StartFailure) {
      let (read, findings) = try Configuration.load(
        options.configurationFile ?? places.configurationFile,
        mayBeMissing: options.configurationFile == nil)
      if let failure = findings.failure { throw failure }
      configuration = read
    } catch {
      for sentence in error.sentences { print("fault: \(sentence)") }
      return 2
    }
    var findings: [TLSDoctor.Finding] = []
    if !configuration.listenTLS {
      findings.append(
        .init(mark: .warning, text: "listen_tls is 0: the broker does not serve TLS; set it to 1"))
    }
    let settings = configuration.tlsSettings(places: places)
    findings += TLSDoctor.examine(settings)
    if let connect = options.connect {
      let (host, port) = Daemon.hostAndPort(connect, else: configuration.tls.port)
      findings += TLSDoctor.examine(host: host, port: port, against: settings)
    }
    for finding in findings { print("\(finding.mark.rawValue): \(printable(finding.text))") }
    let faults = findings.count { $0.mark == .fault }
    let warnings = findings.count { $0.mark == .warning }
    print(
      faults == 0
        ? "TLS can be served, \(warnings) warnings" : "\(faults) faults, \(warnings) warnings")
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
    // More than one colon is an address of IPv6.
    guard parts.count == 2, !parts[1].isEmpty else { return (text, port) }
    return (String(parts[0]), String(parts[1]))
  }
}

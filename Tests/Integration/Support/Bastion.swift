// A broker through which other hosts are opened.
import Foundation

/// A broker without daemons of its own, and where it leads.
enum Bastion {
  static func start(
    allowed: [String], rules: [String] = [], settings: [String] = [],
    environment: [String: String] = [:]
  ) async throws -> BrokerProcess {
    func list(_ words: [String]) -> String {
      "[ " + words.map { "\"\($0)\"" }.joined(separator: ", ") + " ]"
    }
    return try await BrokerProcess.start(
      backends: try Scratch.directory("n"),
      settings: [
        "upstream_allowed_hosts = \(list(allowed))", "upstream_settings = \(list(rules))",
      ] + settings, environment: environment)
  }
}

extension BrokerProcess {
  /// The URI by which virsh opens another one through this broker.
  func uri(through uri: String, readOnly: Bool = false) -> String {
    unixURI(readOnly: readOnly) + "&name=" + uri.percentEncoded
  }

  func logs(_ text: String) -> Bool { eventually { log.contains(text) } }
}

extension String {
  /// As a value in a URI's query.
  var percentEncoded: String {
    addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? self
  }
}

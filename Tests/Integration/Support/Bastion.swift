// A broker as the way to other hosts.
import Foundation

/// A broker without backends, and the hosts it may open.
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
  /// The URI by which virsh opens another URI through this broker.
  func uri(through uri: String, readOnly: Bool = false) -> String {
    unixURI(readOnly: readOnly) + "&name=" + uri.percentEncoded
  }

  func logs(_ text: String) -> Bool { eventually { log.contains(text) } }
}

extension String {
  /// Percent-encoded for a value in a URI's query.
  var percentEncoded: String {
    addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? self
  }
}

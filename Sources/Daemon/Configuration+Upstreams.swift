// The configuration's part about other hosts: which hosts clients may open, and how the broker connects to them.
import Broker
@preconcurrency import Glibc
import Streams

extension Configuration {
  /// Errors in the keys about other hosts.
  /// - Parameter place: how messages name a key.
  func upstreamMistakes(_ place: (String) -> String) -> [Diagnostic] {
    var found: [Diagnostic] = []
    func check(_ key: String, _ text: String, _ read: () throws(BrokerFailure) -> Void) {
      do throws(BrokerFailure) { try read() } catch {
        found.append(Diagnostic(.invalidUpstreamEntry, [place(key), text, error.message]))
      }
    }
    for text in upstreamHosts {
      check("upstream_allowed_hosts", text) { () throws(BrokerFailure) in
        _ = try UpstreamPattern(text)
      }
    }
    for text in upstreamRules {
      check("upstream_settings", text) { () throws(BrokerFailure) in _ = try UpstreamRule(text) }
    }
    return found
  }

  /// The broker's settings for other hosts. The files that the keys name must exist.
  func upstreamSettings(places: Places) throws(StartFailure) -> UpstreamSettings {
    var settings = UpstreamSettings()
    do throws(BrokerFailure) {
      for text in upstreamHosts { settings.allowed.append(try UpstreamPattern(text)) }
      for text in upstreamRules { settings.rules.append(try UpstreamRule(text)) }
    } catch {
      throw StartFailure(.configuration, [error.message])
    }
    for rule in settings.rules {
      for (parameter, path) in rule.files
      where access(path, parameter == "command" ? X_OK : R_OK) != 0 {
        throw StartFailure(
          .configuration, .inaccessibleUpstreamFile,
          [
            self.places["upstream_settings"] ?? "upstream_settings", "\(parameter)=\(path)",
            reason(),
          ])
      }
    }
    if !places.isRoot { settings.certificates = Self.certificates(of: places.home) }
    return settings
  }

  /// A user's own files where they exist, else the system's; certificate and key only together.
  private static func certificates(of home: String) -> UpstreamCertificates {
    var certificates = UpstreamSettings().certificates
    let own = UpstreamCertificates(directory: home + "/.pki/libvirt")
    func exists(_ path: String) -> Bool { access(path, R_OK) == 0 }
    if exists(own.certificateFile), exists(own.keyFile) {
      certificates.certificateFile = own.certificateFile
      certificates.keyFile = own.keyFile
    }
    if exists(own.authorityFile) { certificates.authorityFile = own.authorityFile }
    if exists(own.revocationFile) { certificates.revocationFile = own.revocationFile }
    return certificates
  }
}

// The services that establish the identity of clients.
import Streams

/// The services that clients authenticate with. SASL and polkit exist where a listener requires them.
struct AuthenticationServices {
  /// Names of local users and groups.
  let names: NameDirectory
  let sasl: SASLService?
  let polkit: PolkitAuthority?
  private let log: BrokerLog

  /// - Throws: why SASL cannot be used.
  init(
    _ settings: BrokerSettings, loop: LoopServices, log: BrokerLog
  ) throws(BrokerFailure) {
    self.log = log[.sasl]
    names = NameDirectory(
      on: loop.reactor, loop.blocking, log: log[.names],
      waitSeconds: min(5, settings.timeouts.openSeconds / 2))
    let methods = Set(settings.listeners.map(\.authentication))
    sasl = methods.contains(.sasl) ? try SASLService(settings.sasl) : nil
    polkit =
      methods.contains(.polkit) ? PolkitAuthority(on: loop.reactor, log: log[.polkit]) : nil
  }

  /// Logs at start which SASL mechanisms a listener offers, or that none can be used.
  func describe(_ listener: Listener) {
    guard listener.settings.authentication == .sasl, let sasl else { return }
    var connection = SASLConnection(cover: .local)
    if listener.settings.isTLS {
      connection.cover = .tls(bits: 128)
    } else if !listener.settings.isUNIX {
      connection.cover = .none
    }
    switch sasl.offered(over: connection) {
    case .success(let mechanisms): log.write(.saslMechanisms, [listener.name, mechanisms])
    case .failure(let error): log.write(.saslUnusable, [listener.name, error])
    }
  }
}

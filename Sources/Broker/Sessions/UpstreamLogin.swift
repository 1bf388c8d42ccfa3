// The broker's authentication at another host that requires SASL.
import Streams

/// The SASL library's part of a login at another host. The session decides the order of its steps.
final class UpstreamLogin {
  private unowned let upstream: UpstreamConnection
  private let host: String
  /// Name of the other host in log messages.
  private let path: String
  private let authFile: String
  /// The transport for the relay: it may get a security layer.
  let transport: SASLTransport
  private var surroundings: SASLConnection
  private var client: SASLClient?
  private var job: BlockingPool.Job?

  init(
    over transport: any ClientTransport, host: String, path: String, authFile: String,
    for upstream: UpstreamConnection
  ) {
    self.upstream = upstream
    self.host = host
    self.path = path
    self.authFile = authFile
    self.transport = SASLTransport(transport)
    surroundings = SASLConnection(
      cover: .none, local: Address.local(of: transport.number)?.saslText,
      remote: Address.peer(of: transport.number)?.saslText)
    if let peer = (transport as? TLSTransport)?.peer {
      surroundings.cover = .tls(bits: UInt32(clamping: peer.keyBits))
    }
  }

  func perform(_ step: UpstreamSASLStep) {
    switch step {
    case .start(let mechanisms):
      client = SASLClient(host: host, surroundings, credentials)
      proceed { $0.start(mechanisms) }
    case .step(let data): proceed { $0.step(data) }
    case .accept: upstream.saslAnswered(accept())
    }
  }

  /// Nil: the file has no credentials for the host, or cannot be read. Mechanisms with their own credentials can still
  /// be used.
  private var credentials: UpstreamCredentials? {
    let log = upstream.session.log[.upstream]
    do throws(TLSError) {
      let bytes = try readFile(authFile, limit: 64 << 10)
      let found = UpstreamCredentials(for: host, in: String(decoding: bytes, as: UTF8.self))
      if found == nil { log.write(.upstreamCredentialsMissing, [authFile, host]) }
      return found
    } catch {
      log.write(.upstreamCredentialsUnreadable, [host, error.message])
      return nil
    }
  }

  /// Runs the library's next step on the blocking pool.
  private func proceed(_ work: @escaping @Sendable (SASLClient) -> SASLClient.Progress) {
    guard let client else { return upstream.saslAnswered(.failed(Message(.exchangeNotBegun))) }
    job = upstream.session.broker.loop.blocking.run(
      .otherHosts, { work(client) },
      completion: { [weak self] (progress: SASLClient.Progress) in
        guard let self, self.client != nil else { return }
        job = nil
        switch progress {
        case .failed(let error): upstream.saslAnswered(.failed(error))
        case .says(let words, let mechanism) where !mechanism.isEmpty:
          upstream.saslAnswered(.starts(mechanism: mechanism, words, isDone: client.isDone))
        case .says(let words, _): upstream.saslAnswered(.says(words, isDone: client.isDone))
        }
      })
  }

  private func accept() -> UpstreamSASLAnswer {
    guard let client, client.isDone, let strength = client.strength else {
      return .failed(Message(.upstreamSatisfiedEarly))
    }
    if surroundings.cover == .none, strength < SASLSettings().leastTCPStrength {
      return .failed(Message(.upstreamProtectionTooWeak, [strength]))
    }
    if strength > 0 { transport.switchOn(client, clear: 0) }
    self.client = nil
    return .accepted
  }

  func stop() {
    client = nil
    if let job { upstream.session.broker.loop.blocking.cancel(job) }
    job = nil
  }
}

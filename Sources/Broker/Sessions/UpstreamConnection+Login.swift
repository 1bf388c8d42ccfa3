// How the broker proves to another host who it is, where that asks for SASL.
import Streams

extension UpstreamConnection {
  /// The conversation with a host that asks for SASL, once it has begun.
  struct SASLTalk {
    let client: SASLClient
    /// The server has said that it is satisfied.
    var isComplete = false
  }

  /// Makes ready for the server's list of mechanisms. False: nothing is configured to prove.
  func prepareSASL() -> Bool {
    guard let remote = backend.remote, let path = remote.authFile, let layered else { return false }
    var credentials: UpstreamCredentials?
    do throws(TLSTrouble) {
      let bytes = try readFile(path, limit: 64 << 10)
      credentials = UpstreamCredentials(
        for: remote.host, in: String(decoding: bytes, as: UTF8.self))
      if credentials == nil {
        session.log[.upstream].warning("\(path) has no credentials for '\(remote.host)'")
      }
    } catch {
      session.log[.upstream].warning("\(path) \(error)")
    }
    talk = SASLTalk(
      client: SASLClient(host: remote.host, layered.surroundings, credentials))
    return true
  }

  /// Has the library say something next, away from the loop.
  func saslProceed(_ work: @escaping @Sendable (SASLClient) -> SASLClient.Progress) {
    guard let client = talk?.client else { return failSASL("not begun") }
    let workshop = session.broker.forwarding.workshop
    let started = workshop.run(
      { work(client) },
      tell: { [weak self] (progress: SASLClient.Progress) in
        guard let self, talk != nil else { return }
        self.job = nil
        saslProgressed(progress)
        session.settle()
      })
    self.job = (workshop, started)
  }

  private func saslProgressed(_ progress: SASLClient.Progress) {
    guard let talk else { return }
    switch progress {
    case .failed(let trouble): failSASL(trouble.description)
    case .says(let words, let mechanism) where !mechanism.isEmpty:
      saslStart(mechanism, words)
    case .says where talk.isComplete: saslDone(talk.client)
    case .says(let words, _): saslStep(words)
    }
  }

  /// The server's answer to what was said.
  func saslAnswered(_ body: [UInt8]) {
    guard let result = body.withUnsafeBytes({ try? SASLStepResult(payload: $0) }) else {
      return failSASL("an answer that cannot be read")
    }
    guard let client = talk?.client else { return }
    talk?.isComplete = result.isComplete
    if result.isComplete, client.isDone { return saslDone(client) }
    let data = result.data.bytes
    saslProceed { $0.step(data) }
  }

  private func saslDone(_ client: SASLClient) {
    guard client.isDone, let strength = client.strength, let layered else {
      return failSASL("the other side was satisfied too early")
    }
    if layered.surroundings.cover == .none, strength < SASLSettings().leastTCPStrength {
      return failSASL("protection of strength \(strength) is too weak")
    }
    if strength > 0 { layered.transport.switchOn(client, clear: 0) }
    talk = nil
    open()
  }

  /// The reason is for the log: it may be about the broker's own credentials.
  func failSASL(_ reason: String) {
    session.log[.upstream].warning("\(backend.path): SASL: \(reason)")
    talk = nil
    session.upstreamFailed(
      self,
      RemoteError(
        .authenticationFailed, "\(backend.path) asks for SASL, and the broker could not log in"))
  }
}

/// A connection that may get a layer, and what SASL has to know of it.
struct LayeredConnection {
  let transport: SASLTransport
  let surroundings: SASLConnection
}

// The clients of a broker, and the counts and limits across them.
import Streams

/// Every connected client. A session is in the set from when it has a place until its connection ends. By then it is no
/// longer counted in any limit.
final class SessionSet {
  private var sessions: [UInt64: ClientSession] = [:]
  /// Clients by network address, and by identity.
  var addresses = ClientCounts()
  var subjects = ClientCounts()
  /// Bytes that clients make the broker hold.
  var memory: MemoryBudget
  private let rateLimits: RateLimits
  let slowCalls: SlowCallChecks
  let hangUps: HangUpChecks
  let outages: Outages

  init(of broker: Broker) {
    memory = MemoryBudget(total: SessionSet.totalMemory(broker.settings.limits))
    rateLimits = RateLimits(broker.settings.rates)
    slowCalls = SlowCallChecks(of: broker)
    hangUps = HangUpChecks(of: broker)
    outages = Outages(log: broker.log)
  }

  var count: Int { sessions.count }
  var isEmpty: Bool { sessions.isEmpty }
  /// Every session, in no order. It is a copy: sessions that open or close do not change it.
  var all: some Collection<ClientSession> { sessions.values }
  subscript(id: UInt64) -> ClientSession? { sessions[id] }

  func add(_ session: ClientSession) { sessions[session.id] = session }

  /// This may release the last reference.
  func remove(_ session: ClientSession) {
    sessions[session.id] = nil
    if let subject = session.identity.subject, subjects[subject] == 0 { rateLimits.forget(subject) }
  }

  // MARK: Rates

  /// The rates that streams are limited to now.
  var rates: RateSettings { rateLimits.settings }

  /// Limits streams to these rates from now on, including those under way.
  func change(rates: RateSettings) {
    rateLimits.change(rates)
    for session in sessions.values {
      session.widen()
      session.relay.meterStreams()
      session.settle()
    }
  }

  /// The meters of a stream that a client with this identity opens now; empty: it has no rate.
  func meters(for kind: StreamKind, of identity: VerifiedIdentity) -> [Meter] {
    rateLimits.meters(for: kind, of: identity)
  }
}

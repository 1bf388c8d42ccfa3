// Counters since the start: plain numbers, incremented on the loop's thread.
import Streams

/// How a TLS handshake ended.
enum HandshakeResult: String, CaseIterable {
  case verified, refused, failed
}

/// Everything that is counted whether or not metrics are served. The counters of connected clients' relays are not
/// included; they are added when metrics are read.
final class BrokerCounts {
  /// Of the relays of all clients.
  let answers = AnswerCounts()
  var streams = StreamCounts()
  /// Of clients that have left.
  var relayed = RelayTotals()
  var upstreams = UpstreamCounts()
  var accepted: UInt64 = 0
  var refused: [Refusal: UInt64] = [:]
  var handshakes: [HandshakeResult: UInt64] = [:]
  var keepAliveTimeouts: UInt64 = 0
  let lag = Histograms()
}

/// Counts of streams, each array by the number of the stream's kind.
struct StreamCounts {
  var opened = [UInt64](repeating: 0, count: StreamKind.allCases.count)
  /// By the number of the result, too.
  private(set) var ended = StreamKind.allCases.map { _ in
    [UInt64](repeating: 0, count: StreamResult.allCases.count)
  }
  /// Payload of streams that have ended, in bytes.
  private(set) var bytesUp = [UInt64](repeating: 0, count: StreamKind.allCases.count)
  private(set) var bytesDown = [UInt64](repeating: 0, count: StreamKind.allCases.count)

  /// The stream of this call has ended.
  mutating func end(_ call: Call, _ result: StreamResult) {
    ended[Int(call.kind.rawValue)][Int(result.rawValue)] &+= 1
    addBytes(of: call)
  }

  /// Adds what a stream has moved.
  mutating func addBytes(of call: Call) {
    bytesUp[Int(call.kind.rawValue)] &+= call.up.bytes
    bytesDown[Int(call.kind.rawValue)] &+= call.down.bytes
  }
}

/// Counts of connections to daemons.
struct UpstreamCounts {
  var opened: UInt64 = 0
  /// Connections that could not be opened.
  var failed: UInt64 = 0
  /// Connections that the daemon closed.
  var lost: UInt64 = 0
  /// Connections to a daemon that had been lost and came back.
  var reopened: UInt64 = 0
}

/// The sum of the relays' counters.
struct RelayTotals {
  private(set) var counters = Counters()
  /// Bytes from clients and to them.
  private(set) var received: UInt64 = 0
  private(set) var sent: UInt64 = 0
  /// By the number of the cause.
  private(set) var pausedSeconds = [Double](repeating: 0, count: PauseCause.allCases.count)

  mutating func add(_ relay: Relay, at now: Double) {
    counters.add(relay.counters)
    received &+= relay.receivedFromClient
    sent &+= relay.sentToClient
    for cause in PauseCause.allCases {
      pausedSeconds[Int(cause.rawValue)] += relay.pausedSeconds(by: cause, at: now)
    }
  }
}

extension Counters {
  mutating func add(_ other: Counters) {
    packetsUp &+= other.packetsUp
    packetsDown &+= other.packetsDown
    calls &+= other.calls
    replies &+= other.replies
    events &+= other.events
    streams &+= other.streams
    dropped &+= other.dropped
  }
}

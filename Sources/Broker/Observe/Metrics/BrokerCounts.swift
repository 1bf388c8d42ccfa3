// What has happened since the start: plain numbers, added to on the loop's thread.
import Streams

/// How a TLS handshake ended.
enum HandshakeResult: String, CaseIterable {
  case verified, refused, failed
}

/// Everything that is counted whether or not somebody asks for it. What clients that are connected have moved so
/// far is with their relays, and is added when it is asked for.
final class BrokerCounts {
  /// By the relays of all clients.
  let answers = AnswerCounts()
  /// Of streams that are over, by the kind's number.
  var streamsEnded = StreamKind.allCases.map { _ in
    [UInt64](repeating: 0, count: StreamResult.allCases.count)
  }
  var streamsOpened = [UInt64](repeating: 0, count: StreamKind.allCases.count)
  var bytesUp = [UInt64](repeating: 0, count: StreamKind.allCases.count)
  var bytesDown = [UInt64](repeating: 0, count: StreamKind.allCases.count)
  /// Of clients that have left.
  var counters = Counters()
  var received: UInt64 = 0
  var sent: UInt64 = 0
  var pausedSeconds = [Double](repeating: 0, count: PauseCause.allCases.count)

  var accepted: UInt64 = 0
  var refused: [Refusal: UInt64] = [:]
  var handshakes: [HandshakeResult: UInt64] = [:]
  var keepAliveTimeouts: UInt64 = 0
  var upstreamsOpened: UInt64 = 0
  var upstreamFailures: UInt64 = 0
  var upstreamDeaths: UInt64 = 0
  let lag = Histograms()

  func ended(_ call: Call, _ result: StreamResult) {
    let kind = Int(call.kind.rawValue)
    streamsEnded[kind][Int(result.rawValue)] &+= 1
    bytesUp[kind] &+= call.up.bytes
    bytesDown[kind] &+= call.down.bytes
  }

  /// A client has left: what its relay has counted is kept here.
  func keep(_ relay: Relay) {
    counters.add(relay.counters)
    received &+= relay.receivedFromClient
    sent &+= relay.sentToClient
    for cause in PauseCause.allCases {
      pausedSeconds[Int(cause.rawValue)] += relay.pausedSeconds(by: cause, at: relay.now)
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

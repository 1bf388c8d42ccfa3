// What has happened since the start: plain numbers, added to on the loop's thread.
import Streams

/// Why a client was not let in, or was sent away.
enum Refusal: String, CaseIterable {
  case address = "max_clients_per_address"
  case identity = "max_clients_per_identity"
  case sasl
  case polkit
  case loginTime = "auth_timeout"
  case certificate
}

/// How a TLS handshake ended.
enum HandshakeResult: String, CaseIterable {
  case verified, refused, failed
}

/// Everything that is counted whether or not somebody asks for it. What clients that are connected have moved so
/// far is with their relays, and is added when it is asked for.
final class Tally {
  /// Calls answered by a daemon or by the broker itself, by program, procedure and result: good, failed.
  struct Procedures {
    private var counts: [(good: UInt64, failed: UInt64)]

    init(_ count: Int) { counts = Array(repeating: (0, 0), count: count + 1) }

    /// Those there is no name for are counted at place 0.
    mutating func note(_ procedure: Int32, isGood: Bool) {
      let place = procedure > 0 && procedure < counts.count ? Int(procedure) : 0
      if isGood { counts[place].good &+= 1 } else { counts[place].failed &+= 1 }
    }

    func each(_ body: (_ procedure: Int32, _ good: UInt64, _ failed: UInt64) -> Void) {
      for (place, count) in counts.enumerated() where count.good > 0 || count.failed > 0 {
        body(Int32(place), count.good, count.failed)
      }
    }
  }

  var remote = Procedures(ProcedureTable.count(of: Program.remote))
  var qemu = Procedures(ProcedureTable.count(of: Program.qemu))
  var lxc = Procedures(ProcedureTable.count(of: Program.lxc))
  /// From passing a call on to its answer, by the driver's number.
  var latencies = Driver.allCases.map { _ in Histogram() }

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
  var lag = Histogram()

  /// A daemon has answered. Of calls that open no stream it hears only where somebody may ask for it.
  func answered(_ call: Call, _ status: PacketStatus, after seconds: Double) {
    count(call.program, call.procedure, isGood: status == .ok)
    latencies[Int(call.driver.rawValue)].note(seconds)
  }

  /// The broker has answered by itself.
  func count(_ program: UInt32, _ procedure: Int32, isGood: Bool) {
    switch program {
    case Program.remote: remote.note(procedure, isGood: isGood)
    case Program.qemu: qemu.note(procedure, isGood: isGood)
    case Program.lxc: lxc.note(procedure, isGood: isGood)
    default: break
    }
  }

  func ended(_ call: Call, _ result: StreamResult) {
    let kind = Int(call.kind.rawValue)
    streamsEnded[kind][Int(result.rawValue)] &+= 1
    bytesUp[kind] &+= call.bytesUp
    bytesDown[kind] &+= call.bytesDown
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

// A client that sends continuously and maintains keepalive.
import Foundation
import Streams

/// A client that sends stream data as fast as the broker reads them, with keepalive like libvirt's client: it answers
/// PINGs, sends its own after an interval without a received packet, and fails after `count` unanswered ones.
final class LivelySender {
  private let client: RawClient
  private let packet: [UInt8]
  private let interval: Double
  private let count: Int
  private var outgoing: [UInt8] = []
  private var sent = 0
  private var isStreamPacket = false
  private var due: [[UInt8]] = []
  private var heardAt = Date()
  private var pingedAt = Date.distantPast
  private var unanswered = 0
  private var received: [RawPacket] = []
  /// The payload of whole packets.
  private(set) var sentBytes = 0
  /// Received PINGs.
  private(set) var pings = 0

  init(_ client: RawClient, _ packet: [UInt8], interval: Double, count: Int) {
    (self.client, self.packet, self.interval, self.count) = (client, packet, interval, count)
  }

  /// Sends for `seconds`.
  func run(seconds: Double) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    while Date() < end { try turn(sending: true) }
  }

  /// Sends the rest of a packet that was sent in part.
  func finishPacket() throws {
    let end = Date(timeIntervalSinceNow: 20)
    while !outgoing.isEmpty || !due.isEmpty {
      guard Date() < end else { throw Trouble("the last packet was not taken") }
      try turn(sending: false)
    }
  }

  /// Waits for a packet that satisfies `fits`.
  func await(_ what: String, where fits: (RawPacket) -> Bool) throws {
    let end = Date(timeIntervalSinceNow: 20)
    while true {
      if let packet = received.first(where: fits) {
        if packet.header.status != .ok { throw Trouble("instead of \(what) came \(packet)") }
        return
      }
      guard Date() < end else { throw Trouble("\(what) did not come") }
      try turn(sending: false)
    }
  }

  private func turn(sending: Bool) throws {
    if outgoing.isEmpty {
      isStreamPacket = due.isEmpty
      outgoing = due.isEmpty ? (sending ? packet : []) : due.removeFirst()
      sent = 0
    }
    if !outgoing.isEmpty {
      sent += try client.sendSome(outgoing[sent...])
      if sent == outgoing.count {
        if isStreamPacket { sentBytes += outgoing.count - Limits.header }
        outgoing = []
      }
    }
    for packet in client.receiveAll(for: 0) {
      heardAt = Date()
      unanswered = 0
      if packet.isPing {
        pings += 1
        due.append(Packets.keepAlive(KeepAliveProcedure.pong))
      } else if packet.header.kind == .stream, packet.header.status == .error {
        throw Trouble("the stream failed: \(packet)")
      } else if !packet.isPong {
        received.append(packet)
      }
    }
    if client.isAtEnd { throw Trouble("the connection was closed") }
    if Date().timeIntervalSince(max(heardAt, pingedAt)) >= interval {
      guard unanswered < count else {
        throw Trouble("no sign of life in \(count + 1) intervals of \(interval) s")
      }
      unanswered += 1
      pingedAt = Date()
      due.append(Packets.keepAlive(KeepAliveProcedure.ping))
    }
    let events = POLLIN | (outgoing.isEmpty && !sending && due.isEmpty ? 0 : POLLOUT)
    _ = client.wait(for: events, until: Date(timeIntervalSinceNow: 0.1))
  }
}

// The streams of a simulated client.
@testable import Streams

/// The bytes that travel on simulated streams: each follows from the session, the stream and its place in it.
enum StreamPattern {
  static func byte(_ tag: UInt32, _ serial: UInt32, _ offset: Int) -> UInt8 {
    let place = UInt32(truncatingIfNeeded: offset) &* 0x9E37_79B1
    let stream = (tag &* 0x85EB_CA6B) ^ (serial &* 0xC2B2_AE35)
    return UInt8(truncatingIfNeeded: (place ^ stream) >> 24)
  }

  static func bytes(_ tag: UInt32, _ serial: UInt32, from offset: Int, count: Int) -> [UInt8] {
    (offset..<offset + count).map { byte(tag, serial, $0) }
  }

  /// What is wrong with a packet's payload, which is to continue the stream at `offset`.
  static func problem(
    _ packet: [UInt8], _ tag: UInt32, _ serial: UInt32, at offset: Int
  ) -> String? {
    for index in Limits.header..<packet.count
    where packet[index] != byte(tag, serial, offset + index - Limits.header) {
      return "byte \(offset + index - Limits.header) of stream \(serial) is another's"
    }
    return nil
  }
}

extension SessionClientModel {
  /// A stream, from its opening call on.
  struct Stream {
    let serial: UInt32
    let procedure: Int32
    /// Its opening call was answered.
    var isOpen = false
    /// Data packets that it has left to send.
    var packets: Int
    /// Bytes so far.
    var sent = 0
    var received = 0
    /// The daemon has no more data.
    var hasEnded = false
    /// It has sent finish or abort.
    var wantsConfirmation = false
    var isAborted = false
    var isOver = false
  }

  var hasOpenStreams: Bool { streams.contains { $0.isOpen && !$0.isOver } }

  func opening(_ serial: UInt32, _ random: inout Seed) -> (PacketHeader, [UInt8]) {
    let procedures = [SimulatedBackend.download, SimulatedBackend.upload, SimulatedBackend.console]
    let procedure = procedures[random.pick(0...2)]
    let sends = procedure != SimulatedBackend.download
    streams.append(
      Stream(serial: serial, procedure: procedure, packets: sends ? random.pick(0...8) : 0))
    return (
      PacketHeader(procedure: procedure, kind: .call, serial: serial), Stamp.bytes(serial, tag)
    )
  }

  /// Sends the next packet of one of its streams.
  func feedStream(_ random: inout Seed, isCalm: Bool) {
    guard !isDead, !isSilent, !hasSentClose else { return }
    let fed = streams.indices.filter {
      streams[$0].isOpen && !streams[$0].isOver && !streams[$0].wantsConfirmation
    }
    guard let index = fed.randomElement(using: &random) else { return }
    let stream = streams[index]
    var header = PacketHeader(
      procedure: stream.procedure, kind: .stream, serial: stream.serial, status: .continue)
    let givesUp = !isCalm && random.once(in: 12)
    if stream.packets > 0, !givesUp {
      let count = random.once(in: 15) ? random.pick(1500...3500) : random.pick(1...250)
      socket.supply(
        Stamp.packet(
          header, StreamPattern.bytes(tag, stream.serial, from: stream.sent, count: count)))
      streams[index].packets -= 1
      streams[index].sent += count
    } else if givesUp || stream.hasEnded || stream.procedure != SimulatedBackend.download {
      let aborts = givesUp && random.once(in: 2)
      guard aborts || stream.hasEnded || stream.procedure != SimulatedBackend.download else {
        return
      }
      header.status = aborts ? .error : .ok
      streams[index].wantsConfirmation = true
      streams[index].isAborted = aborts
      socket.supply(Stamp.packet(header, []))
    }
  }

  func streamOpened(_ serial: UInt32, _ isOpen: Bool) {
    guard let index = streams.firstIndex(where: { $0.serial == serial }) else { return }
    streams[index].isOpen = isOpen
    streams[index].isOver = !isOpen
  }

  /// A packet of a stream has arrived. What is wrong with it.
  func streamArrived(_ header: PacketHeader, _ packet: [UInt8]) -> String? {
    guard let index = streams.firstIndex(where: { $0.serial == header.serial }),
      streams[index].isOpen, !streams[index].isOver,
      header.procedure == streams[index].procedure
    else { return "a packet of stream \(header.serial), which it does not have" }
    let stream = streams[index]
    switch header.status {
    case .continue where packet.count == Limits.header:
      if stream.hasEnded { return "stream \(header.serial) ends twice" }
      streams[index].hasEnded = true
    case .continue:
      if stream.hasEnded { return "data behind the end of stream \(header.serial)" }
      streams[index].received += packet.count - Limits.header
      return StreamPattern.problem(packet, tag, header.serial, at: stream.received)
    case .ok:
      guard stream.wantsConfirmation else { return "stream \(header.serial) confirmed unasked" }
      streams[index].isOver = true
      confirmed.append(streams[index])
    default:
      streams[index].isOver = true
      guard
        excuses.isUpstreamRemoved || excuses.isTurnedAway
          || excuses.streamErrors.contains(header.serial)
      else { return "stream \(header.serial) failed, and no backend ended it" }
    }
    return nil
  }
}

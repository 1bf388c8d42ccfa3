// The streams of a simulated daemon.
@testable import Streams

extension SessionBackendModel {
  /// A stream, from the answer to its opening call on.
  struct Stream {
    let call: PacketHeader
    /// Data packets that it has left to send.
    var packets: Int
    /// Bytes so far.
    var sent = 0
    var received = 0
    var saidEnd = false
    /// Finish or abort came and waits for its confirmation.
    var wantsConfirmation = false
    var isOver = false
  }

  static func opensStream(_ call: PacketHeader) -> Bool {
    switch call.procedure {
    case SimulatedBackend.download, SimulatedBackend.upload, SimulatedBackend.console:
      call.program == Program.remote
    default: false
    }
  }

  var hasOpenStreams: Bool { streams.contains { !$0.isOver } }

  func streamOpened(_ call: PacketHeader, _ random: inout Seed) {
    let sends = call.procedure != SimulatedBackend.upload
    streams.append(Stream(call: call, packets: sends ? random.pick(0...8) : 0))
  }

  /// A packet of a stream has arrived. What is wrong with it.
  func streamArrived(_ header: PacketHeader, _ packet: [UInt8]) -> String? {
    guard let index = streams.firstIndex(where: { $0.call.serial == header.serial }),
      header.procedure == streams[index].call.procedure
    else { return "it received a packet of stream \(header.serial), which it does not have" }
    // Its client did not know yet.
    guard !streams[index].isOver else { return nil }
    guard !streams[index].wantsConfirmation else {
      return "a packet behind the end of stream \(header.serial)"
    }
    guard header.status == .continue else {
      streams[index].wantsConfirmation = true
      return nil
    }
    let offset = streams[index].received
    streams[index].received += packet.count - Limits.header
    return StreamPattern.problem(packet, expectation.tag, header.serial, at: offset)
  }

  /// Does the next thing of one of its streams. The serial of a stream that it ends with an error.
  func feedStream(_ random: inout Seed, isCalm: Bool) -> UInt32? {
    guard !isGone, !isHung,
      let index = streams.indices.filter({ !streams[$0].isOver }).randomElement(using: &random)
    else { return nil }
    let stream = streams[index]
    var header = stream.call
    header.kind = .stream
    header.status = .continue
    if !isCalm, random.once(in: 40) {
      header.status = .error
      streams[index].isOver = true
      socket.supply(Packets.make(header, RemoteError(.operationFailed, "simulated")))
      return header.serial
    }
    if stream.wantsConfirmation, stream.packets == 0 || random.once(in: 2) {
      header.status = .ok
      streams[index].isOver = true
      socket.supply(Stamp.packet(header, []))
    } else if stream.packets > 0 {
      let count = random.once(in: 15) ? random.pick(1500...3500) : random.pick(1...250)
      socket.supply(
        Stamp.packet(
          header,
          StreamPattern.bytes(
            expectation.tag, header.serial, from: stream.sent, count: count)))
      streams[index].packets -= 1
      streams[index].sent += count
    } else if !stream.saidEnd, stream.call.procedure == SimulatedBackend.download {
      streams[index].saidEnd = true
      socket.supply(Stamp.packet(header, []))
    }
    return nil
  }
}

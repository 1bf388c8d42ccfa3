// A simulated backend: it answers out of order, opens streams, sends events, and dies.
@testable import Streams

/// Stamps in payloads that identify their origin.
enum Stamp {
  static func bytes(_ words: UInt32..., padding: Int = 0) -> [UInt8] {
    words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * $0)) } }
      + (0..<padding).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
  }
  static func word(_ packet: [UInt8], _ index: Int) -> UInt32? {
    let at = Limits.header + index * 4
    guard packet.count >= at + 4 else { return nil }
    return packet[at..<at + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }
  /// A packet with `payload`.
  static func packet(_ header: PacketHeader, _ payload: [UInt8]) -> [UInt8] {
    var header = header
    header.length = UInt32(Limits.header + payload.count)
    var packet = [UInt8](repeating: 0, count: Limits.header)
    packet.withUnsafeMutableBytes { header.write(at: $0.baseAddress!) }
    return packet + payload
  }
}

/// One connection to a daemon, from the daemon's side.
final class SimulatedBackend {
  struct Stream {
    let call: PacketHeader
    var toSend: Int
    var sent: UInt32 = 0
    var saidEnd = false
    /// A finish or abort has arrived and waits for its confirmation.
    var wantsConfirmation = false
    var isOver = false
  }

  static let download: Int32 = 209
  static let upload: Int32 = 208
  static let console: Int32 = 201
  static let event: Int32 = 318

  let number: Int
  let slot: Int
  let driver: Driver
  let socket: ScriptedTransport
  var isOpen = false
  var isDead = false
  /// The daemon died while it sent a packet that is cut through.
  var diedInLargePacket = false
  private var reader = PacketReader()
  private var pending: [PacketHeader] = []
  private(set) var streams: [Stream] = []
  private var events: UInt32 = 0
  private(set) var received: [[UInt8]] = []
  var problem: String?

  init(number: Int, slot: Int, driver: Driver, seed: UInt64) {
    self.number = number
    self.slot = slot
    self.driver = driver
    socket = ScriptedTransport(seed: seed)
  }

  var isQuiet: Bool { isDead || (pending.isEmpty && streams.allSatisfy { $0.isOver }) }

  /// Reads the bytes that the broker has sent.
  func read() {
    reader.feed(socket.taken)
    socket.taken.removeAll(keepingCapacity: true)
    while let (header, packet) = reader.next() {
      received.append(packet)
      switch header.kind {
      case .call:
        pending.append(header)
      case .callWithDescriptors:
        let count = Int(Stamp.word(packet, 0) ?? 0)
        reader.skipCarriers(count)
        pending.append(header)
      case .stream, .streamHole:
        guard let index = streams.firstIndex(where: { $0.call.serial == header.serial }) else {
          // It precedes the reply to its call, so a server drops it.
          break
        }
        if header.kind == .stream, header.status != .continue {
          streams[index].wantsConfirmation = true
        }
      default:
        problem = "backend got a packet of type \(header.kind.rawValue)"
      }
    }
  }

  /// Does one of the things that are possible now.
  func act(_ random: inout Seed) {
    switch random.pick(0...9) {
    case 0...3: answer(&random)
    case 4...7: stream(&random)
    default: if isOpen, events < 6, random.once(in: 2) { raiseEvent(&random) }
    }
  }

  private func answer(_ random: inout Seed) {
    guard !pending.isEmpty else { return }
    let call = pending.remove(at: random.pick(0...pending.count - 1))
    var reply = call
    reply.kind = .reply
    switch call.procedure {
    case SimulatedBackend.download, SimulatedBackend.upload, SimulatedBackend.console:
      socket.supply(Stamp.packet(reply, []))
      let sends = call.procedure != SimulatedBackend.upload
      streams.append(Stream(call: call, toSend: sends ? random.pick(0...6) : 0))
    default:
      // Sometimes a reply that is too large to be forwarded whole.
      let padding = random.once(in: 12) ? random.pick(400...1500) : random.pick(0...60)
      if call.kind == .callWithDescriptors, random.once(in: 3) {
        reply.status = .error
        // A server that failed before its handler ran sends the descriptors back.
        socket.supply(Stamp.packet(reply, Stamp.bytes(call.serial)), descriptors: [77])
      } else if call.kind == .callWithDescriptors {
        reply.kind = .replyWithDescriptors
        socket.supply(Stamp.packet(reply, Stamp.bytes(2, call.serial)), descriptors: [88, 89])
      } else {
        socket.supply(Stamp.packet(reply, Stamp.bytes(call.serial, padding: padding)))
      }
    }
  }

  private func stream(_ random: inout Seed) {
    guard let index = streams.indices.filter({ !streams[$0].isOver }).randomElement(using: &random)
    else { return }
    var header = streams[index].call
    header.kind = .stream
    if streams[index].toSend > 0 {
      header.status = .continue
      let padding = random.once(in: 20) ? random.pick(400...900) : random.pick(0...100)
      socket.supply(
        Stamp.packet(header, Stamp.bytes(header.serial, streams[index].sent, padding: padding)))
      streams[index].toSend -= 1
      streams[index].sent += 1
    } else if streams[index].wantsConfirmation {
      header.status = .ok
      socket.supply(Stamp.packet(header, []))
      streams[index].isOver = true
    } else if !streams[index].saidEnd, streams[index].call.procedure == SimulatedBackend.download {
      header.status = .continue
      socket.supply(Stamp.packet(header, []))
      streams[index].saidEnd = true
    } else if random.once(in: 40) {
      header.status = .error
      socket.supply(Packets.make(header, RemoteError(.operationFailed, "simulated")))
      streams[index].isOver = true
    }
  }

  private func raiseEvent(_ random: inout Seed) {
    events += 1
    socket.supply(
      Stamp.packet(
        PacketHeader(procedure: SimulatedBackend.event, kind: .message, serial: 1),
        Stamp.bytes(UInt32(number), events, padding: random.pick(0...80))))
  }

  /// Ends the connection. Only a part of the bytes it had sent still arrives.
  func die(_ random: inout Seed) {
    isDead = true
    if random.once(in: 2) { socket.loseTail(random.pick(0...400)) }
    socket.isClosed = true
  }
}

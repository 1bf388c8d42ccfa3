// A simulated libvirt client: it sends calls, streams and PINGs, and checks every reply.
@testable import Streams

/// The client's end of its connection. It checks every received packet against those it sent.
final class SimulatedClient {
  struct Stream {
    let procedure: Int32
    var opened = false
    /// Data packets still to send.
    var toSend: Int
    var hasEnded = false
    /// It has sent a finish or an abort.
    var wantsConfirmation = false
    var expected: UInt32 = 0
    var isOver = false
  }

  let socket: ScriptedTransport
  /// Calls without a reply yet, with their procedure.
  private(set) var awaited: [UInt32: Int32] = [:]
  private(set) var streams: [UInt32: Stream] = [:]
  private var reader = PacketReader()
  private var nextSerial: UInt32 = 1
  private(set) var pingsSent = 0
  private(set) var pongs = 0
  private(set) var answered: UInt64 = 0
  private(set) var errors: [UInt32] = []
  private(set) var streamErrors: [UInt32] = []
  private var lastEvent: [UInt32: UInt32] = [:]
  /// Packets sent for an upstream, per driver, in order.
  private(set) var sent: [Driver: [[UInt8]]] = [:]
  private(set) var problem: String?
  var isDead = false

  static let procedures: [(Int32, Driver)] = [
    (3, .hypervisor), (84, .storage), (46, .network), (23, .hypervisor),
  ]

  init(seed: UInt64) { socket = ScriptedTransport(seed: seed) }

  var isQuiet: Bool {
    isDead || (awaited.isEmpty && pongs == pingsSent && streams.values.allSatisfy { $0.isOver })
  }

  // MARK: Sending

  func act(_ random: inout Seed, mayStart: Bool) {
    switch random.pick(0...9) {
    case 0...2 where mayStart: call(&random)
    case 3 where mayStart: openStream(&random)
    case 4 where mayStart:
      pingsSent += 1
      socket.supply(Packets.keepAlive(KeepAliveProcedure.ping))
    default: feedStream(&random)
    }
  }

  private func send(_ packet: [UInt8], to driver: Driver, descriptors: [Int32] = []) {
    sent[driver, default: []].append(packet)
    socket.supply(packet, descriptors: descriptors)
  }

  /// Whether a call may have the serial of an open stream.
  var sharesSerials = false

  /// The serial of the next call: a new one, or that of a stream whose opening has a reply.
  private func takeSerial(_ random: inout Seed) -> UInt32 {
    if sharesSerials, random.once(in: 6) {
      let shared = streams.keys.sorted().filter {
        streams[$0]?.opened == true && awaited[$0] == nil
      }
      if let serial = shared.randomElement(using: &random) { return serial }
    }
    defer { nextSerial += 1 }
    return nextSerial
  }

  private func call(_ random: inout Seed) {
    let (procedure, driver) =
      SimulatedClient.procedures.randomElement(using: &random) ?? (3, .hypervisor)
    let serial = takeSerial(&random)
    awaited[serial] = procedure
    if socket.carriesDescriptors, random.once(in: 15) {
      let header = PacketHeader(procedure: procedure, kind: .callWithDescriptors, serial: serial)
      send(Stamp.packet(header, Stamp.bytes(1, serial)), to: driver, descriptors: [66])
      return
    }
    let padding = random.once(in: 15) ? random.pick(400...1500) : random.pick(0...60)
    let header = PacketHeader(procedure: procedure, kind: .call, serial: serial)
    send(Stamp.packet(header, Stamp.bytes(serial, padding: padding)), to: driver)
  }

  private func driver(of procedure: Int32) -> Driver {
    procedure == SimulatedBackend.console ? .hypervisor : .storage
  }

  private func openStream(_ random: inout Seed) {
    let procedure =
      [SimulatedBackend.download, SimulatedBackend.upload, SimulatedBackend.console]
      .randomElement(using: &random) ?? SimulatedBackend.upload
    let serial = nextSerial
    nextSerial += 1
    awaited[serial] = procedure
    let sends = procedure != SimulatedBackend.download
    streams[serial] = Stream(procedure: procedure, toSend: sends ? random.pick(0...6) : 0)
    send(
      Stamp.packet(
        PacketHeader(procedure: procedure, kind: .call, serial: serial), Stamp.bytes(serial)),
      to: driver(of: procedure))
  }

  private func feedStream(_ random: inout Seed) {
    let open = streams.filter { $0.value.opened && !$0.value.isOver && !$0.value.wantsConfirmation }
    guard let serial = open.keys.sorted().randomElement(using: &random),
      var stream = streams[serial]
    else { return }
    var header = PacketHeader(
      procedure: stream.procedure, kind: .stream, serial: serial, status: .continue)
    if stream.toSend > 0, !random.once(in: 10) {
      stream.toSend -= 1
      let padding = random.once(in: 20) ? random.pick(400...900) : random.pick(0...100)
      send(
        Stamp.packet(header, Stamp.bytes(serial, padding: padding)),
        to: driver(of: stream.procedure))
    } else if stream.procedure != SimulatedBackend.download || stream.hasEnded || random.once(in: 4)
    {
      header.status = random.once(in: 3) ? .error : .ok
      stream.wantsConfirmation = true
      send(Stamp.packet(header, []), to: driver(of: stream.procedure))
    }
    streams[serial] = stream
  }

  // MARK: Receiving

  func read() {
    reader.feed(socket.taken)
    socket.taken.removeAll(keepingCapacity: true)
    while problem == nil, let (header, packet) = reader.next() { check(header, packet) }
  }

  /// Bytes of an incomplete packet.
  var partial: Int { reader.rest }

  private func check(_ header: PacketHeader, _ packet: [UInt8]) {
    switch header.kind {
    case .message where header.program == Program.keepAlive: pongs += 1
    case .message:
      let from = Stamp.word(packet, 0) ?? 0
      let number = Stamp.word(packet, 1) ?? 0
      if number != (lastEvent[from] ?? 0) + 1 {
        problem = "event \(number) of \(from) out of order"
      }
      lastEvent[from] = number
    case .reply, .replyWithDescriptors:
      if header.kind == .replyWithDescriptors { reader.skipCarriers(2) }
      guard awaited.removeValue(forKey: header.serial) == header.procedure else {
        problem = "reply \(header.serial) nobody waits for"
        return
      }
      answered += 1
      let isOpening = streams[header.serial]?.procedure == header.procedure
      if header.status == .error {
        errors.append(header.serial)
        if isOpening { streams[header.serial]?.isOver = true }
      } else if isOpening {
        streams[header.serial]?.opened = true
      } else if Stamp.word(packet, header.kind == .reply ? 0 : 1) != header.serial {
        problem = "reply \(header.serial) has another's body"
      }
    case .stream: checkStream(header, packet)
    default: problem = "client got a packet of type \(header.kind.rawValue)"
    }
  }

  private func checkStream(_ header: PacketHeader, _ packet: [UInt8]) {
    guard var stream = streams[header.serial], !stream.isOver else {
      problem = "stream packet \(header.serial) behind its end"
      return
    }
    switch header.status {
    case .continue where packet.count == Limits.header: stream.hasEnded = true
    case .continue:
      if Stamp.word(packet, 0) != header.serial || Stamp.word(packet, 1) != stream.expected {
        problem = "stream \(header.serial) lost its order at \(stream.expected)"
      }
      stream.expected += 1
    case .ok:
      if !stream.wantsConfirmation { problem = "stream \(header.serial) confirmed unasked" }
      stream.isOver = true
    default:
      stream.isOver = true
      streamErrors.append(header.serial)
    }
    streams[header.serial] = stream
  }

  func die() {
    isDead = true
    socket.isClosed = true
  }
}

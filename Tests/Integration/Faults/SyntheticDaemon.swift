// A daemon for the fault driver: it serves all of the driver's calls and records what it has confirmed.
import Foundation
import Streams
import Synchronization

/// The names and procedures that the driver and its daemon use. Volumes and migrations are named after their content;
/// a call of `echo` returns its own arguments.
enum Agreed {
  static let echo: Int32 = 212
  static let define: Int32 = 11
  static let lookUp: Int32 = 23
  static let undefine: Int32 = 35
  static let openConsole: Int32 = 201
  static let prepareTunnel: Int32 = 304
  static let prepareRealTunnel: Int32 = 215
  static let register: Int32 = 316
  static let deregister: Int32 = 317
  static let lifecycle: Int32 = 318

  static func name(_ content: Content) -> String { "\(content.seed)-\(content.count)" }
  static func content(_ name: String) -> Content? {
    let parts = name.split(separator: "-")
    guard parts.count == 2, let seed = UInt64(parts[0]), let count = Int(parts[1]) else {
      return nil
    }
    return Content(seed: seed, count: count)
  }
}

/// A string as the arguments of a call.
struct NameArguments: XDRBody {
  var name: String
  init(name: String) { self.name = name }
  init(from reader: inout XDRReader) throws(Violation) { name = try reader.string() }
  func encode(into writer: inout XDRWriter) { writer.string(name) }
}

/// A number as the arguments of a call, or an event's body.
struct NumberBody: XDRBody {
  var number: Int32
  init(number: Int32) { self.number = number }
  init(from reader: inout XDRReader) throws(Violation) { number = try reader.int32() }
  func encode(into writer: inout XDRWriter) { writer.int32(number) }
}

/// Listens on a UNIX socket and serves each connection on a thread of its own.
final class SyntheticDaemon: @unchecked Sendable {
  private struct State {
    var lines: Set<Int32> = []
    /// The received content of each confirmed upload and migration, by name.
    var confirmed: [String: Checksum] = [:]
    var isDead = false
    var isOver = false
  }

  private let listener: Int32
  private let path: String
  private let state = Mutex(State())

  init(at path: String) throws {
    self.path = path
    (listener, _) = try Sockets.listen(at: .unix(path))
    _ = fcntl(listener, F_SETFL, 0)
    let thread = Thread { [weak self, listener] in
      while case let descriptor = accept(listener, nil, nil), descriptor >= 0 {
        guard let self else {
          close(descriptor)
          return
        }
        self.begin(descriptor)
      }
    }
    thread.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    unlink(path)
  }

  var openCount: Int { state.withLock(\.lines.count) }
  var confirmed: [String: Checksum] { state.withLock(\.confirmed) }

  /// Cuts all connections and refuses new ones until the daemon is revived.
  func die() {
    state.withLock { state in
      state.isDead = true
      for line in state.lines { shutdown(line, Int32(SHUT_RDWR)) }
    }
  }

  func live() { state.withLock { $0.isDead = false } }

  private func begin(_ descriptor: Int32) {
    let isServed = state.withLock { state in
      if !state.isDead { state.lines.insert(descriptor) }
      return !state.isDead
    }
    guard isServed else {
      close(descriptor)
      return
    }
    let thread = Thread { [weak self] in
      let line = SyntheticLine(descriptor) { name, sum in
        self?.state.withLock { $0.confirmed[name] = sum }
      }
      try? line.serve()
      // Under the lock, so that another socket with the same number is not shut down.
      self?.state.withLock { state in
        state.lines.remove(descriptor)
        close(descriptor)
      }
    }
    thread.stackSize = 512 * 1024
    thread.start()
  }
}

/// One connection of the daemon.
private final class SyntheticLine {
  private struct Sink {
    let name: String?
    var sum = Checksum()
  }

  private let descriptor: Int32
  private let confirmed: (String, Checksum) -> Void
  private var sinks: [UInt32: Sink] = [:]
  private var isClosing = false

  init(_ descriptor: Int32, _ confirmed: @escaping (String, Checksum) -> Void) {
    self.descriptor = descriptor
    self.confirmed = confirmed
  }

  func serve() throws {
    var cutter = PacketCutter()
    var room = [UInt8](repeating: 0, count: 65_536)
    while !isClosing {
      let count = recv(descriptor, &room, room.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      room.withUnsafeBytes { cutter.add(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      while !isClosing, let packet = cutter.next() { try take(packet) }
    }
  }

  private func send(_ packet: [UInt8]) throws {
    var sent = 0
    while sent < packet.count {
      let count = packet[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw Trouble("sending: \(errnoText())")
      }
      sent += count
    }
  }

  private func take(_ packet: RawPacket) throws {
    let header = packet.header
    if header.kind == .stream { return try takeStream(packet) }
    guard header.kind == .call else { return }
    switch header.procedure {
    case Remote.authList:
      try send(Packets.reply(answering: header, AuthListResult(types: [AuthListResult.none])))
    case Remote.connectSupportsFeature:
      try send(Packets.reply(answering: header, FeatureResult(supported: 1)))
    case Remote.connectClose:
      try send(Packets.reply(answering: header))
      isClosing = true
    case Agreed.echo:
      var reply = header
      reply.kind = .reply
      try send(RawClient.packet(reply, packet.body))
    case Agreed.register:
      // This many counted events follow.
      try send(Packets.reply(answering: header, NumberBody(number: 0)))
      for number in 0..<(packet.decoded(NumberBody.self)?.number ?? 0) {
        try send(Packets.event(Agreed.lifecycle, NumberBody(number: number)))
      }
    case Remote.storageVolUpload:
      sinks[header.serial] = Sink(name: packet.decoded(VolumeTransferArguments.self)?.name)
      try send(Packets.reply(answering: header))
    case Agreed.prepareTunnel:
      sinks[header.serial] = Sink(name: packet.decoded(NameArguments.self)?.name)
      // A cookie of no bytes.
      try send(Packets.reply(answering: header, NumberBody(number: 0)))
    case Agreed.openConsole:
      sinks[header.serial] = Sink(name: nil)
      try send(Packets.reply(answering: header))
    case Remote.storageVolDownload:
      try send(Packets.reply(answering: header))
      try give(packet)
    default: try send(Packets.reply(answering: header))
    }
  }

  private func give(_ packet: RawPacket) throws {
    guard let name = packet.decoded(VolumeTransferArguments.self)?.name,
      let content = Agreed.content(name)
    else { return }
    var header = packet.header
    header.kind = .stream
    header.status = .continue
    var position = 0
    while position < content.count {
      let most = position % 3 == 0 ? Limits.usualPayload : 10_000
      let some = content.bytes(from: position, atMost: most)
      try send(RawClient.packet(header, some))
      position += some.count
    }
    try send(Packets.make(header))
  }

  private func takeStream(_ packet: RawPacket) throws {
    let header = packet.header
    if header.status == .continue {
      guard let sink = sinks[header.serial] else { return }
      if sink.name == nil { return try send(RawClient.packet(header, packet.body)) }
      sinks[header.serial]?.sum.add(packet.body)
      return
    }
    let sink = sinks.removeValue(forKey: header.serial)
    // Before the confirmation is sent.
    if header.status == .ok, let sink, let name = sink.name { confirmed(name, sink.sum) }
    var answer = header
    answer.status = .ok
    try send(Packets.make(answer))
  }
}

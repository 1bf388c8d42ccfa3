// A scripted backend, for behaviour that a real libvirtd cannot be made to show.
import Foundation
import Streams

/// A daemon on a UNIX socket that answers the opening calls like a real one and all others by a script.
final class ScriptedBackend: @unchecked Sendable {
  /// A script's handling of a packet: true if it has handled the packet, false for an empty successful reply.
  typealias Script = @Sendable (Line, RawPacket) throws -> Bool

  let path: String
  private let listener: Int32
  private let script: Script
  private let condition = NSCondition()
  private var accepted: [Line] = []
  private var willRefuse = false
  private var openError: RemoteError?

  /// Listens as `name` in `directory`, where a broker looks for its backends.
  init(in directory: String, as name: String = "libvirt-sock", script: @escaping Script) throws {
    path = "\(directory)/\(name)"
    self.script = script
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw Trouble("the path \(path) is too long")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard bound == 0, listen(listener, 4096) == 0 else {
      throw Trouble("cannot listen at \(path): \(errnoText())")
    }
    Thread { [weak self, listener] in
      while case let descriptor = accept(listener, nil, nil),
        descriptor >= 0
      {
        guard let self else {
          close(descriptor)
          return
        }
        let line = Line(descriptor, self.script, refusal: self.refusal)
        if self.takeRefusal() { line.hangUp() }
        self.condition.withLock {
          self.accepted.append(line)
          self.condition.broadcast()
        }
        line.start()
      }
    }.start()
  }

  deinit {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    unlink(path)
    for line in accepted { line.hangUp() }
  }

  /// Whether the next connection is closed at once.
  var refusesNext: Bool {
    get { condition.withLock { willRefuse } }
    set { condition.withLock { willRefuse = newValue } }
  }

  /// The error reply to CONNECT_OPEN on later connections; nil for success.
  var refusal: RemoteError? {
    get { condition.withLock { openError } }
    set { condition.withLock { openError = newValue } }
  }

  private func takeRefusal() -> Bool {
    condition.withLock {
      defer { willRefuse = false }
      return willRefuse
    }
  }

  /// All connections, in the order of their arrival.
  var lines: [Line] { condition.withLock { accepted } }

  /// The number of connections that neither end has closed.
  var openLines: Int { lines.filter { !$0.isOver }.count }

  /// Waits for the connection with this index, counted from 0.
  func line(_ number: Int, within seconds: Double = 20) throws -> Line {
    let end = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while accepted.count <= number {
      guard condition.wait(until: end) else {
        throw Trouble("connection \(number) to \(path) did not come")
      }
    }
    return accepted[number]
  }
}

/// One connection of a scripted backend. A thread reads it and runs the script; any thread may send.
final class Line: @unchecked Sendable {
  let descriptor: Int32
  private let script: ScriptedBackend.Script
  private let condition = NSCondition()
  private var packets: [RawPacket] = []
  private var bytes = 0
  private var over = false
  private var pausing = false

  private let refusal: RemoteError?

  fileprivate init(
    _ descriptor: Int32, _ script: @escaping ScriptedBackend.Script, refusal: RemoteError?
  ) {
    self.descriptor = descriptor
    self.refusal = refusal
    self.script = script
  }

  deinit { close(descriptor) }

  fileprivate func start() {
    let thread = Thread { [self] in
      serve()
      condition.withLock {
        over = true
        condition.broadcast()
      }
      shutdown(descriptor, Int32(SHUT_RDWR))
    }
    thread.stackSize = 512 * 1024
    thread.start()
  }

  /// Whether either end has closed the connection.
  var isOver: Bool { condition.withLock { over } }
  /// All received packets, including those of the opening.
  var received: [RawPacket] { condition.withLock { packets } }
  /// The number of received bytes.
  var receivedBytes: Int { condition.withLock { bytes } }

  /// Waits until the received packets satisfy a condition.
  func await(
    _ what: String, within seconds: Double = 20, _ holds: ([RawPacket]) -> Bool
  ) throws {
    try wait(what, within: seconds) { holds(packets) }
  }

  /// Waits until the other end has closed the connection.
  func awaitEnd(within seconds: Double = 20) throws {
    try wait("the end of the connection", within: seconds) { over }
  }

  private func wait(_ what: String, within seconds: Double, _ holds: () -> Bool) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while !holds() {
      guard condition.wait(until: end) else {
        throw Trouble("the backend waited \(seconds) s in vain for \(what)")
      }
    }
  }

  /// Whether reading is paused.
  var isPausing: Bool {
    get { condition.withLock { pausing } }
    set {
      condition.withLock {
        pausing = newValue
        condition.broadcast()
      }
    }
  }

  /// Sends all bytes, as slowly as the other end reads.
  func send(_ packet: [UInt8]) throws {
    var sent = 0
    while sent < packet.count {
      let count = packet[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw Trouble("the backend cannot send: \(errnoText())")
      }
      sent += count
    }
  }

  /// Sends an empty successful reply to a call.
  func reply(to call: RawPacket) throws {
    try send(Packets.reply(answering: call.header))
  }

  /// Closes the connection, as the death of the daemon would.
  func hangUp() {
    isPausing = false
    shutdown(descriptor, Int32(SHUT_RDWR))
  }

  private func serve() {
    var cutter = PacketCutter()
    var room = [UInt8](repeating: 0, count: 65_536)
    while true {
      condition.lock()
      while pausing { condition.wait() }
      condition.unlock()
      let count = recv(descriptor, &room, room.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      room.withUnsafeBytes { cutter.add(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      condition.withLock { bytes += count }
      while let packet = cutter.next() {
        condition.withLock {
          // Stream data are counted and not kept.
          if packet.header.kind != .stream || packet.header.status != .continue {
            packets.append(packet)
          }
          condition.broadcast()
        }
        guard (try? answer(packet)) != nil else { return }
      }
    }
  }

  private func answer(_ packet: RawPacket) throws {
    let call = packet.header
    guard call.kind == .call || call.kind == .callWithDescriptors else {
      _ = try script(self, packet)
      return
    }
    switch call.procedure {
    case Remote.authList:
      try send(Packets.reply(answering: call, AuthListResult(types: [AuthListResult.none])))
    case Remote.connectOpen where refusal != nil:
      if let refusal { try send(Packets.error(answering: call, refusal)) }
    case Remote.connectOpen, Remote.connectSetIdentity: try reply(to: packet)
    case Remote.connectSupportsFeature:
      // It has exactly libvirtd's features.
      let isKnown = packet.decoded(FeatureArguments.self).map { (0..<32).contains($0.feature) }
      try send(
        Packets.reply(answering: call, FeatureResult(supported: isKnown == true ? 1 : 0)))
    default:
      if try !script(self, packet) { try reply(to: packet) }
    }
  }
}
